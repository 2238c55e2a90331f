"""The page of one's own sessions, as people use it: without scripts, live, by keyboard, on a phone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page
from starlette.responses import RedirectResponse

from ductape_asgi import ClientInfo, IssuedSession

from .conftest import Window
from .looking import LOOKS, barriers, keep, overflow
from .serving import Site
from .shop import TAG, Clock, Shop
from .signing import sign_in, visit
from .watching import until

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'"
DEVICES = (
    ("Safari on iPhone", "2001:db8:85a3::8a2e:370:7334"),
    ("Chrome on macOS", "198.51.100.24"),
    ("curl/8.5.0", "192.0.2.55"),
    ("Safari on iPad", "192.0.2.56"),
)
#: What Chromium says of the 401 by which the page learns that its session is over.
OVER = r"status of 401 .*/auth/(sessions\?.*|refresh|dashboard)\)"


class Desk:
    """Ann's account at a served shop, and the windows in which she looks at it."""

    def __init__(self, serve: Callable[..., Site], window: Callable[..., Window], **options: Any) -> None:
        self.shop = Shop(**options)
        self.site = serve(self._app, **({"clock": options["clock"]} if "clock" in options else {}))
        self._window = window

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].startswith("/enter/"):
            await self.shop(scope, receive, send)
            return
        # Such as a link from an e-mail is answered: the one way in that needs no script.
        user = scope["path"].removeprefix("/enter/")
        client = ClientInfo("203.0.113.7", None, "Firefox on Linux")
        response = RedirectResponse("/auth/dashboard", 303)
        issued = await self.shop.sessions.start(tag=TAG, data={"userId": user}, client=client)
        self.shop.sessions.set_cookies(response, issued)
        await response(scope, receive, send)

    def start(self, label: str, ip: str = "203.0.113.7") -> IssuedSession:
        client = ClientInfo(ip, None, label)
        return self.site.run(self.shop.sessions.start(tag=TAG, data={"userId": "ann"}, client=client))

    def end(self, issued: IssuedSession) -> None:
        assert self.site.run(self.shop.sessions.revoke(tag=TAG, session_id=issued.session_id))

    def live(self) -> int:
        return self.site.run(self.shop.sessions.list(tag=TAG, identifier="ann")).count

    def sit(self, *, user: str = "ann", **look: Any) -> tuple[Window, Page]:
        """A window at the page, signed in as from another form."""
        window = self._window(**look)
        return window, window.open(f"{self.site.url}/enter/{quote(user, safe='')}")


@pytest.fixture
def desk(serve: Callable[..., Site], window: Callable[..., Window]) -> Callable[..., Desk]:
    def new(**options: Any) -> Desk:
        return Desk(serve, window, **options)

    return new


def listed(page: Page) -> list[str]:
    return page.locator("#devices h3").all_inner_texts()


def title(page: Page) -> str:
    return page.locator("h1").inner_text()


# Without scripts


def test_without_scripts_one_is_signed_out_then_all_then_oneself(desk: Callable[..., Desk]) -> None:
    ann = desk()
    for label, ip in DEVICES:
        ann.start(label, ip)
    window, page = ann.sit(java_script_enabled=False)
    window.watch.expect(OVER)
    assert listed(page) == [label for label, _ in reversed(DEVICES)]
    page.get_by_role("button", name="Sign out of Chrome on macOS").click()
    assert page.get_by_role("status").inner_text() == "That device has been signed out."
    assert listed(page) == ["Safari on iPad", "curl/8.5.0", "Safari on iPhone"]

    page.get_by_text("Sign out everywhere else", exact=True).click()
    page.get_by_role("button", name="Yes, sign out everywhere else").click()
    assert page.get_by_role("status").inner_text() == "You have been signed out everywhere else."
    assert listed(page) == []
    assert page.get_by_text("You are not signed in anywhere else.").is_visible()

    page.get_by_role("button", name="Sign out", exact=True).click()
    assert title(page) == "You are signed out"
    assert ann.live() == 0
    assert page.context.cookies() == []


def test_without_scripts_times_are_told_in_utc(desk: Callable[..., Desk]) -> None:
    ann = desk()
    ann.start("Chrome on macOS")
    _, page = ann.sit(java_script_enabled=False, timezone_id="Asia/Tokyo")
    told = page.locator("#devices time").all_inner_texts()
    assert len(told) == 3
    assert [text.endswith(" UTC") for text in told] == [False, True, True]


