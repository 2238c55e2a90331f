"""Signing in and out with client.js, in one tab and in several."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Error

from .conftest import Window
from .serving import Site
from .shop import TAG, Mode, Shop
from .signing import NOBODY, known, shown, shows, sign_in, stored, visit
from .watching import until

Serve = Callable[..., Site]
Windows = Callable[..., Window]
HOSTILE = "<img src=x onerror=\"console.error('run')\"> \u202e'; DROP"


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_sign_in_is_heard_and_answered(serve: Serve, window: Windows, mode: Mode) -> None:
    shop = Shop(mode)
    ann = window()
    ann.watch.expect(NOBODY)
    page = visit(ann, serve(shop).url, mode=mode)
    assert shown(page) == "nobody"

    session = sign_in(page)

    assert (session["identifier"], session["tag"], session["data"]["role"]) == ("ann", TAG, "buyer")
    assert set(session) == {"sessionId", "tag", "identifier", "data", "expiresAt"}
    assert shown(page) == "ann"
    assert page.evaluate("client.session().then(Object.isFrozen)") is True
    assert page.evaluate("heard.map(each => each.who)") == [None, "ann"]


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_wrong_credentials_are_an_error_with_a_status(serve: Serve, window: Windows, mode: Mode) -> None:
    ann = window()
    ann.watch.expect(r"status of 401")
    page = visit(ann, serve(Shop(mode)).url, mode=mode)
    answer = page.evaluate(
        "client.login({name: 'ann', password: 'wrong'})"
        ".catch(error => [error instanceof SessionError, error.name, error.status, error.code.length > 0])"
    )
    assert answer == [True, "SessionError", 401, True]
    assert shown(page) == "nobody"


def test_a_sign_in_reaches_the_tabs_that_are_open(serve: Serve, window: Windows) -> None:
    ann = window()
    ann.watch.expect(NOBODY)
    url = serve(Shop()).url
    one, two = visit(ann, url), visit(ann, url)
    sign_in(one)
    shows(two, "ann")


def test_a_reloaded_page_knows_who_is_signed_in(serve: Serve, window: Windows) -> None:
    shop = Shop()
    ann = window()
    url = serve(shop).url
    sign_in(visit(ann, url, ask="no"))
    asked = shop.count("POST /auth/refresh")
    again = visit(ann, url)
    assert shown(again) == "ann"
    assert shop.count("POST /auth/refresh") == asked


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_sign_out_in_one_tab_reaches_all(serve: Serve, window: Windows, mode: Mode) -> None:
    shop = Shop(mode)
    site = serve(shop)
    ann = window()
    ann.watch.expect(NOBODY)
    pages = [visit(ann, site.url, mode=mode, watch=0) for _ in range(4)]
    for page in pages:
        sign_in(page)

    pages[1].evaluate("client.logout()")

    for page in pages:
        shows(page, "nobody")

    # In bearer mode each tab had a session of its own; cookies hold one, and a sign-in ends the one before.
    async def live() -> int:
        return (await shop.sessions.list(tag=TAG, identifier="ann")).count

    until(pages[0], lambda: site.run(live()) == 0)


def test_a_page_that_never_asked_signs_out_the_others_too(serve: Serve, window: Windows) -> None:
    ann = window()
    url = serve(Shop()).url
    one = visit(ann, url, ask="no")
    sign_in(one)
    visit(ann, url, ask="no").evaluate("client.logout()")
    shows(one, "nobody")


def test_a_sign_out_that_the_server_never_heard_of_is_an_error_and_signs_nobody_out(
    serve: Serve, window: Windows
) -> None:
    shop = Shop()
    ann = window()
    ann.watch.expect("status of 503")
    page = visit(ann, serve(shop).url, ask="no")
    sign_in(page)
    shop.broken["POST /auth/logout"] = 503

    with pytest.raises(Error, match="SessionError: the server answered 503"):
        page.evaluate("client.logout()")
    assert shown(page) == "ann"

    del shop.broken["POST /auth/logout"]
    page.evaluate("client.logout()")
    assert shown(page) == "nobody"


def test_a_session_that_another_browser_ends_is_noticed_within_two_seconds(serve: Serve, window: Windows) -> None:
    shop = Shop()
    site = serve(shop)
    ann = window()
    ann.watch.expect(NOBODY)
    first, behind = visit(ann, site.url, ask="no", watch=1), visit(ann, site.url, ask="no", watch=0)
    session = sign_in(first)
    shows(behind, "ann")
    elsewhere = visit(window(), site.url, ask="no")
    sign_in(elsewhere)

    first.evaluate("globalThis.before = performance.now()")
    site.run(shop.sessions.revoke(tag=TAG, session_id=session["sessionId"]))

    shows(first, "nobody")
    # The promise is 2 s, and it is a second here on an idle machine; a loaded one gets more.
    assert first.evaluate("heard.at(-1).at - before") < 6_000
    shows(behind, "nobody")
    assert known(elsewhere) == "ann"


def test_a_hostile_identifier_is_text(serve: Serve, window: Windows) -> None:
    page = visit(window(), serve(Shop()).url, ask="no")
    sign_in(page, HOSTILE)
    assert page.locator("#who").text_content() == HOSTILE
    assert page.locator("#who *").count() == 0


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_nothing_of_a_session_is_where_scripts_can_read_it_later(serve: Serve, window: Windows, mode: Mode) -> None:
    page = visit(window(), serve(Shop(mode)).url, mode=mode, ask="no")
    empty = stored(page)
    sign_in(page)
    page.evaluate("client.fetch('/api/me')")
    assert stored(page) == empty
    assert page.evaluate("JSON.stringify(client)") == "{}"


def test_a_listener_that_fails_stops_no_other(serve: Serve, window: Windows) -> None:
    ann = window()
    ann.watch.expect("uncaught: .*mine")
    page = visit(ann, serve(Shop()).url, ask="no")
    page.evaluate(
        """() => {
            globalThis.after = [];
            client.onChange(() => { throw new Error("mine"); });
            const stop = client.onChange(() => after.push("stopped"));
            client.onChange((session) => after.push(session.identifier));
            stop();
        }"""
    )
    sign_in(page)
    assert page.evaluate("after") == ["ann"]


@pytest.mark.parametrize("options", ["{mode: 'jwt'}", "{watch: -1}", "{watch: 'often'}", "{origins: ['not a url']}"])
def test_options_that_are_none_are_refused(serve: Serve, window: Windows, options: str) -> None:
    page = visit(window(), serve(Shop()).url, ask="no")
    answer = page.evaluate(
        f"import('/auth/client.js').then(({{createClient}}) => createClient({options})).catch(e => e.name)"
    )
    assert answer == "TypeError"


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
