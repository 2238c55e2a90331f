"""client.js refreshes in time: once for all tabs, and whatever the clocks of the machine do."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from .conftest import Window
from .serving import Site
from .shop import TAG, Clock, Mode, Rotations, Shop
from .signing import NOBODY, known, shown, shows, sign_in, visit
from .watching import until

Serve = Callable[..., Site]
Windows = Callable[..., Window]
WITHOUT_LOCKS = "delete Navigator.prototype.locks"
WITHOUT_CHANNELS = "delete globalThis.BroadcastChannel"
HOUR = 3600


def tabs(window: Window, url: str, number: int) -> list[Page]:
    pages = [visit(window, url, ask="no") for _ in range(number)]
    sign_in(pages[0])
    for page in pages:
        shows(page, "ann")
    return pages


def half_a_minute(window: Window, shop: Shop, url: str) -> None:
    """Five tabs, for half a minute, in which nobody may be signed out."""
    # On a machine that is very busy a token may end before its refresh; nobody is signed out by that either.
    window.watch.expect(r"status of 401 .*/auth/session\)")
    pages = tabs(window, url, 5)
    began = time.monotonic()
    until(pages[0], lambda: time.monotonic() - began >= 30, within=120)
    assert [page.evaluate("heard.map(each => each.who)") for page in pages] == [["ann"]] * 5
    assert [known(page) for page in pages] == ["ann"] * 5


def test_five_tabs_rotate_once_a_period_for_half_a_minute(serve: Serve, window: Windows, rotations: Rotations) -> None:
    shop = Shop(expires_in=3)
    half_a_minute(window(), shop, serve(shop).url)
    # A token of 3 s, whose times are whole seconds, is refreshed after 1.8 s to 2.7 s.
    assert len(rotations.times) >= 8
    assert rotations.shortest() > 1.2
    assert rotations.repeated == 0


def test_five_tabs_without_web_locks_rotate_hardly_more_often(
    serve: Serve, window: Windows, rotations: Rotations
) -> None:
    """Messages between tabs have no bound on their way, so that two may go at once; that harms nobody."""
    shop = Shop(expires_in=6)
    ann = window()
    ann.context.add_init_script(WITHOUT_LOCKS)
    half_a_minute(ann, shop, serve(shop).url)
    # Five periods of five tabs.
    assert 4 <= len(rotations.times) <= 8
    assert rotations.repeated <= 4


@pytest.mark.parametrize(("expires_in", "lead"), [(900, 90), (3600, 300), (7200, 300)])
def test_refresh_comes_five_minutes_or_a_tenth_before_the_end(
    serve: Serve, window: Windows, rotations: Rotations, expires_in: int, lead: int
) -> None:
    clock = Clock()
    shop = Shop(expires_in=expires_in, clock=clock)
    ann = window()
    site = serve(shop, clock=clock)
    page = ann.context.new_page()
    page.clock.install()
    page.goto(f"{site.url}/?ask=no&watch=0")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)

    # Both clocks go on together, as they do; timers fire as they come up.
    def advance(seconds: float) -> None:
        clock.later += seconds
        page.clock.run_for(int(seconds * 1000))

    advance(expires_in - lead - 5)
    # What its timers have begun is over when this answers.
    page.evaluate("client.session({fresh: true})")
    assert rotations.times == []
    advance(10)
    until(page, lambda: len(rotations.times) == 1)
    assert known(page) == "ann"


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_sleep_past_the_tokens_end_signs_nobody_out(
    serve: Serve, window: Windows, rotations: Rotations, mode: Mode
) -> None:
    clock = Clock()
    ann = window()
    ann.watch.expect(r"status of 401 .*/auth/session\)")
    page = ann.context.new_page()
    page.clock.install()
    page.goto(f"{serve(Shop(mode, clock=clock), clock=clock).url}/?ask=no&mode={mode}")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)

    clock.later += 8 * HOUR
    page.clock.fast_forward(8 * HOUR * 1000)

    until(page, lambda: len(rotations.times) == 1)
    assert known(page) == "ann"
    assert page.evaluate("heard.map(each => each.who)") == ["ann"]


def test_sleep_that_stops_the_monotonic_clock_is_noticed_when_the_page_comes_back(
    serve: Serve, window: Windows, rotations: Rotations
) -> None:
    """On most systems `performance.now` stands still while the machine sleeps."""
    clock = Clock()
    ann = window()
    ann.watch.expect(r"status of 401 .*/auth/session\)")
    ann.context.add_init_script(
        """const at = Date.now; globalThis.later = 0; Date.now = () => at() + later;
        """
    )
    site = serve(Shop(clock=clock), clock=clock)
    page = visit(ann, site.url, ask="no", watch=0)
    # Its timers do not fire: what happens, happens because the page came back.
    page.evaluate("globalThis.setTimeout = () => 0")
    sign_in(page)

    clock.later += 8 * HOUR
    page.evaluate(f"later = {8 * HOUR * 1000}")
    page.evaluate("dispatchEvent(new Event('online'))")

    until(page, lambda: len(rotations.times) == 1)
    assert known(page) == "ann"


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_wrong_clock_of_the_visitors_changes_nothing(
    serve: Serve, window: Windows, rotations: Rotations, hours: int
) -> None:
    shop = Shop(expires_in=4)
    ann = window()
    ann.watch.expect(r"status of 401 .*/auth/session\)")
    ann.context.add_init_script(f"const at = Date.now; Date.now = () => at() + {hours * HOUR * 1000}")
    page = visit(ann, serve(shop).url, ask="no")
    sign_in(page)

    until(page, lambda: len(rotations.times) == 4)

    # Without the server's time a clock that is fast would refresh without end, and one that is slow never.
    assert rotations.shortest() > 1
    assert page.evaluate("heard.map(each => each.who)") == ["ann"]


def test_a_clock_that_is_set_makes_the_page_ask_and_not_rotate(
    serve: Serve, window: Windows, rotations: Rotations
) -> None:
    shop = Shop(expires_in=24 * HOUR)
    page = window().context.new_page()
    page.clock.install()
    page.goto(f"{serve(shop).url}/?ask=no&watch=0")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)
    page.clock.run_for(60_000)
    asked = shop.count("GET /auth/session")

    page.evaluate(f"(() => {{ const at = Date.now; Date.now = () => at() - {3 * HOUR * 1000}; }})()")
    page.clock.run_for(60_000)

    until(page, lambda: shop.count("GET /auth/session") == asked + 1)
    assert known(page) == "ann"
    assert rotations.times == []


def test_a_server_that_is_away_signs_nobody_out(serve: Serve, window: Windows, rotations: Rotations) -> None:
    shop = Shop(expires_in=3)
    ann = window()
    ann.watch.expect("status of (401|503)")
    page = visit(ann, serve(shop).url, ask="no")
    sign_in(page)
    for path in ("GET /auth/session", "POST /auth/refresh"):
        shop.broken[path] = 503

    until(page, lambda: len(shop.asked) - shop.asked.index("POST /auth/login") >= 4)
    assert shown(page) == "ann"

    shop.broken.clear()
    until(page, lambda: rotations.times)
    assert page.evaluate("heard.map(each => each.who)") == ["ann"]


def test_attempts_grow_rarer_while_the_server_is_away(serve: Serve, window: Windows) -> None:
    shop = Shop()
    ann = window()
    ann.watch.expect("status of 503")
    page = ann.context.new_page()
    page.clock.install()
    page.goto(f"{serve(shop).url}/?ask=no&watch=1")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)
    shop.broken["GET /auth/session"] = 503
    before = shop.count("GET /auth/session")

    for _ in range(60):
        page.clock.run_for(1000)

    # 1, 2, 4, 8, 16 and 30 s apart: six in a minute, where a look each second would be sixty.
    assert 3 <= shop.count("GET /auth/session") - before <= 8


def test_a_session_that_cannot_be_refreshed_lives_until_its_end(
    serve: Serve, window: Windows, rotations: Rotations
) -> None:
    clock = Clock()
    shop = Shop(clock=clock, refresh=False)
    ann = window()
    ann.watch.expect("status of 401")
    page = ann.context.new_page()
    page.clock.install()
    page.goto(f"{serve(shop, clock=clock).url}/?ask=no&watch=0")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)

    clock.later += 820
    page.clock.run_for(820_000)
    until(page, lambda: shop.count("POST /auth/refresh") == 1)
    assert known(page) == "ann"
    page.clock.run_for(30_000)
    assert shop.count("POST /auth/refresh") == 1

    clock.later += 100
    page.clock.run_for(70_000)
    shows(page, "nobody")
    assert rotations.times == []


def test_tabs_without_any_means_to_talk_still_stay_signed_in(
    serve: Serve, window: Windows, rotations: Rotations
) -> None:
    shop = Shop(expires_in=3)
    ann = window()
    ann.watch.expect(r"status of 401 .*/auth/session\)")
    ann.context.add_init_script(f"{WITHOUT_LOCKS}; {WITHOUT_CHANNELS}")
    url = serve(shop).url
    one = visit(ann, url, ask="no")
    sign_in(one)
    two = visit(ann, url)

    until(one, lambda: len(rotations.times) >= 4)

    assert (shown(one), shown(two)) == ("ann", "ann")


def test_a_closed_client_asks_no_more(serve: Serve, window: Windows) -> None:
    shop = Shop()
    page = window().context.new_page()
    page.clock.install()
    page.goto(f"{serve(shop).url}/?ask=no&watch=1")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)
    page.clock.run_for(5_000)
    until(page, lambda: shop.count("GET /auth/session") > 0)
    page.evaluate("client.session({fresh: true})")

    page.evaluate("client.close()")
    asked = len(shop.asked)
    page.evaluate("dispatchEvent(new Event('online'))")
    page.clock.run_for(2 * HOUR * 1000)

    assert page.evaluate("fetch('/api/me', {method: 'POST'}).then(r => r.status)") == 200
    assert shop.asked[asked:] == ["POST /api/me"]


def test_a_session_that_ended_in_the_night_is_gone_in_the_morning(serve: Serve, window: Windows) -> None:
    clock = Clock()
    shop = Shop(clock=clock)
    site = serve(shop, clock=clock)
    ann = window()
    ann.watch.expect(NOBODY)
    page = ann.context.new_page()
    page.clock.install()
    page.goto(f"{site.url}/?ask=no")
    until(page, lambda: page.evaluate("!!globalThis.client"))
    sign_in(page)
    site.run(shop.sessions.revoke_all(tag=TAG, identifier="ann"))

    clock.later += 8 * HOUR
    page.clock.fast_forward(8 * HOUR * 1000)

    shows(page, "nobody")
