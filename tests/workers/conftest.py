"""Processes that share one SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi.keys import new_access_key

from .processes import WorkerProcess

OpenWorkers = Callable[..., list[WorkerProcess]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sessions.db")


@pytest.fixture
def access_key() -> str:
    return new_access_key()


@pytest.fixture
def open_workers(path: str, access_key: str) -> Iterator[OpenWorkers]:
    """Starts so many processes, on asyncio and trio by turns, and opens the store in each."""
    with ExitStack() as stack:

        def opened(count: int, *, given: Sequence[WorkerProcess] = (), **options: Any) -> list[WorkerProcess]:
            workers = [*given, *(WorkerProcess(("asyncio", "trio")[number % 2]) for number in range(count))]
            for worker in workers:
                stack.callback(worker.kill)
                worker.send("open", **{"path": path, "keys": [access_key], **options})
            for worker in workers:
                worker.answer()
            return workers

        yield opened
