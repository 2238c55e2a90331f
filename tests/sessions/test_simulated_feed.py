"""The simulation behind docs/scale.md, with few workers: the bound holds, the figures repeat, jitter is needed."""

from __future__ import annotations

import pytest

from benchmarks import _simulated_feed as simulated
from ductape_asgi import following

WORKERS = 30
PHASES = (
    simulated.Phase("calm", 0, 4),
    simulated.Phase("a third cut off", 4, 12, cut_off=0.34, wakes_lost=0.5),
    simulated.Phase("failover", 12, 16, down=True, forgotten=0.5),
    simulated.Phase("afterwards", 16, 23),
)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "PHASES", PHASES)


def at_once(outcome: simulated.Outcome) -> int:
    """The most readings in one hundredth of a second while nothing wakes anybody: all have lost the server."""
    return max(outcome.reads[hundredth] for hundredth in range(1400, 1590))


def test_whatever_breaks_what_the_store_kept_is_refused_in_time() -> None:
    outcome = simulated.simulate(WORKERS, 5, seed=1)
    times = [taken for _, taken_each in outcome.revocations for taken in taken_each]
    assert len(times) > 1000
    assert max(times) <= simulated.STALENESS
    assert max(times) > 1, "nobody was cut off"
    assert outcome.lost > 0
    assert outcome.unknown == 0


def test_the_same_seed_gives_the_same_figures() -> None:
    one, again = (simulated.simulate(5, 5, seed=2) for _ in range(2))
    assert one == again
    assert one != simulated.simulate(5, 5, seed=3)


def test_workers_that_lost_the_server_do_not_ask_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    jittered = simulated.simulate(WORKERS, 5, seed=1)
    monkeypatch.setattr(following, "uniform", lambda low, high: high)
    in_step = simulated.simulate(WORKERS, 5, seed=1)
    assert at_once(jittered) < at_once(in_step)
    assert at_once(jittered) <= WORKERS / 2
