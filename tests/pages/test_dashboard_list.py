"""What the page shows: whose sessions, which is the one at hand, since when, and what was sent as text."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from ductape_asgi import ConfigurationError, Sessions, new_access_key
from ductape_asgi.pages.dashboard import Dashboard, DashboardOptions
from ductape_asgi.routes import session_routes
from tests.sessions.support import Clock

from .reading import devices, forms, read
from .served import TAG, site

pytestmark = pytest.mark.anyio

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"


async def test_the_current_session_stands_apart_from_the_others(reader: Any, sign_in_elsewhere: Any) -> None:
    await sign_in_elsewhere("ann", label="Firefox on Linux")
    await sign_in_elsewhere("ann", label="Safari on iPhone")
    answer = await (await reader("ann")).look()
    assert answer.status_code == 200
    assert devices(answer) == ["Safari on iPhone", "Firefox on Linux"]
    assert read(answer).only("span", id="count").text == "2"
    current = read(answer).only("section", **{"aria-labelledby": "this-device"})
    assert current.only("h3").text == "Unknown device"
    assert "Active now" in current.text


async def test_a_device_is_told_with_address_and_times(reader: Any, sign_in_elsewhere: Any, clock: Clock) -> None:
    await sign_in_elsewhere("ann", label="Chrome on macOS", ip="2001:db8::7")
    clock.now += 3 * 3600
    row = read(await (await reader("ann")).look()).only("li")
    facts = dict(zip((dt.text for dt in row.all("dt")), (dd.text for dd in row.all("dd")), strict=True))
    assert facts["Address"] == "2001:db8::7"
    assert facts["Last seen"] == "3 hours ago"
    assert facts["Signed in"].endswith(" UTC")
    assert facts["Expires"].endswith(" UTC")


async def test_times_are_for_programs_in_utc_too(reader: Any, sign_in_elsewhere: Any, sessions: Sessions) -> None:
    await sign_in_elsewhere("ann")
    info = (await sessions.list(tag=TAG, identifier="ann")).sessions[0]
    row = read(await (await reader("ann")).look()).only("li")
    told = [time.attributes["datetime"] for time in row.all("time")]
    assert told == [f"{when:%Y-%m-%dT%H:%M:%SZ}" for when in (info.last_seen_at, info.created_at, info.expires_at)]


async def test_each_button_says_which_device_it_is_for(reader: Any, sign_in_elsewhere: Any) -> None:
    other = await sign_in_elsewhere("ann", label="Chrome on Windows")
    row = read(await (await reader("ann")).look()).only("li")
    assert row.only("button").attributes["aria-label"] == "Sign out of Chrome on Windows"
    assert forms(row) == [{"to": "dashboard", "action": "revoke", "session_id": other.session_id}]


async def test_nobody_else_is_listed(reader: Any, sign_in_elsewhere: Any) -> None:
    bob = await sign_in_elsewhere("bob", label="Bob's own")
    answer = await (await reader("ann")).look()
    assert devices(answer) == []
    assert "Bob's own" not in answer.text
    assert bob.session_id not in answer.text
    assert "not signed in anywhere else" in answer.text


@pytest.mark.parametrize("field", ["label", "user_agent", "ip"])
async def test_what_a_client_sent_is_text(reader: Any, sign_in_elsewhere: Any, field: str) -> None:
    await sign_in_elsewhere("ann", **{field: HOSTILE})
    answer = await (await reader("ann")).look()
    row = read(answer).only("li")
    assert HOSTILE in " ".join(bdi.text for bdi in row.all("bdi"))
    assert not row.all("script") + row.all("img")
    assert "49" not in row.only("h3").text


async def test_an_identifier_is_text(reader: Any) -> None:
    answer = await (await reader(HOSTILE)).look()
    assert read(answer).only("header").only("bdi").text == HOSTILE
    assert not read(answer).all("img")


async def test_there_is_no_inline_script_or_style(reader: Any, sign_in_elsewhere: Any) -> None:
    await sign_in_elsewhere("ann")
    page = read(await (await reader("ann")).look())
    scripts = page.all("script")
    assert [script.text for script in scripts] == [""]
    assert not page.all("style")

    def attributes(element: Any) -> list[str]:
        return [*element.attributes, *(n for c in element.children if not isinstance(c, str) for n in attributes(c))]

    assert not [name for name in attributes(page) if name == "style" or name.startswith("on")]


async def test_no_token_is_in_the_page(reader: Any, sign_in_elsewhere: Any, sessions: Sessions) -> None:
    other = await sign_in_elsewhere("ann")
    ann = await reader("ann")
    text = (await ann.look()).text
    cookies = dict(ann.client.cookies)
    assert len(cookies) == 2
    assert not [secret for secret in (*cookies.values(), other.token, other.refresh_token) if secret in text]


@pytest.mark.parametrize(
    ("prefix", "path"), [("/auth", "/auth/dashboard"), ("/a/b c", "/a/b%20c/dashboard"), ("", "/dashboard")]
)
async def test_links_hold_under_any_prefix(reader: Any, prefix: str, path: str) -> None:
    ann = await reader("ann", at=prefix)
    answer = await ann.look()
    assert answer.status_code == 200
    page = read(answer)
    links = [page.only("script").attributes["src"], *(link.attributes["href"] for link in page.all("link"))]
    assert len(links) == 3
    for link in links:
        assert (await ann.client.get(answer.url.join(link))).status_code == 200
    assert {str(answer.url.join(form["to"]).raw_path, "ascii") for form in forms(page)} == {path}


async def test_links_hold_behind_a_proxy_that_strips_its_prefix(reader: Any, sessions: Sessions) -> None:
    inner = site(sessions)

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, "path": scope["path"].removeprefix("/shop"), "root_path": ""}, receive, send)

    ann = await reader("ann", at="/shop/auth", app=proxy)
    answer = await ann.look()
    assert (await ann.client.get(answer.url.join(read(answer).only("script").attributes["src"]))).status_code == 200
    assert (await ann.press("revoke_others")).headers["location"] == "dashboard?done=others"


async def test_a_long_list_comes_in_pages(reader: Any, sign_in_elsewhere: Any) -> None:
    for number in range(43):
        await sign_in_elsewhere("ann", label=f"Device {number}")
    ann = await reader("ann")
    seen, query = [], ""
    for size in (19, 20, 4):  # The session at hand is one of the first twenty.
        answer = await ann.look(query)
        assert len(devices(answer)) == size
        seen += devices(answer)
        assert read(answer).only("span", id="count").text == "43"
        assert "Active now" in answer.text
        links = {link.text: link.attributes["href"] for link in read(answer).all("a")}
        query = (links.get("Older") or "").removeprefix("dashboard")
    assert not query
    assert links["Back to the newest"] == "dashboard"
    assert seen == [f"Device {number}" for number in reversed(range(43))]


async def test_a_cursor_that_is_not_ours_is_told_as_a_page(reader: Any) -> None:
    answer = await (await reader("ann")).look("?cursor=nonsense")
    assert answer.status_code == 422
    assert read(answer).only("h1").text == "That could not be understood"


@pytest.mark.parametrize("done", ["<b>", "revoked%00", "title", ""])
async def test_only_known_notices_are_shown(reader: Any, done: str) -> None:
    answer = await (await reader("ann")).look(f"?done={done}")
    assert answer.status_code == 200
    assert read(answer).only("div", role="status").text == ""


async def test_a_session_of_nobody_can_only_be_signed_out(reader: Any, sessions: Sessions) -> None:
    visitor = await reader(None)
    issued = await sessions.start(tag=TAG, data={})
    visitor.client.cookies.set("__Host-ductape", issued.token)
    answer = await visitor.look()
    assert answer.status_code == 200
    assert "belongs to nobody by name" in answer.text
    assert [form["action"] for form in forms(read(answer))] == ["sign_out"]
    assert (await visitor.press("revoke", "x", sec_fetch_site="same-origin")).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "title", "name"),
    [("en", "Where you are signed in", "Firefox on Linux"), ("de", "Wo Sie angemeldet sind", "Firefox unter Linux")],
)
async def test_the_page_speaks_two_languages(
    reader: Any, sign_in_elsewhere: Any, accepted: str, title: str, name: str
) -> None:
    await sign_in_elsewhere("ann", label="Firefox on Linux")
    answer = await (await reader("ann")).look(accept_language=accepted)
    assert read(answer).only("h1").text == title
    assert devices(answer) == [name]


async def test_an_app_may_name_itself_and_settle_on_a_language(reader: Any) -> None:
    answer = await (await reader("ann", language="de", app_name="A & B")).look(accept_language="en")
    assert read(answer).only("title").text == "Wo Sie angemeldet sind · A & B"
    assert read(answer).only("header").only("p", **{"class": "brand text"}).text == "A & B"


async def test_who_is_not_signed_in_is_told_so(reader: Any) -> None:
    answer = await (await reader(None, login_url="/login?next=/auth/dashboard")).look()
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = read(answer)
    assert page.only("h1").text == "You are signed out"
    assert page.only("a", href="/login?next=/auth/dashboard").text == "Sign in"
    assert not page.all("script")


async def test_without_a_login_url_there_is_no_link(reader: Any) -> None:
    answer = await (await reader(None)).look()
    assert answer.status_code == 401
    assert [link.text for link in read(answer).all("a")] == ["Skip to content"]


@pytest.mark.parametrize("who", ["ann", None])
async def test_the_way_back_into_the_application_is_on_every_page(reader: Any, who: str | None) -> None:
    answer = await (await reader(who, home_url="/?a=1&b=2")).look()
    assert read(answer).only("a", href="/?a=1&b=2").text == "Back to the app"
    assert "Back to the app" not in (await (await reader(who)).look()).text


@pytest.mark.parametrize(
    "options",
    [
        {"home_url": "//elsewhere.example"},
        {"login_url": "javascript:alert(1)"},
        {"login_url": "login"},
        {"login_url": 1},
        {"recent_auth": 0},
        {"recent_auth": "soon"},
        {"page_size": 0},
        {"page_size": True},
    ],
)
def test_options_that_cannot_work_are_refused_when_they_are_built(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        DashboardOptions(**options)


def test_without_cookies_there_is_no_page() -> None:
    sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://", cookies=None)
    with pytest.raises(ConfigurationError, match="the dashboard needs cookies"):
        Dashboard(sessions, TAG, DashboardOptions())


async def test_in_bearer_mode_there_is_no_page(sessions: Sessions, reader: Any) -> None:
    """A page cannot send a bearer token, and cookies do not count there."""
    ann = await reader("ann", mode="bearer")
    assert (await ann.look()).status_code == 404
    assert (await ann.press("sign_out")).status_code == 404
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 1


@pytest.mark.parametrize(
    "option", [{"login_url": "/login"}, {"home_url": "/"}, {"language": "de"}, {"app_name": "Shop"}]
)
async def test_a_page_that_is_wanted_in_bearer_mode_is_refused(sessions: Sessions, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match='mode="bearer" has no dashboard'):
        session_routes(sessions, TAG, mode="bearer", **option)


async def test_without_jinja2_the_other_endpoints_work(sessions: Sessions, reader: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigurationError, match=re.escape('pip install "ductape-asgi[pages]"')):
        session_routes(sessions, TAG, app_name="Shop")
    monkeypatch.setattr("ductape_asgi.routes.page.find_spec", lambda name: None)
    ann = await reader("ann")
    assert (await ann.client.get("/auth/session")).status_code == 200
    answer = await ann.look()
    assert (answer.status_code, answer.json()["code"]) == (500, "configuration_error")


async def test_an_ended_access_token_shows_the_list_by_the_refresh_token(
    reader: Any, sign_in_elsewhere: Any, clock: Clock
) -> None:
    """Nothing is rotated for it: a page that is only looked at cannot lose anybody a token."""
    await sign_in_elsewhere("ann", label="Elsewhere")
    ann = await reader("ann", inside=False)
    clock.now += 3600
    for _ in range(2):
        answer = await ann.look()
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert devices(answer) == ["Elsewhere"]


async def test_the_page_may_be_reached_from_a_link_anywhere(reader: Any) -> None:
    assert (await (await reader("ann")).look(sec_fetch_site="cross-site")).status_code == 200


async def test_a_session_that_was_ended_sees_nothing(reader: Any, sessions: Sessions, sign_in_elsewhere: Any) -> None:
    await sign_in_elsewhere("ann", label="Elsewhere")
    for inside in (True, False):
        ann = await reader("ann", inside=inside)
        await sessions.revoke_all(tag=TAG, identifier="ann")
        answer = await ann.look()
        assert answer.status_code == 401
        assert "Elsewhere" not in answer.text
