"""The page on testing is a test file: pytest runs it as a user would, with the plugin loaded as the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def run(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    return answer.stdout + answer.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plugin, *rest = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert "pytest_plugins" in plugin
    (tmp_path / "conftest.py").write_text(plugin)
    (tmp_path / "test_shop.py").write_text("\n\n".join(rest))
    return tmp_path


def test_every_example_passes(folder: Path) -> None:
    written = set(re.findall(r"^(?:async )?def (test_\w+)", (folder / "test_shop.py").read_text(), re.MULTILINE))
    output = run(folder, "-v")
    passed = set(re.findall(r"py::(test_\w+)(?:\[\w+\])? PASSED", output))
    assert passed == written, output
    assert len(written) >= 7
    assert len(re.findall(r"::TestMyStore::test_\S+ PASSED", output)) > 200, "the contract of stores did not run"
    assert re.fullmatch(r"=+ \d+ passed in .*=", output.splitlines()[-1]), output


def test_without_the_plugin_the_fixtures_are_not_there(folder: Path) -> None:
    (folder / "conftest.py").unlink()
    assert "fixture 'sessions' not found" in run(folder, "-q", "-k", "test_a_browser")
