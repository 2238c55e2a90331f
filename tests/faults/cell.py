"""One cell of the matrix: two workers that read through the proxies, one that writes past them, and what they saw."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ductape_asgi.keys import new_access_key
from tests.workers.processes import WorkerProcess

from .columns import Column
from .lateness import overlap, united

LOAD = Path(__file__).with_name("load.py")
#: The default, and what is promised by it.
MAX_STALENESS = 5
#: What issue and contract promise, in seconds.
LONGEST_WAIT, RECOVERY = 1.5, 2.0
#: Sessions that stay, and such as are revoked, one every so many seconds.
LIVE, DOOMED, EVERY = 40, 160, 0.1
_PATIENCE = 45.0

Issued = dict[str, Any]


@dataclass
class Figures:
    """What one cell has measured; times in seconds, after the lateness of the machine was taken off."""

    column: str = ""
    row: str = ""
    #: The latest accepted request of a revoked session, after the revoke was acknowledged.
    accepted: float = 0.0
    wait: float = 0.0
    #: The same with the machine's own lateness in it, and the most that was.
    raw_wait: float = 0.0
    lag: float = 0.0
    signed_out: int = 0
    recovery: float | None = None
    revoked: int = 0
    requests: int = 0
    unavailable: int = 0
    notes: list[str] = field(default_factory=list)


class Cell:
    """Workers under load around one fault."""

    def __init__(
        self, column: Column, row: str, key: str, readers: Sequence[WorkerProcess], writer: WorkerProcess
    ) -> None:
        self.column, self.key = column, key
        self.figures = Figures(column.name, row)
        self.readers, self.writer = list(readers), writer
        self.live: list[Issued] = []
        self.doomed: list[str] = []
        self.tokens: dict[str, str] = {}
        #: Revocations that the store has lost and no reader had heard of: what P1 leaves open, and the test measures.
        self.lost: set[str] = set()
        #: When revocations were acknowledged to writers that are dead.
        self.heard_of: dict[str, float] = {}
        #: From when on the live sessions may be refused, since the store has lost them all.
        self.forgotten_at = float("inf")
        self._recoveries: list[tuple[WorkerProcess, float, float]] = []

    def warm(self, *, doomed: int = DOOMED, rotating: int = 10) -> None:
        """Sessions, cached in every reader, under load."""
        self.live = self.writer.ask("issue", count=LIVE, who="live")
        issued = self.writer.ask("issue", count=doomed, who="doomed")
        self.doomed = [one["id"] for one in issued]
        self.tokens = {one["id"]: one["token"] for one in issued}
        rotated = [self.writer.ask("issue", count=rotating, who=f"rotating-{number}") for number in (0, 1)]
        for reader in self.readers:
            reader.send("watch", sessions=self.live + issued, probe=self.live[0])
        for reader in self.readers:
            assert reader.answer() == LIVE + doomed, "not all sessions were accepted before the fault"
        for reader, sessions in zip(self.readers, rotated if rotating else [], strict=False):
            reader.ask("rotate", sessions=sessions)

    def revoke(self, session_ids: Sequence[str] | None = None, every: float = EVERY, *, by_person: bool = True) -> None:
        """Begin to revoke in the writer; every second session with all of its person's, unless not `by_person`."""
        doomed = list(self.doomed if session_ids is None else session_ids)
        self.writer.ask("revoke", session_ids=doomed, every=every, by_person=by_person)

    def acknowledged(self, count: int) -> None:
        """Wait until the store has acknowledged so many revocations."""
        reached = self.writer.ask("acknowledged", count=count, within=_PATIENCE)
        assert reached >= count, f"{reached} of {count} revocations were acknowledged"

    def heard(self, session_ids: Sequence[str], readers: Sequence[WorkerProcess] | None = None) -> None:
        """Wait until the readers refuse these."""
        for reader in self.readers if readers is None else readers:
            refused = reader.ask("refused", session_ids=list(session_ids), within=_PATIENCE)
            assert refused == len(session_ids), f"{refused} of {len(session_ids)} were refused"

    def back(self, since: float, workers: Sequence[WorkerProcess] | None = None) -> None:
        """The server answers since then: how long until the readers had an answer of it?"""
        for worker in self.readers if workers is None else workers:
            answer = worker.ask("recovered", after=since, within=_PATIENCE)
            assert answer is not None, f"it did not recover: {worker.ask('report')['last_failure']}"
            self._recoveries.append((worker, since, answer[1]))

    def judge(self) -> Figures:
        """Take the figures, and hold them to what is promised."""
        figures = self.figures
        workers = [*self.readers, self.writer]
        reports = [worker.ask("report") for worker in workers]
        revoked: dict[str, float] = {**self.heard_of, **reports[-1]["revoked"]}
        figures.revoked = len(revoked)
        complaints: list[str] = []
        for report in reports:
            self._measure(report, revoked, complaints)
        # The way back leads through the proxies.  No other figure is excused by them: calls have to end in time anyway.
        way = self.column.lateness
        gaps = {id(worker): united(report["gaps"], way) for worker, report in zip(workers, reports, strict=True)}
        figures.recovery = max(
            (until - since - overlap(gaps[id(worker)], since, until) for worker, since, until in self._recoveries),
            default=None,
        )
        if figures.accepted > MAX_STALENESS:
            complaints.append(f"a revoked session was accepted {figures.accepted:.2f} s after the revoke was answered")
        if figures.wait > LONGEST_WAIT:
            complaints.append(f"a request waited {figures.wait:.2f} s")
        if figures.signed_out:
            complaints.append(f"{figures.signed_out} refusals of live sessions")
        if figures.recovery is not None and figures.recovery > RECOVERY:
            complaints.append(f"recovery took {figures.recovery:.2f} s")
        assert not complaints, f"{figures}: {complaints}"
        return figures

    def _measure(self, report: dict[str, Any], revoked: dict[str, float], complaints: list[str]) -> None:
        figures, gaps = self.figures, report["gaps"]
        for session_id, (begin, end) in report["accepted"].items():
            if session_id in revoked and session_id not in self.lost:
                late = max(begin, end - overlap(gaps, begin, end)) - revoked[session_id]
                figures.accepted = max(figures.accepted, late)
        for session_id, at in report["relapsed"].items():
            if session_id in revoked and session_id not in self.lost:
                complaints.append(f"a revoked session that was refused was accepted again at {at}")
        for what, begin, end in report["waits"]:
            if end - begin - overlap(gaps, begin, end) > LONGEST_WAIT:
                complaints.append(f"{what} from {begin:.2f} to {end:.2f}")
            figures.raw_wait = max(figures.raw_wait, end - begin)
            figures.wait = max(figures.wait, end - begin - overlap(gaps, begin, end))
        figures.lag = max([figures.lag, *(end - begin for begin, end in gaps)])
        figures.requests += sum(report["statuses"].values())
        figures.unavailable += report["statuses"].get("503", 0)
        if self.forgotten_at == float("inf"):
            live = {one["id"] for one in self.live}
            figures.signed_out += sum(report["refused"].get(one, 0) for one in live) + len(report["signed_out"])
            complaints.extend(sorted(set(report["signed_out"])))
        complaints.extend(report["wrong"])
        if not report["health"] or not report["trusted"]:
            complaints.append("a worker is not well at the end")

    def open(self, worker: WorkerProcess) -> None:
        worker.ask("open", **options(self.column.near, self.key))

    def reports(self) -> list[dict[str, Any]]:
        return [reader.ask("report") for reader in self.readers]


