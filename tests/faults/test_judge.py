"""The matrix would be worth nothing if its judge saw no fault: each kind of it is shown to him once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from .cell import Cell
from .columns import Column

QUIET: dict[str, Any] = {
    "accepted": {"live": (1000.0, 1000.0), "ended": (4.9, 5.0)},
    "refused": {"ended": 3},
    "relapsed": {},
    "statuses": {"200": 10, "401": 3},
    "waits": [("request", 10.0, 11.4)],
    "revoked": {"ended": 0.0},
    "signed_out": [],
    "wrong": {},
    "gaps": [],
    "health": True,
    "trusted": True,
}


class Told:
    """A worker that reports what it is told to."""

    def __init__(self, **report: Any) -> None:
        self._report = {**deepcopy(QUIET), **report}

    def ask(self, command: str, **arguments: Any) -> Any:
        if command == "recovered":
            return arguments["after"], arguments["after"] + 2.1
        assert command == "report"
        return self._report


def cell_of(**report: Any) -> Cell:
    cell = Cell(Column(), "told", "key", [Told(**report)], Told(accepted={}, waits=[]))  # type: ignore[list-item, arg-type]
    cell.live = [{"id": "live"}]
    return cell


def test_what_keeps_its_promises_passes() -> None:
    figures = cell_of().judge()
    assert (figures.accepted, figures.signed_out, figures.recovery) == (5.0, 0, None)
    assert figures.wait == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("report", "complaint"),
    [
        ({"accepted": {"ended": (5.1, 5.1)}}, "accepted 5.10 s after"),
        ({"accepted": {"ended": (4.0, 5.1)}}, "accepted 5.10 s after"),
        ({"relapsed": {"ended": 3.0}}, "accepted again"),
        ({"waits": [("refresh", 0.0, 1.6)]}, "waited 1.60 s"),
        ({"refused": {"live": 1}}, "1 refusals of live"),
        ({"signed_out": ["refresh: invalid_token"]}, "1 refusals of live"),
        ({"wrong": {"cookie set or cleared": 1}}, "cookie"),
        ({"trusted": False}, "not well"),
    ],
)
def test_what_breaks_a_promise_fails(report: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        cell_of(**report).judge()


def test_a_late_recovery_fails() -> None:
    cell = cell_of()
    cell.back(0.0)
    with pytest.raises(AssertionError, match=r"recovery took 2\.10 s"):
        cell.judge()


def test_the_time_in_which_a_worker_was_not_run_is_taken_off() -> None:
    waits, accepted = [("request", 0.0, 31.0)], {"ended": (4.0, 30.6)}
    figures = cell_of(waits=waits, accepted=accepted, gaps=[(0.5, 30.5)]).judge()
    assert (figures.raw_wait, figures.wait) == (31.0, 1.0)
    assert figures.accepted == pytest.approx(4.1)
