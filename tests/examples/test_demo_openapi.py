"""Schemathesis asks the demo all that its OpenAPI document allows, and what it does not: no answer is a 5xx."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.serving import PATIENCE, free_port, running

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "examples" / "demo"
#: The same requests each time: `--max-time` would make their number depend on the machine.
FIXED = [
    "--seed",
    "1",
    "--max-examples",
    "20",
    "--phases",
    "examples,coverage,fuzzing",
    "--generation-database",
    "none",
]


def asked(url: str, folder: Path, *options: str) -> dict[str, Any]:
    """The report of a run against ``/openapi.json``."""
    report = folder / "report.json"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", *FIXED]
    command += ["--checks", "not_a_server_error", "--continue-on-failure", "--no-color", *options]
    command += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    assert (found["exit_code"], found["complete"], found["errors"]) == (done.returncode, True, [])
    assert found["operations"]["tested"] == found["operations"]["selected"], done.stdout
    return found


def accepted(report: dict[str, Any], operation: str) -> int:
    """How many of the requests were answered as good ones."""
    return sum(phase["accepted"] for phase in report["valid_rates"][operation].values())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("demo")
    with running([sys.executable, str(DEMO), "--port", str(port)], folder, "Ctrl-C"):
        yield f"http://127.0.0.1:{port}"


def test_whoever_is_signed_out_finds_no_mistake_in_the_demo(demo: str, tmp_path: Path) -> None:
    report = asked(demo, tmp_path, "--header", f"Origin: {demo}")
    assert report["failures"] == []
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert accepted(report, "GET /") > 0


def test_whoever_is_signed_in_finds_none_either(demo: str, tmp_path: Path) -> None:
    sign_in = {"userId": "ann", "password": "maple-syrup-42"}
    token = httpx.post(f"{demo}/api/login", json=sign_in, timeout=PATIENCE, trust_env=False).json()["token"]
    headers = ["--header", f"Origin: {demo}", "--header", f"Authorization: Bearer {token}"]
    report = asked(demo, tmp_path, *headers, "--exclude-path-regex", "logout|sign-out")
    assert report["failures"] == []
    assert accepted(report, "GET /private") > 0
    bearer = {"Authorization": f"Bearer {token}"}
    mine = httpx.get(f"{demo}/private", headers=bearer, timeout=PATIENCE, trust_env=False)
    assert mine.status_code == 200, "it was signed in to the end"


def test_a_mistake_would_be_found(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "faulty:app", "--port", str(port)]
    with running(command, tmp_path, "Uvicorn running"):
        report = asked(f"http://127.0.0.1:{port}", tmp_path)
    assert report["failures"] != []