@contextmanager
def opened(
    column: Column,
    row: str,
    *,
    readers: int = 2,
    shifts: Sequence[float] = (),
    late_wakeups: float = 0.0,
) -> Iterator[Cell]:
    """Workers of a cell, open, not yet under load.

    Args:
        shifts: by how many seconds the clock of each worker is off, readers first.
        late_wakeups: how many seconds late the readers are woken, at least.
    """
    key = new_access_key()
    with ExitStack() as stack:
        workers = [stack.enter_context(process()) for _ in range(readers + 1)]
        for number, worker in enumerate(workers):
            reads = number < readers
            worker.send(
                "open",
                **options(column.far if reads else column.near, key),
                shift=shifts[number] if shifts else 0.0,
                late_wakeups=late_wakeups if reads else 0.0,
            )
        for worker in workers:
            worker.answer()
        yield Cell(column, row, key, workers[:readers], workers[readers])


@contextmanager
def process() -> Iterator[WorkerProcess]:
    worker = WorkerProcess(script=LOAD)
    try:
        yield worker
    finally:
        worker.kill()


def options(url: str, key: str) -> dict[str, Any]:
    return {"url": url, "keys": [key], "max_staleness": MAX_STALENESS}


@contextmanager
def another(cell: Cell) -> Iterator[WorkerProcess]:
    """A process that is ready to open a store that it knows nothing of."""
    with process() as worker:
        worker.ask("ready")
        yield worker


def wait_for(seconds: float) -> None:
    """The fault lasts, and the load goes on: nothing else is there to be waited for."""
    time.sleep(seconds)
