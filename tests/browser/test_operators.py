"""The operators' page in a real browser: for people of all kinds, without a script, and safe from what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from ductape_asgi import CookiePolicy, DuctapeMiddleware, Sessions, TagPolicy, new_access_key, operators_page

from .conftest import Window
from .looking import LOOKS, barriers, keep, overflow
from .serving import Site

TAG = "user-session"
NOW = 1_800_014_400.0  # Friday, 15 January 2027, 12:00 UTC
HOSTILE = "<img src=x onerror=alert(1)>\"'&?#/../"
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Shop:
    """An app with the page, people in it, and an operator."""

    def __init__(self, serve: Callable[..., Site]) -> None:
        self.clock = Clock()
        self.sessions = Sessions(
            access_key=new_access_key(),
            product="shop",
            env="prd",
            store="memory://",
            tags=[TagPolicy(TAG)],
            cookies=CookiePolicy(secure=False),
            clock=self.clock,
        )
        page = operators_page(self.sessions, app_name="Shop", page_size=8)
        app: Any = DuctapeMiddleware(Starlette(routes=[Mount("/ops", app=page)]), sessions=self.sessions)
        self.site = serve(app, clock=self.clock)
        self.url = f"{self.site.url}/ops/"

    def start(self, name: str, agent: str = AGENTS[0], *, days_ago: float = 0, **data: Any) -> Any:
        self.clock.now = NOW - days_ago * 86_400
        client = {"headers": [(b"user-agent", agent.encode("latin-1"))], "client": ("203.0.113.7", 1)}
        issued = self.site.run(self.sessions.start(tag=TAG, data={"userId": name, **data}, client=client))
        self.clock.now = NOW
        return issued

    def fill(self) -> None:
        for number in range(90):
            self.start(f"user-{number % 37:03}", AGENTS[number % 3], days_ago=(number * 7 % 30) * (1 - number / 200))
        self.start(HOSTILE, HOSTILE)

    def sign_in(self, window: Window, name: str = "root@example.com", **data: Any) -> None:
        issued = self.start(name, **{"role": "admin", **data})
        assert self.sessions.cookies is not None
        cookie = {"name": self.sessions.cookies.access_name, "value": issued.token, "url": self.site.url}
        window.context.add_cookies([cookie])  # type: ignore[list-item]

    def count(self, name: str) -> int:
        return self.site.run(self.sessions.list(tag=TAG, identifier=name)).count


@pytest.fixture
def shop(serve: Callable[..., Site]) -> Shop:
    return Shop(serve)


@pytest.mark.parametrize("look", LOOKS)
def test_a_picture_of_each_page_has_no_barriers(shop: Shop, window: Callable[..., Window], look: str) -> None:
    shop.fill()
    for agent in AGENTS:
        shop.start("ann@example.com", agent, days_ago=2)
    browser = window(**LOOKS[look])
    shop.sign_in(browser)
    paths = {"operators": "", "operators-person": "user?identifier=ann%40example.com", "": "user?identifier=x"}
    for name, path in paths.items():
        page = browser.open(shop.url + path)
        assert barriers(page) == []
        assert overflow(page) == 0
        if name:
            keep(page, f"{name}-{look}")
    page = browser.open(shop.url)
    page.get_by_text("As a table").click()
    assert page.get_by_role("row", name="2027-01-15").is_visible()
    page.get_by_role("link", name="user-").first.click()
    page.get_by_text("End all sessions", exact=True).click()
    assert barriers(page) == []
    assert overflow(page) == 0


def test_it_works_without_a_script(shop: Shop, window: Callable[..., Window]) -> None:
    for _ in range(3):
        shop.start("ann")
    shop.start("bob")
    browser = window(java_script_enabled=False)
    shop.sign_in(browser)
    page = browser.open(shop.url)
    page.get_by_label("Exact identifier").fill("ann")
    page.get_by_role("button", name="Find").click()
    assert page.get_by_role("heading", level=1).inner_text() == "ann"
    page.get_by_role("button", name="End session").first.click()
    assert page.get_by_role("status").inner_text() == "The session has been ended."
    assert shop.count("ann") == 2
    page.get_by_text("End all sessions", exact=True).click()
    page.get_by_role("button", name="Yes, end all sessions").click()
    assert page.get_by_role("status").inner_text() == "All sessions of this user have been ended."
    assert (shop.count("ann"), shop.count("bob")) == (0, 1)
    page.get_by_role("link", name="All sessions and users").click()
    assert page.get_by_role("row").count() == 3  # the head, bob and root: the table of days is closed


def test_the_list_is_turned_page_by_page_with_the_keyboard(shop: Shop, window: Callable[..., Window]) -> None:
    shop.fill()
    browser = window()
    shop.sign_in(browser)
    page = browser.open(shop.url)
    seen: list[str] = []
    while True:
        seen += page.locator(".users tbody th").all_inner_texts()
        following = page.get_by_role("link", name="Next page")
        if not following.count():
            break
        following.focus()
        with page.expect_navigation():
            page.keyboard.press("Enter")
    assert len(seen) == len(set(seen)) == 39
    page.get_by_role("link", name="Back to the first page").click()
    assert page.get_by_role("heading", name="The last 30 days").is_visible()


def test_what_people_call_themselves_is_text(shop: Shop, window: Callable[..., Window]) -> None:
    shop.start(HOSTILE, HOSTILE)
    browser = window()
    shop.sign_in(browser)
    page = browser.open(shop.url)
    page.get_by_role("link", name=HOSTILE).click()
    assert page.get_by_role("heading", level=1).inner_text() == HOSTILE
    assert page.get_by_role("heading", level=3).inner_text() == HOSTILE
    assert page.locator("img").count() == 0
    page.get_by_role("button", name="End session").click()
    assert page.get_by_role("heading", name="No active session").is_visible()
    assert shop.count(HOSTILE) == 0


def test_who_may_not_is_told_so(shop: Shop, window: Callable[..., Window]) -> None:
    browser = window()
    browser.watch.expect("40[13]")
    page = browser.open(shop.url)
    assert page.get_by_role("heading", level=1).inner_text() == "You are signed out"
    assert barriers(page) == []
    shop.sign_in(browser, role="user")
    page.reload()
    assert page.get_by_role("heading", level=1).inner_text() == "This page is for operators"
    assert barriers(page) == []
