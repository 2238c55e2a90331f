"""Servers of the fault matrix, one set for all cells of a column, and the table at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from .cell import Figures
from .columns import Column, opened

_FIGURES = "figures"


@pytest.fixture(scope="class")
def column(request: pytest.FixtureRequest) -> Iterator[Column]:
    # Whoever runs PostgreSQL where the tests run as root could not reach pytest's own folders.
    with (
        tempfile.TemporaryDirectory(prefix="ductape-faults-") as folder,
        opened(request.cls.kind, Path(folder)) as column,
    ):
        yield column


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Figures], None]:
    """Put the figures of a cell into the table."""

    def kept(figures: Figures) -> None:
        request.node.user_properties.append((_FIGURES, asdict(figures)))

    return kept


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [
        dict(report.user_properties)[_FIGURES]
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call" and _FIGURES in dict(report.user_properties)
    ]
    if not rows:
        return
    order = list(dict.fromkeys(row["row"] for row in rows))
    columns = list(dict.fromkeys(row["column"] for row in rows))
    rows.sort(key=lambda row: (order.index(row["row"]), columns.index(row["column"])))
    write = terminalreporter.write_line
    terminalreporter.section("fault matrix")
    write(
        "Seconds.  revoked: latest acceptance after the revoke was acknowledged (at most 5), of so many; wait: longest"
    )
    write(
        "any request less the machine's own lateness (at most 1.5); raw: as it was; late: most lateness of the machine;"
    )
    write(
        "back: first answer of the store after the server answers (at most 2); 401: refusals of live sessions (none);"
    )
    write("503: of all requests.")
    write("")
    write(
        f"{'fault':<22}{'store':<11}{'revoked':>8}{'of':>5}{'wait':>7}{'raw':>7}{'late':>7}{'back':>7}{'401':>5}{'503':>14}"
    )
    for row in rows:
        back = "-" if row["recovery"] is None else f"{row['recovery']:.2f}"
        write(
            f"{row['row']:<22}{row['column']:<11}{row['accepted']:>8.3f}{row['revoked']:>5}{row['wait']:>7.2f}"
            f"{row['raw_wait']:>7.2f}{row['lag']:>7.2f}{back:>7}{row['signed_out']:>5}"
            f"{row['unavailable']:>7}/{row['requests']}"
        )
        for note in row["notes"]:
            write(f"{'':<22}{note}")
