"""What people do on the shop's page, through its `client`."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from .conftest import Window
from .watching import until

#: What Chromium says of the 401 that tells a page nobody is signed in.
NOBODY = r"status of 401 .*\(http://[^)]*/auth/(session|refresh)\)"


def visit(window: Window, url: str, **told: object) -> Page:
    """A new tab that has asked who is signed in."""
    page = window.open(f"{url}/?" + "&".join(f"{name}={value}" for name, value in told.items()))
    ready = "!!globalThis.client" if told.get("ask") == "no" else "!!globalThis.heard?.length"
    until(page, lambda: page.evaluate(ready))
    return page


def sign_in(page: Page, name: str = "ann") -> dict[str, Any]:
    """Sign in from this tab; what `login` answered."""
    session: dict[str, Any] = page.evaluate("name => client.login({name, password: 'right'})", name)
    return session


def shown(page: Page) -> str:
    """Who the page says is signed in."""
    return page.locator("#who").inner_text()


def shows(page: Page, who: str) -> None:
    """Wait until the page says that this one is signed in."""
    until(page, lambda: page.evaluate("document.querySelector('#who').textContent") == who)


def known(page: Page) -> str | None:
    """Who is signed in, as the page's client knows without asking."""
    who: str | None = page.evaluate("client.session().then(s => s && s.identifier)")
    return who


def stored(page: Page) -> str:
    """All that the page keeps where scripts can read it."""
    kept: str = page.evaluate(
        """async () => JSON.stringify([
            {...localStorage}, {...sessionStorage}, document.cookie, await indexedDB.databases(), await caches.keys(),
            history.state, name, location.href,
        ])"""
    )
    return kept