# Live


def test_a_session_that_ends_elsewhere_leaves_the_list(desk: Callable[..., Desk]) -> None:
    ann = desk()
    gone, _ = ann.start("Chrome on macOS"), ann.start("Safari on iPad")
    _, page = ann.sit()
    assert listed(page) == ["Safari on iPad", "Chrome on macOS"]
    ann.end(gone)
    ended = time.monotonic()
    until(page, lambda: listed(page) == ["Safari on iPad"])
    print(f"left the list after {time.monotonic() - ended:.2f} s")
    # The issue asks for 2 s; a machine that does other things has ten times that.
    assert time.monotonic() - ended < 20
    assert page.get_by_role("status").inner_text() == "Chrome on macOS has been signed out."
    assert page.locator("#count").inner_text() == "1"
    assert page.locator("#warning").text_content() == (
        "This ends your session on the other device. It has to sign in again."
    )


def test_a_sign_in_elsewhere_comes_into_the_list_and_can_be_ended(desk: Callable[..., Desk]) -> None:
    ann = desk()
    _, page = ann.sit()
    assert page.get_by_text("You are not signed in anywhere else.").is_visible()
    other = ann.start("Chrome on Windows", "192.0.2.9")
    until(page, lambda: listed(page) == ["Chrome on Windows"])
    row = page.get_by_role("listitem")
    assert "192.0.2.9" in row.inner_text()
    assert "just now" in row.inner_text()
    assert page.get_by_role("status").inner_text() == "Chrome on Windows has signed in."
    assert not page.get_by_text("You are not signed in anywhere else.").is_visible()
    with page.expect_navigation():
        page.get_by_role("button", name="Sign out of Chrome on Windows").click()
    assert listed(page) == []
    assert ann.live() == 1
    assert other.session_id not in page.content()


def test_what_comes_in_live_is_text(desk: Callable[..., Desk]) -> None:
    ann = desk()
    ann.start(HOSTILE, HOSTILE)
    _, page = ann.sit()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    assert listed(page) == [HOSTILE]
    ann.start("2 " + HOSTILE, HOSTILE)
    until(page, lambda: listed(page) == ["2 " + HOSTILE, HOSTILE])
    assert "2 " + HOSTILE in page.get_by_role("status").inner_text()
    assert page.locator("main img, main script").count() == 0


def test_an_identifier_is_text(desk: Callable[..., Desk]) -> None:
    _, page = desk().sit(user=HOSTILE)
    assert page.locator("header bdi").inner_text() == HOSTILE
    assert page.locator("img").count() == 0


def test_the_page_of_a_session_that_ends_says_so(desk: Callable[..., Desk]) -> None:
    ann = desk()
    window, page = ann.sit()
    window.watch.expect(OVER)
    for info in ann.site.run(ann.shop.sessions.list(tag=TAG, identifier="ann")):
        ann.site.run(ann.shop.sessions.revoke(tag=TAG, session_id=info.session_id))
    until(page, lambda: title(page) == "You are signed out")


def test_a_sign_out_in_another_tab_reaches_the_page(desk: Callable[..., Desk]) -> None:
    ann = desk()
    window, page = ann.sit()
    window.watch.expect(OVER)
    window.watch.expect(r"status of 401 .*/auth/session\)")
    other = visit(window, ann.site.url)
    other.evaluate("client.logout()")
    page.bring_to_front()
    until(page, lambda: title(page) == "You are signed out")
    page.reload()
    assert title(page) == "You are signed out"
    sign_in(other, "ann")
    page.reload()
    assert title(page) == "Where you are signed in"


def test_an_access_token_that_ends_does_not_end_the_page(desk: Callable[..., Desk]) -> None:
    clock = Clock()
    ann = desk(clock=clock)
    window, page = ann.sit()
    window.watch.expect(r"status of 401 .*/auth/sessions\?")
    clock.later = 1000
    other = ann.start("Chrome on Windows")
    until(page, lambda: listed(page) == ["Chrome on Windows"])
    ann.end(other)
    until(page, lambda: listed(page) == [])
    assert title(page) == "Where you are signed in"


