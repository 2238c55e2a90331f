"""The demo as two people's browsers see it: its pages, and a session that ends while one of them is open."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import Window
from .looking import LOOKS, barriers, overflow

DEMO = Path(__file__).parents[2] / "examples" / "demo"
#: What Chromium says of the 401s by which the open page learns that its session is over.
OVER = r"status of 401 .*/auth/(session|refresh)\)"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the demo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(DEMO), "--port", str(port)]
    folder = tmp_path_factory.mktemp("demo")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def sign_in(page: Page) -> Page:
    page.fill("#user_id", "ann")
    page.fill("#password", "maple-syrup-42")
    page.click("main button")
    page.wait_for_url("**/private")
    return page


def test_a_page_that_is_open_tells_that_its_session_was_ended_elsewhere(
    demo: str, window: Callable[..., Window]
) -> None:
    lost, here = window(), window()
    lost.watch.expect(OVER)
    open_page, own = sign_in(lost.open(f"{demo}/sign-in")), sign_in(here.open(f"{demo}/sign-in"))
    open_page.wait_for_selector('#socket:text-is("open")')
    session_id = open_page.text_content("dd code")
    own.goto(f"{demo}/auth/dashboard")
    own.click("#everywhere summary")
    own.click("#everywhere .danger")
    open_page.wait_for_selector("#over:not([hidden])")
    assert session_id
    assert session_id not in open_page.content()
    assert not barriers(open_page)
    open_page.click("#over a")
    sign_in(open_page)


def test_it_works_without_scripts(demo: str, window: Callable[..., Window]) -> None:
    here = window(java_script_enabled=False)
    here.watch.expect(r"status of 401 .*/auth/dashboard\)")  # the page that says that one is signed out
    page = sign_in(here.open(f"{demo}/sign-in"))
    page.click("text=Sign out")
    page.wait_for_selector('h1:text-is("You are signed out")')


@pytest.mark.parametrize("look", LOOKS)
def test_pages_have_no_barriers_and_fit(demo: str, window: Callable[..., Window], look: str) -> None:
    options: dict[str, Any] = LOOKS[look]
    here = window(**options)
    here.watch.expect(r"status of 404 .*/nope\)")
    page = here.open(demo)
    for path in ("/", "/nope", "/sign-in"):
        page.goto(f"{demo}{path}")
        assert (barriers(page), overflow(page)) == ([], 0)
    sign_in(page)
    for path in ("/", "/private", "/operators/", "/auth/dashboard"):
        page.goto(f"{demo}{path}")
        assert (barriers(page), overflow(page)) == ([], 0)
