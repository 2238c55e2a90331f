"""A server that loads and warms the app up, and then forks its workers."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

PRELOADED = Path(__file__).with_name("preloaded.py")


@pytest.fixture(params=["open", "closed"])
def found(request: pytest.FixtureRequest, path: str, access_key: str) -> Any:
    """What the parent and its children found, after a warm-up that left the store open, or closed it."""
    run = subprocess.run(
        [sys.executable, str(PRELOADED), path, access_key, request.param], capture_output=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


def test_forked_workers_serve_revoke_and_list_like_any_others(found: Any, path: str) -> None:
    assert found["revoked"] is True
    assert len(found["children"]) == 3
    for child in found["children"]:
        assert "failed" not in child, child["failed"]
        assert child["inherited"] == found["first"]
        assert child["after_revoke"] == "revoked_session"
        assert child["own_after"] == child["own"]
        assert child["listed"] == 3 + 1 + child["number"]
    assert found["count"] == 6
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_forks_while_requests_are_served_lose_nothing(path: str, access_key: str) -> None:
    script = PRELOADED.with_name("forking_under_load.py")
    run = subprocess.run([sys.executable, str(script), path, access_key], capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr.decode()
    found = json.loads(run.stdout)
    assert [each for each in found["acknowledged"] if each.startswith("failed")] == []
    assert len(found["acknowledged"]) >= 80
    assert set(found["listed"]) == set(found["acknowledged"])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
