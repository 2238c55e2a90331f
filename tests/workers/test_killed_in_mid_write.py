"""P2 on SQLite: a process killed in mid-write has lost nothing that it acknowledged."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .conftest import OpenWorkers
from .processes import WorkerProcess

KILLS = 50


@dataclass
class Acknowledged:
    """What a process said it had done, and what it was about to do."""

    tokens: dict[str, str] = field(default_factory=dict)
    revoking: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    updated: set[str] = field(default_factory=set)
    refreshed: set[str] = field(default_factory=set)

    def note(self, lines: Iterable[dict[str, str]]) -> int:
        count = 0
        for line in lines:
            count += 1
            if "started" in line:
                self.tokens[line["started"]] = line["token"]
            else:
                ((what, session_id),) = line.items()
                getattr(self, what).add(session_id)
        return count

    def check(self, witness: WorkerProcess) -> None:
        """Every claim, against what another process finds."""
        certain = self.tokens.keys() - self.revoking
        outcomes = witness.ask(
            "call", verb="verify", each=[{"token": self.tokens[each]} for each in [*certain, *self.revoked]]
        )
        for session_id, outcome in zip(certain, outcomes, strict=False):
            assert outcome.get("session_id") == session_id
            if session_id in self.updated:
                assert outcome["data"]["turn"] < 0
        assert outcomes[len(certain) :] == [{"refused": "revoked_session"}] * len(self.revoked)
        for session_id in certain & self.refreshed:
            assert witness.ask("record", session_id=session_id)["generation"] == 1


def check_integrity(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_50_kills_in_mid_write_lose_nothing_that_was_acknowledged(open_workers: OpenWorkers, path: str) -> None:
    chance = random.Random(50)
    said: list[Acknowledged] = []
    (witness,) = open_workers(1)
    victims = _prepared(KILLS)
    for kill in range(KILLS):
        by_itself = kill % 2 == 0  # at a chosen point of the writer's path; else from outside, wherever it is
        (victim,) = open_workers(0, given=[next(victims)])
        killed, acknowledged = _churned(victim, chance.randint(20, 150), by_itself)
        assert killed == -9
        check_integrity(path)
        acknowledged.check(witness)
        said.append(acknowledged)

    (later,) = open_workers(1)
    for acknowledged in said:
        acknowledged.check(later)
    assert sum(len(each.tokens) for each in said) > KILLS
    assert sum(len(each.revoked) for each in said) > KILLS


def _prepared(count: int) -> Iterator[WorkerProcess]:
    """Processes that have not opened anything yet; the next one gets ready while the one before is busy."""
    following = WorkerProcess()
    for _ in range(count - 1):
        ready, following = following, WorkerProcess()
        yield ready
    yield following


def _churned(worker: WorkerProcess, life: int, by_itself: bool) -> tuple[int, Acknowledged]:
    """One process, killed after so many points of its writer's path, or acknowledgements."""
    acknowledged = Acknowledged()
    worker.send("churn", die_after=life if by_itself else None)
    lines: Any = worker.answers()
    if not by_itself:
        acknowledged.note(islice(lines, life))
        worker.signal_kill()
    acknowledged.note(lines)
    return worker.ended(), acknowledged
