"""Waits that a busy machine never reaches, for tests of what is promised and not of how soon."""

from __future__ import annotations

import pytest

from ductape_asgi.stores import guarded, handoff
from ductape_asgi.stores.postgres import pool
from ductape_asgi.stores.redis import node, opened
from ductape_asgi.stores.sqlite import writer

_WAITS = (
    (guarded, "DEADLINE"),
    (guarded, "HURRIED"),
    (handoff, "LONGEST_WAIT"),
    (node, "CONNECT_TIMEOUT"),
    (node, "COMMAND_TIMEOUT"),
    (opened, "LONGEST_WAIT"),
    (pool, "PATIENCE"),
    (writer, "PATIENCE"),
)


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every store, and every guard around one, wait for as long as a busy machine takes."""
    for module, name in _WAITS:
        monkeypatch.setattr(module, name, 60.0)
