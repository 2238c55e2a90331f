"""How late the machine is by itself: the null arm of every waiting time that is measured here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

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


def united(*lists: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Gaps that lie in any of these, none twice."""
    whole: list[tuple[float, float]] = []
    for since, until in sorted((gap[0], gap[1]) for one in lists for gap in one):
        if whole and since <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(until, whole[-1][1]))
        else:
            whole.append((since, until))
    return whole
