"""Short random histories on the embedded stores; `tests/soak` has long ones on all.  And histories that must fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from .broken_stores import Forgetful
from .histories import MANY, SHORT, hold


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_random_histories_on_memory(runner: asyncio.Runner) -> None:
    store = MemoryStore()
    hold(runner, lambda: store, SHORT)


def test_random_histories_on_sqlite(runner: asyncio.Runner, tmp_path: Path) -> None:
    hold(runner, lambda: SQLiteStore(tmp_path / "sessions.db"), SHORT)


def test_a_store_whose_log_does_not_tell_of_a_revoke_is_found_out(runner: asyncio.Runner) -> None:
    """`tests/soak` plants other faults, which take longer to find."""
    store = Forgetful()
    with pytest.raises(AssertionError):
        hold(runner, lambda: store, MANY)
