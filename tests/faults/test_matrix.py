"""The fault matrix: what breaks, by rows, on every store, with real servers and workers under load."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from .cell import MAX_STALENESS, Cell, Figures, opened, wait_for
from .columns import COLUMNS, REMOTE, Column
from .proxy import Direction

Keep = Callable[[Figures], None]
HOUR = 3600

on_servers = pytest.mark.parametrize("column", REMOTE, indirect=True, ids=lambda kind: kind.name)
on_all = pytest.mark.parametrize("column", COLUMNS, indirect=True, ids=lambda kind: kind.name)


@on_servers
def test_server_killed_and_restarted_20_times(column: Column, keep: Keep) -> None:
    with opened(column, "killed 20 times") as cell:
        cell.warm()
        cell.revoke()
        for _ in range(20):
            wait_for(0.3)
            column.kill()
            wait_for(0.3)
            column.start()
            cell.back(time.monotonic())
        cell.acknowledged(len(cell.doomed) // 4)
        keep(cell.judge())


@on_servers
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_connections_cut(column: Column, how: str, keep: Keep) -> None:
    with opened(column, f"cut by {how.upper()}") as cell:
        cell.warm(doomed=60)
        cell.revoke()
        cut = 0
        for _ in range(8):
            wait_for(0.4)
            cut += column.cut(how)  # type: ignore[arg-type]
            cell.back(time.monotonic())
        assert cut >= 8 * len(cell.readers), "there were no connections to cut"
        settle(cell)
        keep(cell.judge())


@on_servers
@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_packets_swallowed(column: Column, direction: Direction, keep: Keep) -> None:
    """Half of the revocations come while nothing can tell the readers: their caches have to go by themselves."""
    with opened(column, f"swallowed {direction}") as cell:
        cell.warm()
        column.swallow(direction)
        cell.revoke(every=0.05)
        wait_for(MAX_STALENESS + 2.5)
        cell.acknowledged(100)
        column.heal()
        cell.back(time.monotonic())
        settle(cell)
        keep(cell.judge())


@on_servers
def test_server_paused_10_seconds(column: Column, keep: Keep) -> None:
    with opened(column, "paused 10 s") as cell:
        cell.warm(doomed=60)
        cell.revoke(every=0.05)
        cell.acknowledged(20)
        column.pause()
        wait_for(10)
        column.resume()
        cell.back(time.monotonic())
        settle(cell)
        keep(cell.judge())


@on_servers
def test_log_trimmed_below_the_readers_position(column: Column, keep: Keep) -> None:
    with opened(column, "log trimmed") as cell:
        cell.warm(doomed=40)
        column.swallow("both")
        cell.revoke(every=0.01)
        cell.acknowledged(40)
        column.trim()
        column.heal()
        cell.back(time.monotonic())
        settle(cell)
        for report in cell.reports():
            assert report["resyncs"] == ["trimmed"], "the readers did not meet the fault"
        keep(cell.judge())


@on_servers
def test_everything_wiped(column: Column, keep: Keep) -> None:
    """Nobody has a record any more: all are refused, and may sign in again at once."""
    with opened(column, "wiped") as cell:
        cell.warm(doomed=40)
        cell.revoke(every=0.02)
        cell.acknowledged(20)
        cell.forgotten_at = time.monotonic()
        column.wipe()
        began = time.monotonic()
        again = cell.writer.ask("issue", count=5, who="again")
        cell.figures.notes.append(f"signed in again after {time.monotonic() - began:.2f} s")
        cell.heard([one["id"] for one in cell.live])
        for report in cell.reports():
            gone = max(report["accepted"][one["id"]][0] for one in cell.live) - cell.forgotten_at
            assert gone < MAX_STALENESS
        fresh = [reader.ask("accepts", token=one["token"]) for reader in cell.readers for one in again]
        assert fresh == [True] * len(fresh)
        keep(cell.judge())


@on_servers
def test_wakeups_late_and_doubled(column: Column, keep: Keep) -> None:
    with opened(column, "late wake-ups, x20", late_wakeups=1.5) as cell:
        cell.warm(doomed=60)
        cell.revoke()
        settle(cell)
        assert all(reader.ask("rung") > 60 for reader in cell.readers), "there were no wake-ups"
        keep(cell.judge())


@on_all
def test_clock_stepped_by_an_hour(column: Column, keep: Keep) -> None:
    """One reader's clock forward, the other's back, then the writer's; the sessions are older than the step."""
    with opened(column, "clock stepped 1 h", shifts=(0, 0, -2 * HOUR)) as cell:
        cell.warm(doomed=90)
        forward, backward = cell.readers
        for worker, seconds in ((forward, HOUR), (backward, -HOUR), (cell.writer, 3 * HOUR), (cell.writer, -HOUR)):
            cell.revoke(cell.doomed[:20], every=0.02)
            cell.acknowledged(5)
            worker.ask("step_clock", seconds=seconds)
            cell.back(time.monotonic())
            cell.heard(cell.doomed[:20])
            del cell.doomed[:20]
        keep(cell.judge())


@on_all
def test_worker_suspended_30_seconds(column: Column, keep: Keep) -> None:
    """Revoked meanwhile: not one request after it woke may be accepted."""
    with opened(column, "suspended 30 s") as cell:
        cell.warm(doomed=60)
        suspended, awake = cell.readers
        os.kill(suspended.pid, signal.SIGSTOP)
        cell.revoke(every=0.05)
        cell.acknowledged(60)
        cell.heard(cell.doomed, [awake])
        wait_for(30)
        woken = time.monotonic()
        os.kill(suspended.pid, signal.SIGCONT)
        cell.back(woken)
        settle(cell)
        accepted = suspended.ask("report")["accepted"]
        assert [one for one in cell.doomed if accepted[one][0] > woken] == []
        keep(cell.judge())


def settle(cell: Cell) -> None:
    """Until all that was to be revoked is, and every reader has said so."""
    cell.acknowledged(len(cell.doomed))
    cell.heard(cell.doomed)
    wait_for(0.5)
