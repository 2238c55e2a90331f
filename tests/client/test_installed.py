"""With one of the libraries, the other, or none: each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
BUILD = """
from ductape_asgi.client import SessionAuth, SessionTokens
auth = SessionAuth(refresh_url="https://app.test/auth/refresh")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(("there", "missing"), [("httpx", "httpx2"), ("httpx2", "httpx")])
def test_one_library_is_enough(there: str, missing: str) -> None:
    use = f"import sys, {there} as library; library.Client(auth=auth); print({missing!r} in sys.modules)"
    answer = run(BLOCKED.format(names={missing}) + BUILD + use)
    assert (answer.stdout.strip(), answer.stderr) == ("False", "")


def test_without_any_it_says_what_to_install() -> None:
    answer = run(BLOCKED.format(names={"httpx", "httpx2"}) + BUILD)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        'ductape_asgi.errors.ConfigurationError: SessionAuth needs httpx2, or httpx: pip install "ductape-asgi[client]"'
    )
