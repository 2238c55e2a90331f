"""What mypy and pyright say of a user's app, for each front end.

The apps beside this file say it in comments: ``# reveals: <type>``, and ``# objects`` where a checker has to.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
APPS = sorted(HERE.glob("*_app.py"))
Lines = dict[str, str]


def said(app: Path, comment: str) -> Lines:
    """What the comments of an app say, by line."""
    found = [
        (number, re.search(rf"# {comment}(.*)", line)) for number, line in enumerate(app.read_text().splitlines(), 1)
    ]
    return {f"{app.name}:{number}": match[1] for number, match in found if match}


def expected(comment: str) -> Lines:
    return {line: text for app in APPS for line, text in said(app, comment).items()}


def run(*command: str) -> str:
    answer = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 1, answer.stderr + answer.stdout  # 1 is for errors found, and they all object
    return answer.stdout


@pytest.fixture(scope="module")
def by_mypy() -> tuple[Lines, Lines]:
    """What it reveals, and where it objects."""
    reveals, objects = {}, {}
    for line in run("mypy", "--strict", "--no-error-summary", *map(str, APPS)).splitlines():
        path, number, level, text = line.split(":", 3)
        place = f"{Path(path).name}:{number}"
        if revealed := re.fullmatch(r' Revealed type is "(.*)"', text):
            reveals[place] = re.sub(r"\b[a-z_]+\.", "", revealed[1])
        elif level == " error":
            objects[place] = text
    return reveals, objects


@pytest.fixture(scope="module")
def by_pyright() -> tuple[Lines, Lines]:
    """What it reveals, and where it objects."""
    reveals, objects = {}, {}
    for found in json.loads(run("pyright", "--outputjson", *map(str, APPS)))["generalDiagnostics"]:
        place = f"{Path(found['file']).name}:{found['range']['start']['line'] + 1}"
        if revealed := re.fullmatch(r'Type of ".*" is "(.*)"', found["message"]):
            reveals[place] = revealed[1]
        elif found["severity"] == "error":
            objects[place] = found["message"]
    return reveals, objects


@pytest.mark.parametrize("checker", ["by_mypy", "by_pyright"])
def test_session_data_is_the_users_model(checker: str, request: pytest.FixtureRequest) -> None:
    reveals, _ = request.getfixturevalue(checker)
    assert reveals == expected("reveals: ")


@pytest.mark.parametrize("checker", ["by_mypy", "by_pyright"])
def test_mistakes_are_errors_and_nothing_else_is(checker: str, request: pytest.FixtureRequest) -> None:
    _, objects = request.getfixturevalue(checker)
    assert objects.keys() == expected("objects").keys()
    assert {place.split(":")[0] for place, text in objects.items() if "requird" in text} == {app.name for app in APPS}


def test_each_front_end_has_an_app_whose_data_is_revealed() -> None:
    assert [app.name.removesuffix("_app.py") for app in APPS] == ["fastapi", "litestar", "plain", "starlette"]
    assert all("Shopper" in said(app, "reveals: ").values() for app in APPS)
