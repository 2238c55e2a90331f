"""Chromium for the tests, apps served to it, and windows that are watched for complaints."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from .serving import Asgi, Site
from .shop import Rotations
from .watching import Watch

#: Chromium looks for updates and for hosts of its own otherwise, which tests have no business with.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Window:
    """One browser with cookies of its own: a `context` of Playwright's, and a `watch` on it."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.watch = Watch(context)

    def open(self, url: str) -> Page:
        """A new tab that has loaded this page."""
        page = self.context.new_page()
        page.goto(url)
        return page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one that ``DUCTAPE_TEST_CHROMIUM`` names.  Where there is none, tests fail."""
    path = os.environ.get("DUCTAPE_TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("no Chromium: install Debian's package chromium, or name one in DUCTAPE_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Serve an app until the test ends: ``site = serve(app)``."""
    sites: list[Site] = []

    def start(app: Asgi, **options: Any) -> Site:
        sites.append(Site(app, **options))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


@pytest.fixture
def window(chromium: Browser) -> Iterator[Callable[..., Window]]:
    """A new browser with no cookies: ``window(color_scheme="dark", java_script_enabled=False)``.

    When the test ends, nothing may have been complained of in any of them (`Watch.expect` names exceptions).
    """
    windows: list[Window] = []

    def new(**options: Any) -> Window:
        windows.append(Window(chromium.new_context(**options)))
        return windows[-1]

    yield new
    for each in windows:
        each.context.close()
    for each in windows:
        each.watch.check()


@pytest.fixture
def rotations() -> Iterator[Rotations]:
    """Hears of each rotation that a server of this test makes."""
    audit = logging.getLogger("ductape_asgi.audit")
    handler, level = Rotations(), audit.level
    audit.addHandler(handler)
    audit.setLevel(logging.INFO)
    yield handler
    audit.removeHandler(handler)
    audit.setLevel(level)
