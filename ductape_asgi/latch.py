"""Something that happens once, and that threads and tasks of any event loop may wait for; and which loop this is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel


def running_loop() -> Any:
    """The event loop this runs in, as anyio's native token of it; under asyncio for a tenth of what that takes.

    Raises:
        RuntimeError: none is running.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return anyio.lowlevel.current_token().native_token


class Latch:
    """Opens once and stays open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._bells: list[Callable[[], object]] = []

    @property
    def waiting(self) -> int:
        """How many wait, or waited until they gave up."""
        return len(self._bells)

    def open(self) -> None:
        """Let everybody go on who waits, and who comes later.  From any thread; opening twice does nothing."""
        with self._lock:
            self._is_open = True
            bells, self._bells = self._bells, []
        for ring in bells:
            with suppress(RuntimeError):  # that loop has gone, and nobody waits there; trio's own error is one, too
                ring()

    def wait(self) -> None:
        """Block this thread until it opens."""
        bell = threading.Event()
        if self._add(bell.set):
            bell.wait()

    async def wait_async(self) -> None:
        """Let this task sleep until it opens."""
        bell = anyio.Event()
        loop = running_loop()
        soon = loop.call_soon_threadsafe if isinstance(loop, asyncio.AbstractEventLoop) else loop.run_sync_soon
        if self._add(lambda: soon(bell.set)):
            await bell.wait()

    def _add(self, ring: Callable[[], object]) -> bool:
        with self._lock:
            if not self._is_open:
                self._bells.append(ring)
            return not self._is_open
