"""Event loops whose time is nobody's: it jumps to the next thing that is due as soon as nothing else is to be done.

A test that waits for an hour takes none, and its figures are exact on any machine.  For tests without threads.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

import trio.testing


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(None if timeout is None else 0)
        if not events and timeout is not None:
            self.now += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def backend(name: str) -> tuple[str, dict[str, Any]]:
    """What `anyio_backend` has to answer for virtual time."""
    if name == "asyncio":
        return "asyncio", {"loop_factory": JumpingLoop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
