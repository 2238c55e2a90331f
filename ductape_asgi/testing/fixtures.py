"""Fixtures for tests of applications.  In the `conftest.py` beside your `pyproject.toml`::

    pytest_plugins = ["ductape_asgi.testing.fixtures"]

It is not an entry point, on purpose: pytest loads those in every run of every project that shares the environment,
before it measures coverage, and a fixture called `sessions` should be there because somebody asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..keys import new_access_key
from ..sessions import Sessions
from ..stores.memory import MemoryStore
from .clock import SessionClock
from .flaky import FlakyStore
from .visitors import AsyncVisitor, Visitor


@pytest.fixture
def session_clock() -> SessionClock:
    """The clock of `sessions`: ``session_clock.advance(hours=1)``."""
    return SessionClock()


@pytest.fixture
def session_store() -> FlakyStore:
    """The store of `sessions`: in memory, and failing on demand."""
    return FlakyStore(MemoryStore())


@pytest.fixture
def session_options() -> dict[str, Any]:
    """Further keywords of `sessions`, for you to override: ``{"tags": [TagPolicy("user-session")]}``."""
    return {}


@pytest.fixture
def sessions(session_clock: SessionClock, session_store: FlakyStore, session_options: dict[str, Any]) -> Sessions:
    """`Sessions` for one test, with a key of its own.  Opens with the app, or at first use."""
    given = {"product": "test", "env": "test", "store": session_store, "clock": session_clock, **session_options}
    return Sessions(**{"access_key": new_access_key(), **given})


@pytest.fixture
def visit(sessions: Sessions) -> Callable[..., Any]:
    """``visit(client)`` is somebody who can ``login(role="admin")`` there.

    For a sync client it is a `Visitor`, for an `AsyncClient` an `AsyncVisitor`; further keywords are theirs.
    """

    def visiting(client: Any, **options: Any) -> Visitor | AsyncVisitor:
        kind = AsyncVisitor if hasattr(client, "aclose") else Visitor
        return kind(client, sessions, **options)

    return visiting
