"""How late the machine is by itself: the null arm of every waiting time that is measured here."""

from __future__ import annotations

import asyncio
import time

EVERY = 0.005
#: Lateness below this is how a loop of sleeps is.
_NOTED = 0.002


class Lateness:
    """Sleeps 5 ms again and again, and notes when it was woken too late.

    What this process computed itself meanwhile is no excuse, so it is taken off: what remains is the time in which
    it would have run and did not, because others did or because it had been stopped.
    """

    def __init__(self) -> None:
        #: Pairs of instants (`time.monotonic`) between which this process did not run.
        self.gaps: list[tuple[float, float]] = []

    async def run(self) -> None:
        while True:
            due, worked = time.monotonic() + EVERY, time.thread_time()
            await asyncio.sleep(EVERY)
            now = time.monotonic()
            late = now - due - (time.thread_time() - worked)
            if late > _NOTED:
                self.gaps.append((now - late, now))


def overlap(gaps: list[tuple[float, float]], begin: float, end: float) -> float:
    """How much of a time lies in gaps."""
    return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in gaps)
