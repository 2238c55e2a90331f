"""`auto_refresh`: whom the refresh cookie serves, what the answer brings, and what is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from ductape_asgi import (
    Bearer,
    ConfigurationError,
    Cookie,
    CookiePolicy,
    DuctapeMiddleware,
    ExpiredToken,
    Header,
    InvalidToken,
    IssuedSession,
    RefreshReused,
    RevokedSession,
    Sessions,
    StoreUnavailable,
    TagPolicy,
    new_access_key,
    require_session,
)
from ductape_asgi.stores.memory import MemoryStore
from tests.asgi_client import Answer, App, bearer, call, handshake, scope_of
from tests.cookie_jar import FORM, LINK_FROM_AN_EMAIL, NAVIGATION, SCRIPT, Browser, set_cookies
from tests.sessions.support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio

KEY = new_access_key()
ACCESS, REFRESH = "__Host-ductape", "__Host-ductape-refresh"
HOUR = 3600
KIOSK = "kiosk-session"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


def sessions_on(store: Any, clock: Clock, **options: Any) -> Sessions:
    given: dict[str, Any] = {"tags": [TagPolicy(TAG), TagPolicy(KIOSK)], **options}
    return Sessions(access_key=KEY, product="shop", env="prd", store=store, clock=clock, **given)


@pytest.fixture
async def sessions(clock: Clock, store: Any) -> AsyncIterator[Sessions]:
    async with sessions_on(store, clock) as sessions:
        yield sessions


@pytest.fixture
def app() -> App:
    return App(reads=True)


@pytest.fixture
def middleware(app: App, sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(app, sessions=sessions, tag=TAG)


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={**ANN, "role": "admin"})


@pytest.fixture
def browser(middleware: DuctapeMiddleware, issued: IssuedSession) -> Browser:
    browser = Browser(middleware)
    browser.take(issued.cookie_headers())
    return browser


async def generation(sessions: Sessions, issued: IssuedSession) -> int:
    record = await sessions.worker.store.verify(issued.session_id, generation=-1)
    assert record is not None
    return record.generation


async def deaf(*args: Any) -> None:
    await anyio.sleep_forever()


def unchanged(answer: Answer) -> bool:
    return set_cookies(answer.headers) == []


# Who is served.


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("headers", [SCRIPT, LINK_FROM_AN_EMAIL, ((b"origin", b"https://shop.test"),)])
async def test_after_an_hour_the_request_is_served_and_brings_new_cookies(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, headers: Any, absent: bool
) -> None:
    before = dict(browser.jar)
    clock.advance(HOUR)
    if absent:
        del browser.jar[ACCESS]
    answer = await browser.request(*headers)
    assert answer.body.decode() == issued.session_id
    assert answer.error is None
    assert answer.session.data == {**ANN, "role": "admin"}
    assert answer.scope["state"]["session"] is answer.session
    assert answer.scope["user"].identity == "ann"
    assert "role:admin" in answer.scope["auth"].scopes
    assert answer.header("cache-control") == "no-store"
    assert browser.jar[ACCESS] != before[ACCESS]
    assert browser.jar[REFRESH] != before[REFRESH]
    assert await generation(sessions, issued) == 1
    again = await browser.fetch()
    assert again.body.decode() == issued.session_id
    assert unchanged(again)


async def test_the_session_served_is_the_one_that_its_token_will_be(
    browser: Browser, sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    await sessions.update(tag=TAG, session_id=issued.session_id, data={**ANN, "role": "clerk"})
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.session == await sessions.verify(tag=TAG, token=browser.jar[ACCESS])
    assert answer.session.roles == {"clerk"}


async def test_a_form_that_was_open_is_posted_and_served(
    browser: Browser, app: App, clock: Clock, issued: IssuedSession
) -> None:
    clock.advance(HOUR)
    answer = await browser.request(*FORM, method="POST", body=b"title=tea")
    assert answer.body.decode() == issued.session_id
    assert app.bodies == [[{"type": "http.request", "body": b"title=tea", "more_body": False}]]
    assert not unchanged(answer)


async def test_required_and_guards_let_it_through(
    sessions: Sessions, browser: Browser, clock: Clock, issued: IssuedSession
) -> None:
    browser.app = DuctapeMiddleware(require_session.wrap(App()), sessions=sessions, tag=TAG, required=True)
    clock.advance(HOUR)
    assert (await browser.open()).body.decode() == issued.session_id


async def test_set_user_may_be_off(sessions: Sessions, browser: Browser, clock: Clock, issued: IssuedSession) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, set_user=False, state_key="who")
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert "user" not in answer.scope
    assert answer.scope["state"]["who"].session_id == issued.session_id


async def test_on_an_exempt_path_it_is_served_too(
    sessions: Sessions, browser: Browser, clock: Clock, issued: IssuedSession
) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True, exempt=["/open"])
    clock.advance(HOUR)
    assert (await browser.fetch(path="/open")).body.decode() == issued.session_id


@pytest.mark.parametrize("tags", [[TAG, KIOSK], [KIOSK, TAG]])
async def test_of_several_tags_the_right_one_is_found(
    sessions: Sessions, browser: Browser, clock: Clock, issued: IssuedSession, tags: list[str]
) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=tags)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert (answer.session.session_id, answer.session.tag) == (issued.session_id, TAG)


async def test_where_it_is_used_from_is_noted_as_the_proxies_say(
    sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, trusted_proxies=["203.0.113.9"])
    clock.advance(HOUR)
    await browser.request(*SCRIPT, (b"x-forwarded-for", b"198.51.100.7"), (b"user-agent", b"Firefox/1 Linux"))
    (session,) = await sessions.list(tag=TAG, identifier="ann")
    assert (session.client.ip, session.client.label) == ("198.51.100.7", "Firefox on Linux")
    assert session.last_seen_at.timestamp() == clock()


# Who is not.

ELSEWHERE: dict[str, list[tuple[bytes, bytes]]] = {
    "says nothing": [],
    "another site's script": [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"cors")],
    "another site's image": [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-dest", b"image")],
    "a frame": [
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-mode", b"navigate"),
        (b"sec-fetch-dest", b"iframe"),
    ],
    "a sibling's script": [(b"sec-fetch-site", b"same-site")],
    "another origin": [(b"origin", b"https://evil.example")],
    "navigation, twice": [(b"sec-fetch-site", b"cross-site"), *NAVIGATION, NAVIGATION[0]],
    "a destination alone": [NAVIGATION[1]],
    "a mode alone": [NAVIGATION[0]],
}


@pytest.mark.parametrize("headers", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("absent", [False, True])
async def test_what_is_neither_ours_nor_a_navigation_is_not_refreshed(
    sessions: Sessions,
    browser: Browser,
    issued: IssuedSession,
    clock: Clock,
    headers: list[tuple[bytes, bytes]],
    method: str,
    absent: bool,
) -> None:
    clock.advance(HOUR)
    if absent:
        del browser.jar[ACCESS]
    answer = await browser.request(*headers, method=method)
    assert answer.body == b"nobody"
    assert unchanged(answer)
    assert isinstance(answer.error, type(None) if absent else ExpiredToken)
    assert await generation(sessions, issued) == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
async def test_a_navigation_from_elsewhere_is_one_that_reads(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, method: str
) -> None:
    clock.advance(HOUR)
    assert (await browser.request(*LINK_FROM_AN_EMAIL, method=method)).body == b"nobody"
    assert await generation(sessions, issued) == 0
    assert (await browser.request(*LINK_FROM_AN_EMAIL, method="HEAD")).session.session_id == issued.session_id


async def test_an_allowed_origin_is_ours(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, allowed_origins=["https://app.example"])
    clock.advance(HOUR)
    headers = [(b"sec-fetch-site", b"cross-site"), (b"origin", b"https://app.example")]
    assert (await browser.request(*headers, method="POST")).body.decode() == issued.session_id


async def test_it_may_be_switched_off(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, auto_refresh=False)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", ExpiredToken)
    assert await generation(sessions, issued) == 0


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_it_is_on_or_off(sessions_unopened: Sessions, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="auto_refresh"):
        DuctapeMiddleware(App(), sessions=sessions_unopened, tag=TAG, auto_refresh=value)


@pytest.fixture
def sessions_unopened(clock: Clock) -> Sessions:
    return sessions_on("memory://", clock)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer bad")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Basic b")],
        [(b"x-session", b"bad")],
    ],
)
async def test_a_bad_credential_that_was_sent_on_purpose_is_not_mended(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, headers: Any
) -> None:
    browser.app = DuctapeMiddleware(
        App(), sessions=sessions, tag=TAG, credentials=(Bearer(), Header("x-session"), Cookie())
    )
    clock.advance(HOUR)
    for absent in (False, True):
        if absent:
            del browser.jar[ACCESS]
        answer = await browser.request(*SCRIPT, *headers)
        assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)
    assert await generation(sessions, issued) == 0


async def test_an_expired_bearer_is_not_mended_by_a_cookie(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    clock.advance(HOUR)
    answer = await browser.request(*SCRIPT, bearer(issued.token))
    assert (answer.body, type(answer.error)) == (b"nobody", ExpiredToken)
    assert await generation(sessions, issued) == 0


async def test_another_scheme_is_left_alone(browser: Browser, issued: IssuedSession, clock: Clock) -> None:
    clock.advance(HOUR)
    answer = await browser.request(*SCRIPT, (b"authorization", b"Basic eDp5"))
    assert answer.body.decode() == issued.session_id


async def test_where_cookies_are_no_credential_nothing_is_refreshed(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, credentials=[Bearer()])
    clock.advance(HOUR)
    assert (await browser.fetch()).body == b"nobody"
    assert await generation(sessions, issued) == 0


@pytest.mark.parametrize("access", ["bad", "e30.e30.e30"])
async def test_an_access_cookie_that_is_bad_for_another_reason_is_not_mended(
    sessions: Sessions, browser: Browser, issued: IssuedSession, access: str
) -> None:
    browser.jar[ACCESS] = access
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)
    assert unchanged(answer)
    assert await generation(sessions, issued) == 0


async def test_an_empty_access_cookie_is_an_absent_one(browser: Browser, issued: IssuedSession) -> None:
    browser.jar[ACCESS] = ""
    assert (await browser.fetch()).body.decode() == issued.session_id


async def test_a_good_access_cookie_needs_no_refresh(
    sessions: Sessions, browser: Browser, issued: IssuedSession
) -> None:
    browser.jar[REFRESH] = "bad"
    answer = await browser.fetch()
    assert answer.body.decode() == issued.session_id
    assert unchanged(answer)
    assert await generation(sessions, issued) == 0


@pytest.mark.parametrize("where", ["one header", "two headers"])
async def test_two_refresh_cookies_are_refused(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, where: str
) -> None:
    clock.advance(HOUR)
    token = browser.jar[REFRESH]
    twice = f"{REFRESH}={token}; {REFRESH}={token}" if where == "one header" else f"{REFRESH}={token}"
    if where == "one header":
        browser.jar.clear()
    answer = await browser.request(*SCRIPT, (b"cookie", twice.encode()))
    assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)
    assert unchanged(answer)
    assert await generation(sessions, issued) == 0


async def test_cookies_of_two_sessions_refresh_neither(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    other = await sessions.start(tag=TAG, data={"userId": "eve"})
    browser.jar[REFRESH] = str(other.refresh_token)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)
    assert unchanged(answer)
    assert (await generation(sessions, issued), await generation(sessions, other)) == (0, 0)


async def test_a_refresh_token_of_a_tag_that_is_not_accepted_is_refused(
    sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    other = await sessions.start(tag=KIOSK, data=ANN)
    browser.jar.clear()
    browser.jar[REFRESH] = str(other.refresh_token)
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)
    assert await generation(sessions, other) == 0


@pytest.mark.parametrize("token", ["drt_", "drt_" + "A" * 150, "bad", "drt_\x7f", "A" * 5000])
async def test_a_forged_refresh_cookie_costs_no_store_call(browser: Browser, store: WatchedStore, token: str) -> None:
    browser.jar = {REFRESH: token}
    store.calls.clear()
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)
    assert unchanged(answer)
    assert store.calls["rotate"] == store.calls["verify"] == store.calls["claim_secret"] == 0


async def test_an_anonymous_request_costs_no_store_call_and_sets_nothing(
    middleware: DuctapeMiddleware, store: WatchedStore
) -> None:
    for headers in ([], [(b"cookie", b"theme=dark; __Host-ductape-csrf=x")]):
        answer = await call(middleware, headers=[*headers, *SCRIPT])
        assert (answer.body, answer.error) == (b"nobody", None)
        assert unchanged(answer)
    assert store.calls["rotate"] == store.calls["verify"] == 0


async def test_a_tag_without_refresh_is_not_refreshed(clock: Clock) -> None:
    tags = [TagPolicy(TAG, refresh=False)]
    async with sessions_on("memory://", clock, tags=tags) as sessions, sessions_on("memory://", clock) as twin:
        refreshable = await twin.start(tag=TAG, data=ANN)  # the same keys, so the MAC is good
        browser = Browser(
            DuctapeMiddleware(App(), sessions=sessions, tag=TAG), {REFRESH: refreshable.refresh_token or ""}
        )
        answer = await browser.fetch()
        assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)


async def test_a_handshake_is_not_refreshed(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    clock.advance(HOUR)
    shaken = await handshake(browser.app, headers=[*browser.cookies, (b"origin", b"https://shop.test")])
    assert shaken.session is None
    assert isinstance(shaken.scope["ductape.error"], ExpiredToken)
    assert await generation(sessions, issued) == 0


# One rotation.


async def test_twenty_at_once_are_served_with_one_rotation(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore
) -> None:
    clock.advance(HOUR)
    answers: list[Answer] = []
    waiting = anyio.Event()

    async def wait() -> None:
        with anyio.move_on_after(30):
            await waiting.wait()

    store.before["rotate"] = wait

    async def fetch(method: str) -> None:
        answers.append(await call(browser.app, method=method, headers=[*browser.cookies, *SCRIPT]))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(fetch, "POST" if number % 2 else "GET")
        await anyio.wait_all_tasks_blocked()
        waiting.set()
    assert [answer.body.decode() for answer in answers] == [issued.session_id] * 20
    assert store.calls["rotate"] == 1
    assert await generation(sessions, issued) == 1
    assert len({line for answer in answers for line in set_cookies(answer.headers) if REFRESH in line}) == 1
    for answer in answers:
        browser.take(answer.headers)
        assert (await browser.fetch()).body.decode() == issued.session_id


async def test_who_waits_goes_on_when_the_first_one_leaves(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore
) -> None:
    clock.advance(HOUR)
    answers: list[Answer] = []
    first = anyio.CancelScope()

    async def block() -> None:
        del store.before["rotate"]
        await anyio.sleep_forever()

    store.before["rotate"] = block

    async def leave() -> None:
        with first:
            await call(browser.app, headers=[*browser.cookies, *SCRIPT])

    async def wait() -> None:
        answers.append(await call(browser.app, headers=[*browser.cookies, *SCRIPT]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        for _ in range(5):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
    assert [answer.body.decode() for answer in answers] == [issued.session_id] * 5
    assert store.calls["rotate"] == 2  # the one that was given up, and one for the five


@pytest.mark.parametrize("everybody", [False, True])
async def test_who_comes_after_a_revoke_does_not_join_a_flight_of_before(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore, everybody: bool
) -> None:
    clock.advance(HOUR)
    answers: dict[str, Answer] = {}
    released = anyio.Event()

    async def hold() -> None:
        store.after.pop("rotate", None)
        await released.wait()

    store.after["rotate"] = hold

    async def fetch(name: str) -> None:
        answers[name] = await call(browser.app, headers=[*browser.cookies, *SCRIPT])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, "before")
        await anyio.wait_all_tasks_blocked()
        if everybody:
            assert await sessions.revoke_all(tag=TAG, identifier="ann") == 1
        else:
            assert await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await fetch("after")
        released.set()
    assert (answers["after"].body, type(answers["after"].error)) == (b"nobody", RevokedSession)
    assert unchanged(answers["after"])
    assert unchanged(answers["before"])


async def test_who_comes_after_a_revoke_in_another_worker_does_not_join_a_flight_of_before(clock: Clock) -> None:
    memory = MemoryStore()
    store: Any = WatchedStore(memory)
    other_way_in: Any = WatchedStore(memory)
    store.instead["listen"] = deaf  # nobody tells this worker
    released = anyio.Event()

    async def hold() -> None:
        store.after.pop("rotate", None)
        await released.wait()

    async def fetch() -> None:
        await call(browser.app, headers=[*browser.cookies, *SCRIPT])

    async with sessions_on(store, clock) as sessions, sessions_on(other_way_in, clock) as other_worker:
        issued = await sessions.start(tag=TAG, data=ANN)
        browser = Browser(DuctapeMiddleware(App(), sessions=sessions, tag=TAG))
        browser.take(issued.cookie_headers())
        del browser.jar[ACCESS]  # whose verification would ask for news
        store.after["rotate"] = hold
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch)
            await anyio.wait_all_tasks_blocked()
            assert await other_worker.revoke(tag=TAG, session_id=issued.session_id)
            with anyio.fail_after(30):
                late = await call(browser.app, headers=[*browser.cookies, *SCRIPT])
            released.set()
    assert (late.body, type(late.error)) == (b"nobody", RevokedSession)


async def test_who_comes_after_an_update_sees_it(
    sessions: Sessions, browser: Browser, clock: Clock, store: WatchedStore
) -> None:
    clock.advance(HOUR)
    released = anyio.Event()
    roles: list[Any] = []

    async def hold() -> None:
        store.after.pop("rotate", None)
        await released.wait()

    store.after["rotate"] = hold

    async def fetch() -> None:
        roles.append((await call(browser.app, headers=[*browser.cookies, *SCRIPT])).session.roles)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch)
        await anyio.wait_all_tasks_blocked()
        await sessions.update(tag=TAG, identifier="ann", data={**ANN, "role": "guest"})
        await fetch()
        released.set()
    assert roles[0] == {"guest"}


# P3: no sign of life, and nothing lost.


async def test_a_refresh_is_no_sign_of_life_and_caches_nothing(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore
) -> None:
    clock.advance(HOUR)
    assert (await browser.fetch()).body.decode() == issued.session_id
    record = await store.real.verify(issued.session_id, generation=-1)
    assert (record.generation, record.seen_generation) == (1, 0)
    assert len(sessions.worker.cache) == 0
    store.calls.clear()
    await browser.fetch()
    assert store.calls["verify"] == 1
    record = await store.real.verify(issued.session_id, generation=-1)
    assert record.seen_generation == 1


async def test_a_client_that_never_gets_the_answer_tries_again_whenever_it_likes(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    clock.advance(HOUR)
    lost = await browser.fetch(keeps=False)
    clock.advance(HOUR)
    lost_again = await browser.open(keeps=False)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.body.decode() == issued.session_id
    assert {line.split(";")[0] for one in (lost, lost_again, answer) for line in set_cookies(one.headers)[1:]} == {
        f"{REFRESH}={browser.jar[REFRESH]}"
    }
    assert await generation(sessions, issued) == 1


async def test_an_app_that_fails_loses_nothing(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    served, browser.app = browser.app, DuctapeMiddleware(failing, sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    with pytest.raises(RuntimeError, match="broken"):
        await browser.fetch()
    browser.app = served
    clock.advance(HOUR)
    assert (await browser.fetch()).body.decode() == issued.session_id


async def test_a_thief_who_comes_later_ends_the_session(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    thief = Browser(browser.app, dict(browser.jar))
    clock.advance(HOUR)
    await browser.fetch()
    await browser.fetch()  # a sign of life
    clock.advance(HOUR)
    stolen = await thief.fetch()
    assert (stolen.body, type(stolen.error)) == (b"nobody", RefreshReused)
    assert unchanged(stolen)
    ended = await browser.fetch()
    assert (ended.body, type(ended.error)) == (b"nobody", RevokedSession)


# What the answer brings.


def answering(*headers: tuple[bytes, bytes], before: Any = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if before is not None:
            await before(scope)
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_other_headers_stay_and_the_answer_is_for_nobody_else(
    sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    own = [(b"x-mine", b"1"), (b"set-cookie", b"theme=dark; Path=/; Max-Age=9; SameSite=Lax"), (b"vary", b"Accept")]
    app = answering(*own, (b"Cache-Control", b"public, max-age=600"))
    browser.app = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.headers[:3] == own
    assert [name for name, _ in answer.headers[3:]] == [b"set-cookie", b"set-cookie", b"cache-control"]
    assert answer.header("cache-control") == "no-store"
    cached = await browser.fetch()
    assert cached.header("cache-control") == "public, max-age=600"


@pytest.mark.parametrize("name", [ACCESS, REFRESH])
@pytest.mark.parametrize("spelling", [b"set-cookie", b"Set-Cookie"])
async def test_what_the_app_says_of_our_cookies_stands(
    sessions: Sessions, browser: Browser, clock: Clock, name: str, spelling: bytes
) -> None:
    mine = (spelling, f"{name}=; Max-Age=0; Path=/; Secure; SameSite=Lax".encode())
    browser.app = DuctapeMiddleware(answering(mine), sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.headers == [mine]


async def test_a_sign_in_during_the_request_stands(sessions: Sessions, browser: Browser, clock: Clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["ductape.session"]
        anew = await sessions.start(tag=TAG, data={"userId": "bob"}, replaces=session.session_id)
        await answering(*anew.cookie_headers())(scope, receive, send)

    served, browser.app = browser.app, DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    await browser.fetch()
    browser.app = served
    assert (await browser.fetch()).session.identifier == "bob"


@pytest.mark.parametrize("verb", ["revoke", "revoke_all"])
async def test_a_session_that_ended_during_the_request_gets_no_cookies(
    sessions: Sessions, browser: Browser, clock: Clock, verb: str
) -> None:
    async def end(scope: Any) -> None:
        session = scope["ductape.session"]
        whose = {"session_id": session.session_id} if verb == "revoke" else {"identifier": "ann"}
        await getattr(sessions, verb)(tag=TAG, **whose)

    browser.app = DuctapeMiddleware(answering(before=end), sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    assert unchanged(await browser.fetch())


@pytest.mark.parametrize("passed", [0.2, 5, -5])
async def test_a_late_answer_does_not_put_old_cookies_over_newer_ones(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, passed: float
) -> None:
    """Three requests leave together; one comes back after the others' child has been used and refreshed again."""
    newer = Browser(browser.app, dict(browser.jar))

    async def go_on(scope: Any) -> None:
        if passed != 0.2:
            await newer.fetch()
            await newer.fetch()
            clock.advance(HOUR)
            await newer.fetch()
            clock.advance(passed - HOUR)
        else:
            clock.advance(passed)

    slow = DuctapeMiddleware(answering(before=go_on), sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await call(slow, headers=[*browser.cookies, *SCRIPT])
    assert unchanged(answer) == (passed != 0.2)


async def test_a_late_answer_that_is_the_newest_still_brings_its_cookies(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore
) -> None:
    async def dawdle(scope: Any) -> None:
        clock.advance(60)

    browser.app = DuctapeMiddleware(answering(before=dawdle), sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    assert not unchanged(await browser.fetch())
    record = await store.real.verify(issued.session_id, generation=-1)
    assert (record.generation, record.seen_generation) == (1, 0)  # asking was no sign of life


async def test_a_late_answer_while_the_store_is_down_leaves_the_cookies_alone(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    async def dawdle(scope: Any) -> None:
        clock.advance(1)
        store.instead["verify"] = down

    served, browser.app = browser.app, DuctapeMiddleware(answering(before=dawdle), sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.status == 200
    assert unchanged(answer)
    store.instead.clear()
    browser.app = served
    assert (await browser.fetch()).body.decode() == issued.session_id


async def test_an_answer_of_ours_brings_the_cookies_too(sessions: Sessions, browser: Browser, clock: Clock) -> None:
    from ductape_asgi import require_role

    browser.app = DuctapeMiddleware(require_role("owner").wrap(App()), sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.status == 403
    assert answer.header("cache-control") == "no-store"
    assert len(set_cookies(answer.headers)) == 2


# Refused.


async def over_by_revoke(sessions: Sessions, issued: IssuedSession, clock: Clock) -> type[Exception]:
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    return RevokedSession


async def over_by_time(sessions: Sessions, issued: IssuedSession, clock: Clock) -> type[Exception]:
    clock.advance(40 * 86_400)
    return ExpiredToken


async def over_by_reuse(sessions: Sessions, issued: IssuedSession, clock: Clock) -> type[Exception]:
    child = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    await sessions.refresh(tag=TAG, refresh_token=child.refresh_token)
    clock.advance(HOUR)
    return RefreshReused


@pytest.mark.parametrize("over", [over_by_revoke, over_by_time, over_by_reuse])
@pytest.mark.parametrize("required", [False, True])
async def test_when_the_session_is_over_it_is_a_refused_credential(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, over: Any, required: bool
) -> None:
    clock.advance(HOUR)
    expected = await over(sessions, issued, clock)
    app = App()
    browser.app = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=required)
    answer = await browser.fetch()
    assert answer.status == (401 if required else 200)
    assert len(app.scopes) == (0 if required else 1)
    if required:
        assert answer.json()["code"] == "invalid_token"
    else:
        assert (answer.session, type(answer.error)) == (None, expected)
    # In the background there may have been a sign-in that this answer knows nothing of.
    assert unchanged(answer)
    assert answer.header("cache-control") == ("no-store" if required else None)


@pytest.mark.parametrize("over", [over_by_revoke, over_by_time, over_by_reuse])
@pytest.mark.parametrize("required", [False, True])
async def test_who_opens_a_page_when_the_session_is_over_loses_the_dead_cookies(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, over: Any, required: bool
) -> None:
    clock.advance(HOUR)
    await over(sessions, issued, clock)
    browser.app = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=required)
    answer = await browser.open()
    assert browser.jar == {}
    assert answer.header("cache-control") == "no-store"
    assert (await browser.open()).status == (401 if required else 200)


async def test_a_late_refusal_removes_nothing(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    async def sign_in_elsewhere(scope: Any) -> None:
        clock.advance(1)

    clock.advance(HOUR)
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    browser.app = DuctapeMiddleware(answering(before=sign_in_elsewhere), sessions=sessions, tag=TAG)
    assert unchanged(await browser.open())


async def test_a_refusal_that_the_app_answers_with_a_sign_in_removes_nothing(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock
) -> None:
    clock.advance(HOUR)
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    anew = await sessions.start(tag=TAG, data=ANN)
    browser.app = DuctapeMiddleware(answering(*anew.cookie_headers()), sessions=sessions, tag=TAG)
    await browser.open()
    assert browser.jar[ACCESS] == anew.token


@pytest.mark.parametrize("required", [False, True])
async def test_a_store_that_is_down_is_503_and_clears_nothing(
    sessions: Sessions, browser: Browser, issued: IssuedSession, clock: Clock, store: WatchedStore, required: bool
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    app = App()
    guarded = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=required, exempt=["/open"])
    served, browser.app = browser.app, guarded
    clock.advance(HOUR)
    store.instead.update(rotate=down, log_since=down, verify=down)
    for visit in (browser.open, browser.fetch):
        answer = await visit()
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.header("retry-after") == "1"
        assert unchanged(answer)
        assert app.scopes == []
    exempt = await browser.open(path="/open")
    assert (exempt.body, type(exempt.error)) == (b"nobody", StoreUnavailable)
    assert unchanged(exempt)
    app.scopes.clear()
    store.instead.clear()
    browser.app = served
    sessions.worker.guarded.circuit.succeeded()
    assert (await browser.open()).body.decode() == issued.session_id


# Installed twice.


async def test_installed_again_with_equal_options_it_passes_through(
    sessions: Sessions, browser: Browser, clock: Clock, store: WatchedStore, issued: IssuedSession
) -> None:
    inner = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
    browser.app = DuctapeMiddleware(inner, sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert answer.body.decode() == issued.session_id
    assert len(set_cookies(answer.headers)) == 2
    assert store.calls["rotate"] == 1


async def test_with_other_options_the_inner_one_gets_the_same_without_asking_again(clock: Clock, store: Any) -> None:
    """Asked again with no grace, and after another request's sign of life, the store would see a reuse."""
    async with sessions_on(store, clock, tags=[TagPolicy(TAG, reuse_grace=0)]) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        inner = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)
        quick = Browser(inner)
        quick.take(issued.cookie_headers())

        async def another_request_is_quicker(scope: Any, receive: Any, send: Any) -> None:
            await quick.fetch()
            await quick.fetch()
            await inner(scope, receive, send)

        browser = Browser(DuctapeMiddleware(another_request_is_quicker, sessions=sessions, tag=TAG), dict(quick.jar))
        clock.advance(HOUR)
        answer = await browser.fetch()
        assert answer.body.decode() == issued.session_id
        assert len(set_cookies(answer.headers)) == 2
        assert (await browser.fetch()).body.decode() == issued.session_id


async def test_an_inner_one_without_it_decides_by_the_access_cookie_alone(
    sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    inner = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, auto_refresh=False)
    browser.app = DuctapeMiddleware(inner, sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", ExpiredToken)
    assert (await browser.fetch()).session is not None  # the outer one's cookies came all the same


async def test_an_inner_one_of_another_tag_is_not_served_by_this_one(
    sessions: Sessions, browser: Browser, clock: Clock
) -> None:
    inner = DuctapeMiddleware(App(), sessions=sessions, tag=KIOSK)
    browser.app = DuctapeMiddleware(inner, sessions=sessions, tag=TAG)
    clock.advance(HOUR)
    answer = await browser.fetch()
    assert (answer.body, type(answer.error)) == (b"nobody", InvalidToken)


async def test_options_that_differ_in_it_are_different(sessions: Sessions) -> None:
    on = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
    off = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, auto_refresh=False)
    assert on.options != off.options
    assert on.options == DuctapeMiddleware(App(), sessions=sessions, tag=TAG, auto_refresh=True).options


@pytest.mark.parametrize(
    "policy", [CookiePolicy(secure=False), CookiePolicy(domain="shop.test"), CookiePolicy(name="sid", csrf_token=True)]
)
async def test_any_cookie_policy_will_do(clock: Clock, policy: CookiePolicy) -> None:
    async with sessions_on("memory://", clock, cookies=policy) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        browser = Browser(DuctapeMiddleware(App(), sessions=sessions, tag=TAG))
        browser.take(issued.cookie_headers())
        assert browser.jar.keys() == set(policy.names)
        clock.advance(HOUR)
        assert (await browser.open()).body.decode() == issued.session_id
        assert browser.jar[policy.refresh_name] != issued.refresh_token
        assert browser.jar.keys() == set(policy.names)
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        clock.advance(HOUR)
        await browser.open()
        assert browser.jar == {}


async def test_the_scope_of_a_server_without_a_client_will_do(browser: Browser, clock: Clock) -> None:
    clock.advance(HOUR)
    scope = scope_of(headers=[*browser.cookies, *SCRIPT])
    del scope["client"]
    assert (await call(browser.app, scope=scope)).session is not None
