"""Our own fixtures are tested with our own fixtures."""

from __future__ import annotations

from ductape_asgi.testing.fixtures import session_clock, session_options, session_store, sessions, visit

__all__ = ["session_clock", "session_options", "session_store", "sessions", "visit"]
