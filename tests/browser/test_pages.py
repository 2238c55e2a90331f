"""The page where people see and end their sessions: with JavaScript and without, in every look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import Window
from .looking import LOOKS, barriers, keep, overflow
from .serving import Site
from .shop import TAG, Shop
from .signing import shows, sign_in, visit
from .watching import until

Serve = Callable[..., Site]
Windows = Callable[..., Window]

HOSTILE = "<img src=x onerror=\"console.error('run')\"> \u202e'; DROP"
AGENTS = {
    "phone": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1",
    "laptop": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "script": "curl/8.14.1",
}


def signed_in(window: Window, site: Site, name: str = "ann") -> Page:
    """The dashboard of somebody who has signed in from this window; needs no JavaScript."""
    page = window.context.new_page()
    answer = window.context.request.post(
        f"{site.url}/auth/login", data={"name": name, "password": "right"}, headers={"sec-fetch-site": "same-origin"}
    )
    assert answer.ok
    page.goto(f"{site.url}/auth/dashboard")
    return page


def elsewhere(shop: Shop, site: Site, agent: str, name: str = "ann", ip: str = "203.0.113.7") -> str:
    """A session of the same person from another device; its id."""
    scope: dict[str, Any] = {"type": "http", "client": (ip, 1), "headers": [(b"user-agent", agent.encode())]}
    issued = site.run(shop.sessions.start(tag=TAG, identifier=name, data={"userId": name}, client=scope))
    return str(issued.session_id)


def rows(page: Page) -> list[str]:
    """Ids of the other sessions that the page lists."""
    listed: list[str] = page.evaluate("[...document.querySelectorAll('#devices > li')].map(row => row.dataset.session)")
    return listed


def live(shop: Shop, site: Site, name: str = "ann") -> int:
    async def count() -> int:
        return (await shop.sessions.list(tag=TAG, identifier=name)).count

    return site.run(count())


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
def test_one_session_is_ended_by_its_button(serve: Serve, window: Windows, scripts: bool) -> None:
    shop = Shop()
    site = serve(shop)
    ann = window(java_script_enabled=scripts)
    phone, laptop = (elsewhere(shop, site, AGENTS[name]) for name in ("phone", "laptop"))
    page = signed_in(ann, site)
    assert rows(page) == [laptop, phone]

    page.locator(f"[data-session='{phone}'] button").click()

    until(page, lambda: rows(page) == [laptop])
    assert live(shop, site) == 2
    assert page.locator("#status").inner_text().strip()


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
def test_all_others_are_ended_after_a_question(serve: Serve, window: Windows, scripts: bool) -> None:
    shop = Shop()
    site = serve(shop)
    for agent in AGENTS.values():
        elsewhere(shop, site, agent)
    page = signed_in(window(java_script_enabled=scripts), site)
    assert not page.locator("#everywhere form button").is_visible()

    page.locator("#everywhere summary").click()
    page.locator("#everywhere form button").click()

    until(page, lambda: rows(page) == [])
    assert live(shop, site) == 1


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
def test_sign_out_ends_this_session_and_its_cookies(serve: Serve, window: Windows, scripts: bool) -> None:
    shop = Shop()
    site = serve(shop)
    ann = window(java_script_enabled=scripts)
    ann.watch.expect(r"status of 401 .*/auth/dashboard")
    page = signed_in(ann, site)

    page.locator("form:has([value=sign_out]) button").click()

    until(page, lambda: live(shop, site) == 0)
    until(page, lambda: ann.context.cookies() == [])
    assert page.locator("h1").inner_text()


def test_a_session_that_ends_elsewhere_leaves_the_list(serve: Serve, window: Windows) -> None:
    shop = Shop()
    site = serve(shop)
    phone, laptop = (elsewhere(shop, site, AGENTS[name]) for name in ("phone", "laptop"))
    page = signed_in(window(), site)
    site.run(shop.sessions.revoke(tag=TAG, session_id=phone))
    until(page, lambda: rows(page) == [laptop])
    newer = elsewhere(shop, site, AGENTS["script"])
    until(page, lambda: rows(page) == [newer, laptop])


def test_a_page_of_the_apps_hears_when_the_dashboard_signs_out(serve: Serve, window: Windows) -> None:
    shop = Shop()
    site = serve(shop)
    ann = window()
    ann.watch.expect("status of 401")
    home = visit(ann, site.url, ask="no", watch=1)
    sign_in(home)
    page = ann.open(f"{site.url}/auth/dashboard")
    page.locator("form:has([value=sign_out]) button").click()
    shows(home, "nobody")


def test_hostile_agents_and_names_are_text(serve: Serve, window: Windows) -> None:
    shop = Shop()
    site = serve(shop)
    before = elsewhere(shop, site, HOSTILE, name=HOSTILE, ip=HOSTILE)
    page = signed_in(window(), site, HOSTILE)
    # One that the server wrote, and one that the script puts in.
    after = elsewhere(shop, site, HOSTILE, name=HOSTILE, ip=HOSTILE)
    until(page, lambda: rows(page) == [after, before])
    assert page.locator("img").count() == 0
    assert HOSTILE in str(page.locator(".who").text_content())
    assert "onerror" in str(page.locator(f"[data-session='{after}']").text_content())


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_picture_of_the_dashboard(serve: Serve, window: Windows, look: str, locale: str) -> None:
    """No barrier that axe-core knows, no scrolling sideways; the pictures in docs/images are taken here."""
    shop = Shop()
    site = serve(shop)
    for agent in AGENTS.values():
        elsewhere(shop, site, agent)
    page = signed_in(window(**LOOKS[look], locale=locale), site, "ann")
    assert barriers(page) == []
    assert overflow(page) == 0
    if locale == "en-GB":
        keep(page, f"dashboard-{look}")
    page.locator("#everywhere summary").click()
    assert barriers(page) == []


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_for_nobody_has_no_barriers_either(serve: Serve, window: Windows, look: str) -> None:
    nobody = window(**LOOKS[look])
    nobody.watch.expect(r"status of 401 .*/auth/dashboard")
    page = nobody.open(f"{serve(Shop()).url}/auth/dashboard")
    assert barriers(page) == []
    assert overflow(page) == 0


def test_everything_is_reached_with_the_keyboard(serve: Serve, window: Windows) -> None:
    shop = Shop()
    site = serve(shop)
    elsewhere(shop, site, AGENTS["phone"])
    page = signed_in(window(), site)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.closest('form, details, a')?.innerText.trim().split('\\n')[0] ?? ''")
        )
    assert page.locator("form:has([value=sign_out]) button").inner_text() in reached
    assert page.locator("#everywhere summary").inner_text() in reached
