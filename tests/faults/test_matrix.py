"""The fault matrix: what breaks, by rows, on every store, with real servers and workers under load."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from .cell import MAX_STALENESS, RECOVERY, Cell, Figures, another, opened, wait_for
from .columns import Cluster, Column, OneRedis, Postgres, Sentinel, SQLite
from .lateness import united
from .proxy import Direction
from .store_down import ask, gaps_of, serving

Keep = Callable[[Figures], None]
HOUR = 3600


class OnAll:
    """What can befall the workers, whatever the store."""

    kind: type[Column]

    def test_clock_stepped_by_an_hour(self, column: Column, keep: Keep) -> None:
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

    def test_worker_suspended_30_seconds(self, column: Column, keep: Keep) -> None:
        """Revoked meanwhile: not one request after it woke may be accepted."""
        with opened(column, "suspended 30 s") as cell:
            # Who is suspended while it writes to SQLite holds the lock: nobody else could revoke.
            cell.warm(doomed=60, rotating=0)
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


class OnServers(OnAll):
    """What can befall servers, and the way to them."""

    def test_server_killed_and_restarted_20_times(self, column: Column, keep: Keep) -> None:
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

    @pytest.mark.parametrize("how", ["rst", "fin"])
    def test_connections_cut(self, column: Column, how: str, keep: Keep) -> None:
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

    @pytest.mark.parametrize("direction", ["up", "down", "both"])
    def test_packets_swallowed(self, column: Column, direction: Direction, keep: Keep) -> None:
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

    def test_server_paused_10_seconds(self, column: Column, keep: Keep) -> None:
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

    def test_log_trimmed_below_the_readers_position(self, column: Column, keep: Keep) -> None:
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

    def test_everything_wiped(self, column: Column, keep: Keep) -> None:
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

    def test_wakeups_late_and_doubled(self, column: Column, keep: Keep) -> None:
        with opened(column, "late wake-ups, x20", late_wakeups=1.5) as cell:
            cell.warm(doomed=60)
            cell.revoke()
            settle(cell)
            assert all(reader.ask("rung") > 60 for reader in cell.readers), "there were no wake-ups"
            keep(cell.judge())

    @pytest.mark.parametrize("how", ["killed", "silent"])
    def test_clients_of_an_app_whose_store_is_down(self, column: Column, how: str, keep: Keep) -> None:
        """Over HTTP: a fresh cached session 200, others 503 within a second, anonymous requests as ever."""
        with opened(column, f"app, store {how}", readers=0) as cell, serving(column.far, cell.key) as url:
            tokens = [one["token"] for one in cell.writer.ask("issue", count=60, who="client")]
            cached, others, more = tokens[:20], tokens[20:40], tokens[40:]
            assert ask(url, "/private", cached).statuses == {200}
            before = ask(url, "/", [None] * 100)
            ask(url, "/private", cached)
            down = time.monotonic()
            column.take_down() if how == "killed" else column.swallow("both")

            served = ask(url, "/private", cached)
            assert time.monotonic() - down < MAX_STALENESS, "the machine was too slow to see the first seconds"
            refused = [ask(url, "/private", others[:1]), ask(url, "/private", others, at_once=20)]
            anonymous = ask(url, "/", [None] * 100)
            wait_for(max(0.0, down + MAX_STALENESS + 0.2 - time.monotonic()))
            refused += [ask(url, "/private", cached, at_once=20), ask(url, "/private", cached[:1])]

            column.bring_up() if how == "killed" else column.heal()
            back = time.monotonic()
            while ask(url, "/private", more[:1]).statuses != {200}:
                assert time.monotonic() < back + 30
            recovery = time.monotonic() - back

            assert (served.statuses, anonymous.statuses) == ({200}, {200})
            assert all((one.statuses, one.retry_after) == ({503}, {"1"}) for one in refused)
            assert sum(one.cookies for one in (served, anonymous, *refused)) == 0
            assert ask(url, "/private", tokens).statuses == {200}
            gaps = united(column.lateness, gaps_of(url))
            figures = cell.figures
            figures.wait = max(one.longest_without(gaps) for one in refused)
            figures.raw_wait = max(one.longest_without([]) for one in refused)
            figures.lag = max(until - since for since, until in gaps)
            figures.recovery = recovery
            figures.notes.append(
                f"ms: cached {1000 * served.median:.1f}, anonymous {1000 * before.median:.1f} before and"
                f" {1000 * anonymous.median:.1f} while it is down, a page without sessions"
                f" {1000 * anonymous.null_median:.1f}; longest anonymous {1000 * anonymous.longest_without(gaps):.0f}"
            )
            keep(figures)
            assert figures.wait <= 1.0
            assert recovery <= RECOVERY
            assert anonymous.longest_without(gaps) < 0.25

    # The last of all, since its servers are others afterwards.

    def test_failover_that_loses_the_tail(self, column: Column, keep: Keep) -> None:
        """Of the revocations that are lost readers have heard half; of the others knows only who has made them."""
        with opened(column, "tail lost") as cell:
            cell.warm(doomed=60)
            kept, heard, unheard = cell.doomed[:20], cell.doomed[20:40], cell.doomed[40:]
            cell.revoke(kept, every=0.01, by_person=False)
            cell.acknowledged(20)
            cell.heard(kept)
            column.begin_tail()
            cell.back(time.monotonic())
            cell.revoke(heard, every=0.01, by_person=False)
            cell.acknowledged(40)
            cell.heard(heard)
            column.swallow("both")
            cell.revoke(unheard, every=0.01, by_person=False)
            cell.acknowledged(60)
            cell.lost = set(unheard)

            with another(cell) as stranger:
                column.lose_tail()
                since = time.monotonic()
                column.heal()
                cell.open(stranger)
                ended = stranger.ask("ended", tokens=[cell.tokens[one] for one in heard + unheard], within=30)
            assert ended["left"] == 0, "the store was not told again"
            cell.back(since)
            cell.heard(cell.doomed)
            reports = cell.reports()
            accepted = max(report["accepted"][one][0] for report in reports for one in unheard) - since
            reasons = sorted({reason for report in reports for reason in report["resyncs"]})
            cell.figures.notes += [
                f"noticed as {', '.join(reasons)}; of 40 lost, a new worker saw {ended['live']} live at first",
                f"all ended again after {ended['at'] - since:.2f} s, accepted until {max(0.0, accepted):.2f} s",
            ]
            assert reasons
            keep(cell.judge())


class TestRedis(OnServers):
    kind = OneRedis


class TestSentinel(OnServers):
    kind = Sentinel


class TestCluster(OnServers):
    kind = Cluster


class TestPostgres(OnServers):
    kind = Postgres


class TestSQLite(OnAll):
    kind = SQLite

    def test_writer_killed_20_times(self, column: Column, keep: Keep) -> None:
        """While it revokes: what it had said was done is done, for every reader."""
        with opened(column, "writer killed x20") as cell:
            cell.warm(doomed=200)
            for number in range(20):
                share = cell.doomed[10 * number : 10 * number + 10]
                with another(cell) as doomed:
                    cell.open(doomed)
                    doomed.send("churn", session_ids=share)
                    for _ in range(1 + number % 9):
                        session_id, at = doomed.answer()
                        cell.heard_of[session_id] = at
                    doomed.signal_kill()
                    cell.heard_of |= dict(each for each in doomed.answers() if each)
                cell.back(time.monotonic())
            cell.heard(list(cell.heard_of))
            keep(cell.judge())


def settle(cell: Cell) -> None:
    """Until all that was to be revoked is, and every reader has said so."""
    cell.acknowledged(len(cell.doomed))
    cell.heard(cell.doomed)
    wait_for(0.5)
