"""What a browser complains of while a test runs: its console, and breaches of a page's policy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Page

_REPORTER = """
addEventListener("securitypolicyviolation", (breach) => {
    __ductape_breach(`${breach.effectiveDirective} ${breach.blockedURI} on ${breach.documentURI}`);
});
"""


def until(page: Page, happens: Callable[[], object], within: float = 60.0) -> None:
    """Wait until something holds, in the page or outside, while the browser's events arrive.

    `Page.wait_for_function` would evaluate text in the page, which a strict policy forbids.
    """
    ends = time.monotonic() + within
    while not happens():
        assert time.monotonic() < ends, "it did not happen"
        page.wait_for_timeout(20)


class Watch:
    """Collects complaints of a browser context; every test ends with `check` for each of its contexts."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.on("page", self._follow)
        # Neither a binding nor an initial script is subject to the page's policy.
        context.expose_binding("__ductape_breach", self._breached)
        context.add_init_script(_REPORTER)

    def expect(self, pattern: str) -> None:
        """Let complaints that contain this pattern be: those that the test itself provokes."""
        self._expected.append(re.compile(pattern))

    def check(self) -> None:
        """Fail if anything was complained of that no test expected."""
        left = [each for each in self.complaints if not any(pattern.search(each) for pattern in self._expected)]
        assert left == [], "the browser complained: " + "; ".join(left)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _breached(self, _source: Any, what: str) -> None:
        self.complaints.append(f"policy: {what}")

    def _follow(self, page: Page) -> None:
        page.on("crash", lambda _: self.complaints.append(f"crashed: {page.url}"))
