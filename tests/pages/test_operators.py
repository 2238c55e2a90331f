"""The operators' page: who may see it, what it shows, and what ends where."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.routing import Mount

from ductape_asgi import (
    ConfigurationError,
    CookiePolicy,
    DuctapeMiddleware,
    PublishableKeyError,
    Sessions,
    TagPolicy,
    new_access_key,
    operators_page,
    require_permission,
    require_recent_auth,
    require_role,
)
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import FlakyStore, SessionClock
from ductape_litestar import DuctapePlugin

pytestmark = pytest.mark.anyio

TAG = "user-session"
HTML = {"accept": "text/html,application/xhtml+xml"}
SAME_SITE = {"sec-fetch-site": "same-origin"}
HOSTILE = "<script>alert(1)</script>\"'&<b>=/../?x#\u202e"


@pytest.fixture
def clock() -> SessionClock:
    return SessionClock()


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore(MemoryStore())


@pytest.fixture
async def sessions(store: FlakyStore, clock: SessionClock) -> AsyncIterator[Sessions]:
    options: Any = {"access_key": new_access_key(), "product": "shop", "env": "prd", "store": store, "clock": clock}
    async with Sessions(**options, tags=[TagPolicy(TAG)]) as sessions:
        yield sessions


def site(sessions: Sessions, prefix: str = "/ops", **options: Any) -> httpx.AsyncClient:
    """A browser with no cookies, and the page mounted in an app."""
    tags = options.pop("accepts", TAG)
    app = Starlette(routes=[Mount(prefix, app=operators_page(sessions, **options))])
    transport = httpx.ASGITransport(app=DuctapeMiddleware(app, sessions=sessions, tag=tags))
    return httpx.AsyncClient(transport=transport, base_url="https://shop.test", headers=HTML)


async def sign_in(client: httpx.AsyncClient, sessions: Sessions, name: str = "root", **data: Any) -> str:
    """Have the browser hold a session's cookie.  Returns the session's id."""
    data = {"role": "admin", **data}
    issued = await sessions.start(tag=data.pop("tag", TAG), data={"userId": name, **data})
    cookie = sessions.cookies.access_name if sessions.cookies else ""
    client.headers["cookie"] = f"{cookie}={issued.token}"
    return issued.session_id


async def start(sessions: Sessions, name: str, **options: Any) -> str:
    return (await sessions.start(tag=options.pop("tag", TAG), data={"userId": name}, **options)).session_id


async def live(sessions: Sessions, name: str) -> list[str]:
    return [info.session_id for info in await sessions.list(tag=TAG, identifier=name)]


def figures(text: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd class=\"number\">([^<]+)</dd>", text))


# Who may.


@pytest.mark.parametrize("path", ["/ops/", "/ops/user?identifier=ann"])
async def test_nobody_sees_it_without_a_session_or_the_role(sessions: Sessions, path: str) -> None:
    await start(sessions, "ann")
    async with site(sessions) as client:
        anonymous = await client.get(path)
        await sign_in(client, sessions, role="user")
        other = await client.get(path)
        await sign_in(client, sessions)
        admin = await client.get(path)
    assert [anonymous.status_code, other.status_code, admin.status_code] == [401, 403, 200]
    assert "ann" not in anonymous.text + other.text.replace("language", "")
    assert anonymous.headers["www-authenticate"] == 'Bearer realm="ductape"'
    assert 'error="insufficient_scope"' in other.headers["www-authenticate"]
    assert "ann" in admin.text


async def test_who_asks_for_no_page_is_told_as_programs_are(sessions: Sessions) -> None:
    async with site(sessions) as client:
        client.headers["accept"] = "application/json"
        refused = await client.get("/ops/")
    assert (refused.status_code, refused.json()["code"]) == (401, "missing_token")
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "form",
    [{"action": "end_all"}, {"action": "end", "session_id": "THEIRS"}],
)
@pytest.mark.parametrize("who", ["nobody", "user", "another site"])
async def test_nothing_is_ended_by_who_may_not(sessions: Sessions, form: dict[str, str], who: str) -> None:
    theirs = await start(sessions, "ann")
    async with site(sessions) as client:
        if who != "nobody":
            await sign_in(client, sessions, role="user" if who == "user" else "admin")
        headers = (
            {"sec-fetch-site": "cross-site", "origin": "https://evil.test"} if who == "another site" else SAME_SITE
        )
        body = {name: theirs if value == "THEIRS" else value for name, value in form.items()}
        answer = await client.post("/ops/user?identifier=ann", data=body, headers=headers)
    assert answer.status_code == (401 if who == "nobody" else 403)
    assert await live(sessions, "ann") == [theirs]


async def test_a_demoted_operator_is_out_at_once(sessions: Sessions) -> None:
    async with site(sessions) as client:
        await sign_in(client, sessions)
        assert (await client.get("/ops/")).status_code == 200
        await sessions.update(tag=TAG, identifier="root", data={"userId": "root", "role": "user"})
        assert (await client.get("/ops/")).status_code == 403


async def test_another_guard_decides_instead(sessions: Sessions, clock: SessionClock) -> None:
    async with site(sessions, require=require_permission("sessions:end")) as client:
        await sign_in(client, sessions)
        assert (await client.get("/ops/")).status_code == 403
        await sign_in(client, sessions, role="user", permissions=["sessions:end"])
        assert (await client.get("/ops/")).status_code == 200
    async with site(sessions, require=require_recent_auth(300), login_url="/login") as client:
        await sign_in(client, sessions)
        clock.advance(301)
        late = await client.get("/ops/")
    assert (late.status_code, 'href="/login"' in late.text) == (401, True)
    assert "insufficient_user_authentication" in late.headers["www-authenticate"]


async def test_the_way_back_into_the_application_is_on_every_page(sessions: Sessions) -> None:
    async with site(sessions, home_url="/app") as client:
        denied = await client.get("/ops/", headers=HTML)
        await sign_in(client, sessions)
        shown = await client.get("/ops/")
    assert [answer.status_code for answer in (denied, shown)] == [401, 200]
    assert all('href="/app">Back to the app<' in answer.text for answer in (denied, shown))


async def test_outside_of_the_middleware_it_is_an_error_of_configuration(sessions: Sessions) -> None:
    app = Starlette(routes=[Mount("/ops", app=operators_page(sessions))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://shop.test") as client:
        for headers in (HTML, {}):
            with pytest.raises(ConfigurationError, match="no DuctapeMiddleware"):
                await client.get("/ops/", headers=headers)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"require": None}, "needs a guard"),
        ({"require": "admin"}, "needs a guard"),
        ({"require": require_role}, "needs a guard"),
        ({"tag": "checkout-session"}, "not configured"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": True}, "page_size"),
        ({"language": "fr"}, "language"),
        ({"login_url": "javascript:alert(1)"}, "login_url"),
        ({"home_url": "app"}, "home_url"),
    ],
)
async def test_what_cannot_work_is_refused_when_it_is_built(
    sessions: Sessions, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        operators_page(sessions, **options)


def test_a_publishable_key_or_something_else_shows_nothing() -> None:
    published = Sessions(access_key=new_access_key(), product="a", env="b", store="memory://").publishable_key
    with pytest.raises(PublishableKeyError):
        operators_page(Sessions(publishable_key=published, store="memory://"))
    with pytest.raises(ConfigurationError, match="Sessions object"):
        operators_page("sessions")  # type: ignore[arg-type]


# What it shows.


async def test_the_figures_are_those_of_stats(sessions: Sessions, clock: SessionClock) -> None:
    for name in ("ann", "ann", "bob"):
        await start(sessions, name)
        clock.advance(86_400)
    async with site(sessions) as client:
        await sign_in(client, sessions)
        shown = figures((await client.get("/ops/")).text)
    stats = await sessions.stats(tag=TAG)
    assert shown == {
        "Active sessions": "4",
        "Users signed in": "3",
        "Sessions per user": "1.3",
        "New today": str(stats.new_today),
        "New this week": str(stats.new_this_week),
        "Expired, not yet removed": "0",
        "Total held": "4",
    }


async def test_each_chart_is_a_drawing_with_words_and_a_table_beside_it(sessions: Sessions) -> None:
    for _ in range(3):
        await start(sessions, "ann")
    async with site(sessions) as client:
        await sign_in(client, sessions)
        text = (await client.get("/ops/")).text
    for name in ("started", "starters"):
        assert f'role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc"' in text
        assert f'<title id="{name}-title">' in text
    stats = await sessions.stats(tag=TAG)
    (today,) = [day for day in stats.days if day.started]
    assert f"4 in all; most on {today.day}: 4." in text
    assert text.count('<rect class="bar') == 60
    assert re.search(rf'datetime="{today.day}">{today.day}</time></th><td[^>]*>4</td><td[^>]*>2</td>', text)


async def test_nothing_in_a_page_needs_what_the_policy_forbids(sessions: Sessions) -> None:
    async with site(sessions) as client:
        await sign_in(client, sessions)
        for path in ("/ops/", "/ops/user?identifier=root"):
            answer = await client.get(path)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"style=|<style|<script|\son\w+=|javascript:|https?://", answer.text)


async def test_identifiers_and_devices_are_shown_as_text(sessions: Sessions) -> None:
    await sessions.start(
        tag=TAG, data={"userId": HOSTILE}, client={"headers": [(b"user-agent", HOSTILE.encode("latin-1", "replace"))]}
    )
    async with site(sessions) as client:
        await sign_in(client, sessions, name=HOSTILE + "!")
        overview = await client.get("/ops/")
        links = re.findall(r'<th scope="row" class="text"><a href="([^"]+)"', overview.text)
        pages = [await client.get(httpx.URL("https://shop.test/ops/").join(unescape(link))) for link in links]
        # The address that a form of such a page has, leads to the same person.
        (form,) = set(re.findall(r'<form method="post" action="([^"]+)"', pages[0].text))
        assert unescape(form) == unescape(links[0])
    assert len(pages) == 2
    for page in (overview, *pages):
        assert page.status_code == 200
        assert "<script" not in page.text
        assert "<b>" not in page.text
    for page in pages:
        (heading,) = re.findall(r'<h1 class="text"><bdi>(.*?)</bdi></h1>', page.text)
        assert unescape(heading) in (HOSTILE, HOSTILE + "!")


async def test_users_come_in_pages_and_figures_with_the_first_only(sessions: Sessions, store: FlakyStore) -> None:
    names = {f"user-{number}" for number in range(7)}
    for name in names:
        await start(sessions, name)
    seen: list[str] = []
    async with site(sessions, page_size=3) as client:
        await sign_in(client, sessions)
        path = "/ops/"
        for _ in range(3):
            text = (await client.get(path)).text
            seen += re.findall(r"<bdi>(user-\d|root)</bdi></a>", text)
            following = re.search(r'href="(\./\?cursor=[^"]+)"', text)
            path = "/ops/" + unescape(following[1])[2:] if following else ""
    assert path == ""
    assert sorted(seen) == sorted({*names, "root"})
    assert store.calls["census"] == 1


async def test_a_search_finds_the_exact_identifier_only(sessions: Sessions) -> None:
    session_id = await start(sessions, "Ann Example")
    async with site(sessions) as client:
        await sign_in(client, sessions)
        found = await client.get("/ops/user", params={"identifier": "Ann Example"})
        assert session_id in found.text
        for wrong in ("Ann", "ann example", "Ann Example "):
            missed = await client.get("/ops/user", params={"identifier": wrong})
            assert (missed.status_code, session_id in missed.text) == (200, False)
            assert "No active session" in missed.text
        empty = await client.get("/ops/user?identifier=")
    assert (empty.status_code, empty.headers["location"]) == (303, "./")


async def test_links_work_under_any_prefix(sessions: Sessions) -> None:
    await start(sessions, "ann")
    async with site(sessions, prefix="/a/b/ops") as client:
        await sign_in(client, sessions)
        folder = await client.get("/a/b/ops")
        text = (await client.get("/a/b/ops/")).text
        for link in re.findall(r'(?:href|action|src)="([^"#]+)"', text):
            target = httpx.URL("https://shop.test/a/b/ops/").join(unescape(link))
            assert target.path.startswith("/a/b/ops/")
            assert (await client.get(target)).status_code in (200, 303), link
    assert (folder.status_code, str(httpx.URL("https://shop.test/a/b/ops").join(folder.headers["location"]))) == (
        307,
        "https://shop.test/a/b/ops/",
    )


async def test_it_may_be_the_whole_app(sessions: Sessions) -> None:
    app = DuctapeMiddleware(operators_page(sessions), sessions=sessions, tag=TAG)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://shop.test") as client:
        await sign_in(client, sessions)
        assert (await client.get("/", headers=HTML)).status_code == 200
        assert (await client.get("/static/operators.css")).headers["content-type"].startswith("text/css")
        assert (await client.get("/elsewhere")).status_code == 404
        assert (await client.delete("/user", headers=SAME_SITE)).status_code == 405


async def test_it_speaks_the_language_of_the_reader(sessions: Sessions) -> None:
    async with site(sessions) as client:
        await sign_in(client, sessions)
        text = (await client.get("/ops/", headers={"accept-language": "de-AT,de;q=0.9"})).text
    assert '<html lang="de">' in text
    assert figures(text)["Sitzungen je Benutzer"] == "1,0"


async def test_a_store_that_is_down_is_told_with_503(sessions: Sessions, store: FlakyStore) -> None:
    async with site(sessions) as client:
        await sign_in(client, sessions)
        await client.get("/ops/")
        store.fail("people", "census")
        answer = await client.get("/ops/")
        store.heal()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "cannot be shown right now" in answer.text


@pytest.mark.parametrize("path", ["/ops/?cursor=junk", "/ops/?tag=other", "/ops/?tag="])
async def test_what_is_no_page_of_it_is_told_with_422(sessions: Sessions, path: str) -> None:
    async with site(sessions) as client:
        await sign_in(client, sessions)
        assert (await client.get(path)).status_code == 422


# Several tags.


async def test_with_several_tags_each_has_its_own_figures_and_people(store: FlakyStore, clock: SessionClock) -> None:
    tags = [TagPolicy("checkout-session"), TagPolicy(TAG)]
    options: Any = {"access_key": new_access_key(), "product": "shop", "env": "prd", "store": store, "clock": clock}
    async with Sessions(**options, tags=tags) as sessions, site(sessions) as client:
        cart = await start(sessions, "ann", tag="checkout-session")
        await start(sessions, "ann")
        await sign_in(client, sessions)
        own = await client.get("/ops/")
        other = await client.get("/ops/?tag=checkout-session")
        (link,) = re.findall(r'<th scope="row" class="text"><a href="([^"]+)"', other.text)
        person = await client.get(f"/ops/{unescape(link)}")
        ended = await client.post(
            f"/ops/{unescape(link)}", data={"action": "end", "session_id": cart}, headers=SAME_SITE
        )
        assert [figures(page.text)["Active sessions"] for page in (own, other)] == ["2", "1"]
        assert cart in person.text
        assert "tag=checkout-session" in ended.headers["location"]
        assert (await sessions.stats(tag="checkout-session")).total == 0
        assert len(await live(sessions, "ann")) == 1


async def test_where_no_tags_are_configured_the_operators_own_is_shown(store: FlakyStore, clock: SessionClock) -> None:
    options: Any = {"access_key": new_access_key(), "product": "shop", "env": "prd", "store": store, "clock": clock}
    async with Sessions(**options) as sessions, site(sessions, accepts=["staff", TAG]) as client:
        await start(sessions, "ann")
        await sign_in(client, sessions, tag="staff")
        text = (await client.get("/ops/")).text
    assert (figures(text)["Active sessions"], "ann" in text.replace("language", "")) == ("1", False)


# What is ended.


async def test_one_session_is_ended_and_it_is_noted_who_did_it(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await start(sessions, "ann"), await start(sessions, "ann")
    caplog.set_level(logging.INFO, "ductape_asgi.audit")
    async with site(sessions) as client:
        own = await sign_in(client, sessions)
        answer = await client.post(
            "/ops/user?identifier=ann", data={"action": "end", "session_id": first}, headers=SAME_SITE
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "user?identifier=ann&done=ended")
        assert "has been ended" in (await client.get(f"/ops/{answer.headers['location']}")).text
        again = await client.post(
            "/ops/user?identifier=ann", data={"action": "end", "session_id": first}, headers=SAME_SITE
        )
        assert again.headers["location"].endswith("done=gone")
    assert await live(sessions, "ann") == [second]
    (event,) = [record for record in caplog.records if getattr(record, "event", "") == "operator.revoked"]
    assert re.fullmatch(r"by=[\w-]{12}", str(vars(event)["reason"]))
    assert not {first, own, "ann"} & set(re.split(r"[ =]", event.getMessage()))


async def test_all_sessions_of_one_person_are_ended_and_nobody_elses(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await start(sessions, "ann")
    bob = await start(sessions, "bob")
    caplog.set_level(logging.INFO, "ductape_asgi.audit")
    async with site(sessions) as client:
        await sign_in(client, sessions)
        answer = await client.post("/ops/user?identifier=ann", data={"action": "end_all"}, headers=SAME_SITE)
        assert answer.headers["location"] == "user?identifier=ann&done=all"
    assert (await live(sessions, "ann"), await live(sessions, "bob")) == ([], [bob])
    (event,) = [record for record in caplog.records if getattr(record, "event", "") == "operator.revoked_all"]
    assert str(vars(event)["reason"]).startswith("ended=3 by=")


async def test_an_operator_is_warned_of_ending_the_own_session_and_may(sessions: Sessions) -> None:
    async with site(sessions) as client:
        await sign_in(client, sessions)
        assert "The session you use now is among them." in (await client.get("/ops/user?identifier=root")).text
        await client.post("/ops/user?identifier=root", data={"action": "end_all"}, headers=SAME_SITE)
        assert (await client.get("/ops/")).status_code == 401


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("user?identifier=ann", {}),
        ("user?identifier=ann", {"action": "start"}),
        ("user?identifier=ann", {"action": "end"}),
        ("user?identifier=ann", {"action": "end", "session_id": ""}),
        ("user?identifier=", {"action": "end_all"}),
        ("user", {"action": "end_all"}),
    ],
)
async def test_a_form_that_makes_no_sense_ends_nothing(sessions: Sessions, path: str, form: dict[str, str]) -> None:
    theirs = await start(sessions, "ann")
    async with site(sessions) as client:
        await sign_in(client, sessions)
        answer = await client.post(f"/ops/{path}", data=form, headers=SAME_SITE)
    assert answer.status_code == 422
    assert await live(sessions, "ann") == [theirs]


async def test_its_forms_hold_the_csrf_token_that_the_middleware_wants(store: FlakyStore) -> None:
    options: Any = {"access_key": new_access_key(), "product": "shop", "env": "prd", "store": store}
    async with Sessions(**options, tags=[TagPolicy(TAG)], cookies=CookiePolicy(csrf_token=True)) as sessions:
        ended = await start(sessions, "ann")
        async with site(sessions) as client:
            await sign_in(client, sessions)
            page = await client.get("/ops/user?identifier=ann")
            token = re.findall(r'name="csrf_token" value="([^"]+)"', page.text)[0]
            form = {"action": "end", "session_id": ended}
            without = await client.post("/ops/user?identifier=ann", data=form, headers=SAME_SITE)
            assert (without.status_code, await live(sessions, "ann")) == (403, [ended])
            form["csrf_token"] = token
            done = await client.post("/ops/user?identifier=ann", data=form, headers=SAME_SITE)
            assert (done.status_code, await live(sessions, "ann")) == (303, [])


async def test_it_stands_in_litestar_too(sessions: Sessions) -> None:
    ops = operators_page(sessions)

    @asgi("/ops", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await ops(scope, receive, send)  # type: ignore[arg-type]

    app = Litestar([mounted], plugins=[DuctapePlugin(sessions=sessions, tag=TAG)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.test", headers=HTML) as client:
        await start(sessions, "ann")
        await sign_in(client, sessions)
        missed = await client.get("/ops")
        assert (missed.status_code, missed.headers["location"]) == (307, "ops/")
        page = await client.get("/ops/")
        assert page.status_code == 200
        style = re.findall(r'href="(static/[^"]+)"', page.text)[0]
        assert (await client.get(f"/ops/{style}")).status_code == 200
        assert "ann" in (await client.get("/ops/user?identifier=ann")).text
        assert (await client.get("/ops/nothing")).status_code == 404
