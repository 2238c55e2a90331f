"""Where the bars of a chart stand."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from ductape_asgi.pages.charts import HEIGHT, STEP, chart_of

DAY = date(2027, 1, 15)


def days(*values: int) -> list[tuple[date, int]]:
    return [(DAY + timedelta(days=place), value) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("most", "top", "middle"),
    [
        (0, 2, "1"),
        (1, 2, "1"),
        (2, 2, "1"),
        (3, 4, "2"),
        (9, 10, "5"),
        (10, 10, "5"),
        (11, 20, "10"),
        (61, 80, "40"),
        (100, 100, "50"),
        (1001, 2000, "1000"),
    ],
)
def test_the_scale_ends_at_a_plain_number(most: int, top: int, middle: str) -> None:
    chart = chart_of(days(0, most))
    assert (chart.top, chart.middle) == (top, middle)


def test_each_bar_stands_on_the_ground_and_is_as_high_as_its_number() -> None:
    chart = chart_of(days(0, 5, 10))
    assert [bar.height for bar in chart.bars] == [0, HEIGHT / 2, HEIGHT]
    assert all(bar.y + bar.height == HEIGHT for bar in chart.bars)
    assert [bar.x + bar.width / 2 for bar in chart.bars] == [STEP / 2, 1.5 * STEP, 2.5 * STEP]
    assert (chart.width, chart.total, chart.peak.day) == (3 * STEP, 15, DAY + timedelta(days=2))


def test_a_small_number_beside_a_great_one_can_be_seen() -> None:
    small = chart_of(days(1, 100_000)).bars[0]
    assert small.height > 1
    assert small.y + small.height == HEIGHT