def test_a_store_that_is_away_leaves_the_list_as_it_is(desk: Callable[..., Desk]) -> None:
    ann = desk()
    ann.start("Chrome on Windows")
    window, page = ann.sit()
    window.watch.expect(r"status of 503 .*/auth/sessions\?")
    ann.shop.broken["GET /auth/sessions"] = 503
    until(page, lambda: "cannot be brought up to date" in page.get_by_role("status").inner_text())
    assert listed(page) == ["Chrome on Windows"]
    ann.shop.broken.clear()
    until(page, lambda: page.get_by_role("status").inner_text() == "")


def test_looking_stops_where_nobody_reads(desk: Callable[..., Desk]) -> None:
    """Each look is use of the session, which an open page must not keep from its idle end."""
    ann = desk()
    _, page = ann.sit()
    page.clock.install()
    page.reload()
    count = lambda: ann.shop.count("GET /auth/sessions")  # noqa: E731
    before = count()
    until(page, lambda: count() > before)
    page.clock.fast_forward(301_000)
    page.clock.fast_forward(2_000)
    before = count()
    for _ in range(10):
        page.clock.fast_forward(2_000)
        page.wait_for_timeout(20)
    assert count() <= before + 1  # One may have been under way.
    page.mouse.move(5, 5)
    page.mouse.move(50, 50)
    before = count()
    until(page, lambda: count() > before)


# By keyboard


def test_the_page_is_used_by_keyboard_alone(desk: Callable[..., Desk]) -> None:
    ann = desk()
    gone = ann.start("Chrome on macOS")
    ann.start("Safari on iPad")
    _, page = ann.sit()
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"{order[-1]} has no visible focus"
    assert order == [
        "Skip to content",
        "Sign out",
        "Sign out of Safari on iPad",
        "Sign out of Chrome on macOS",
        "Sign out everywhere else",
    ]
    # What is taken away under the reader's hands leaves them near, not at the top of the page.
    page.keyboard.press("Shift+Tab")
    ann.end(gone)
    until(page, lambda: listed(page) == ["Safari on iPad"])
    assert page.evaluate("document.activeElement.id") == "others"
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert listed(page) == []
    assert ann.live() == 1


# How it looks


@pytest.mark.parametrize("look", LOOKS)
def test_a_picture_has_no_barriers(desk: Callable[..., Desk], look: str) -> None:
    clock = Clock()
    ann = desk(clock=clock)
    for hours, (label, ip) in zip((-190, -27, -3, -1), DEVICES, strict=True):
        clock.later = hours * 3600
        ann.start(label, ip)
    clock.later = 0
    _, page = ann.sit(**LOOKS[look], locale="en-GB", timezone_id="Europe/London")
    assert barriers(page) == []
    assert overflow(page) == 0
    keep(page, f"dashboard-{look}")
    page.get_by_text("Sign out everywhere else", exact=True).click()
    assert page.get_by_role("button", name="Yes, sign out everywhere else").is_visible()
    assert barriers(page) == []
    assert overflow(page) == 0


@pytest.mark.parametrize("look", ["wide-dark", "phone-light"])
def test_a_long_name_in_another_language_has_no_barriers(desk: Callable[..., Desk], look: str) -> None:
    ann = desk()
    ann.start("W" * 300, "2001:db8:85a3:8d3:1319:8a2e:370:7348")
    ann.start("\u202edevice\u202c \u05d0\u05d1")
    _, page = ann.sit(**LOOKS[look], locale="de-DE", user="x" * 200)
    _, page = ann.sit(**LOOKS[look], locale="de-DE")
    assert title(page) == "Wo Sie angemeldet sind"
    assert len(listed(page)) == 2
    assert barriers(page) == []
    assert overflow(page) == 0


@pytest.mark.parametrize("look", ["wide-light", "phone-dark"])
def test_who_is_not_signed_in_meets_no_barriers(
    desk: Callable[..., Desk], window: Callable[..., Window], look: str
) -> None:
    stranger = window(**LOOKS[look])
    stranger.watch.expect(OVER)
    page = stranger.open(f"{desk().site.url}/auth/dashboard")
    assert title(page) == "You are signed out"
    assert barriers(page) == []
    assert overflow(page) == 0


@pytest.mark.parametrize("options", [{"forced_colors": "active"}, {"reduced_motion": "reduce"}])
def test_other_ways_of_looking_work(desk: Callable[..., Desk], options: dict[str, Any]) -> None:
    ann = desk()
    ann.start("Chrome on macOS")
    _, page = ann.sit(**options)
    assert barriers(page) == []
