"""Bars for numbers of days: only where things stand, so that a template draws them with attributes and no style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

#: The drawing's own measure: so many units for each bar, and in height; the page stretches it to its place.
STEP = 10
HEIGHT = 100
_GAP = 3


@dataclass(frozen=True, slots=True)
class Bar:
    day: date
    value: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """`top` is the number at the upper edge; `total` and `peak` are for who cannot see it."""

    bars: tuple[Bar, ...]
    width: int
    top: int
    total: int
    peak: Bar

    @property
    def middle(self) -> str:
        """What stands at half the height."""
        return f"{self.top / 2:g}"


def chart_of(values: Sequence[tuple[date, int]]) -> Chart:
    """A chart of one number a day, oldest first; there is at least one day."""
    top = _round(max(value for _, value in values))
    bars = tuple(_bar(place, day, value, top) for place, (day, value) in enumerate(values))
    peak = max(bars, key=lambda bar: bar.value)
    return Chart(bars, STEP * len(bars), top, sum(bar.value for bar in bars), peak)


def _bar(place: int, day: date, value: int, top: int) -> Bar:
    height = round(HEIGHT * value / top, 2)
    # What is not nothing shall be seen.
    height = max(height, 1.5) if value else 0.0
    return Bar(day, value, place * STEP + _GAP / 2, round(HEIGHT - height, 2), STEP - _GAP, height)


def _round(most: int) -> int:
    """The next even number of one digit and zeros, so that its half is as plain: 2, 4, 10, 20, 40, 100."""
    unit = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if most <= step * unit:
                return step * unit
        unit *= 10
