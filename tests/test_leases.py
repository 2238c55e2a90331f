"""Sockets and event streams end with their session, with the code that says why, and with nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from ductape_asgi import (
    ConfigurationError,
    DuctapeMiddleware,
    IssuedSession,
    RefreshReused,
    Sessions,
    StoreUnavailable,
    TagPolicy,
    leases,
    new_access_key,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)
from ductape_asgi.problems import ConnectionOver
from ductape_asgi.stores.memory import MemoryStore
from tests.asgi_client import App, bearer, call
from tests.live_client import Line, socket, stream
from tests.sessions.support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio

SSE = [(b"cache-control", b"no-store"), (b"content-type", b"text/event-stream; charset=utf-8")]
KINDS = ["socket in receive", "socket elsewhere", "event stream"]


class Echo:
    """Accepts a socket and waits in `receive`; keeps what it got."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            self.got.append(await receive())
            if self.got[-1]["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": self.got[-1]["text"]})


class Pushing:
    """Starts, and then sends when told to; what comes in it never looks at."""

    def __init__(self, *opening: dict[str, Any]) -> None:
        self.opening = opening
        self.told = anyio.Event()
        self.failed: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in self.opening:
            await send(message)
        await self.told.wait()
        kind = {"http": "http.response.body", "websocket": "websocket.send"}[scope["type"]]
        try:
            await send({"type": kind, "body": b"data: 1\n\n", "text": "1", "more_body": True})
        except BaseException as error:
            self.failed = error
            raise


def pushing_socket() -> Pushing:
    return Pushing({"type": "websocket.accept"})


def pushing_events(headers: Any = SSE) -> Pushing:
    return Pushing({"type": "http.response.start", "status": 200, "headers": headers})


def opened(
    kind: str, sessions: Sessions, issued: IssuedSession, accepted: bool = True, **options: Any
) -> AbstractAsyncContextManager[Line]:
    app = {"socket in receive": Echo, "socket elsewhere": pushing_socket, "event stream": pushing_events}[kind]()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True, **options)
    given: dict[str, Any] = {"headers": [bearer(issued.token)], "inner": app}
    return stream(middleware, **given) if kind == "event stream" else socket(middleware, accepted=accepted, **given)


async def ended(line: Line, code: int) -> None:
    """The connection has ended for this reason; and then let its app go."""
    if line.scope["type"] == "http":
        await line.until(lambda: line.complete)
        assert line.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    else:
        await line.until(lambda: line.codes)
        assert line.codes == [code]
    if isinstance(line.scope["inner"], Pushing):
        line.scope["inner"].told.set()
    await line.done()
    if isinstance(line.scope["inner"], Pushing):
        assert isinstance(line.scope["inner"].failed, ConnectionOver)
    assert line.types[-1] in ("websocket.close", "http.response.body")


async def look(sessions: Sessions) -> None:
    """Do now what the background does at each tick."""
    leases, feed = sessions.worker.leases, sessions.worker.feed
    for home in leases._homes.values():
        await leases._round(home, feed)


async def still_open(line: Line, *sessions: Sessions) -> None:
    """Nothing is going to end it."""
    for one in sessions:
        for _ in range(3):
            await look(one)
    assert not line.over
    assert not line.app_done.is_set()
    assert [len(one.worker.leases) for one in sessions] == [1, *[0] * (len(sessions) - 1)]
    if isinstance(line.scope["inner"], Echo):
        line.text("still here")
        await line.until(lambda: line.sent[-1].get("text") == "still here")
    else:
        line.scope["inner"].told.set()
        await line.done()
        assert line.scope["inner"].failed is None


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_TICK", 0.02)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


@pytest.fixture
def settings(store: WatchedStore, clock: Clock) -> dict[str, Any]:
    return {
        "access_key": new_access_key(),
        "product": "shop",
        "env": "prd",
        "store": store,
        "clock": clock,
        "tags": [TagPolicy(TAG), TagPolicy("other")],
    }


@pytest.fixture
async def sessions(settings: dict[str, Any]) -> AsyncIterator[Sessions]:
    async with Sessions(**settings) as sessions:
        yield sessions


@pytest.fixture
async def elsewhere(settings: dict[str, Any]) -> AsyncIterator[Sessions]:
    """Another worker on the same store."""
    async with Sessions(**settings) as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={**ANN, "role": "admin", "permissions": ["write"]})


# The session ends.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("how", ["revoke", "revoke_all", "start", "reuse"])
async def test_a_connection_ends_with_its_session(
    sessions: Sessions, elsewhere: Sessions, issued: IssuedSession, kind: str, where: str, how: str
) -> None:
    worker = {"here": sessions, "elsewhere": elsewhere}[where]
    async with opened(kind, sessions, issued) as line:
        if how == "revoke":
            await worker.revoke(tag=TAG, session_id=issued.session_id)
        elif how == "revoke_all":
            await worker.revoke_all(tag=TAG, identifier="ann")
        elif how == "start":
            await worker.start(tag=TAG, data=ANN, replaces=issued.session_id)
        else:
            following = await worker.refresh(tag=TAG, refresh_token=issued.refresh_token)
            newest = await worker.refresh(tag=TAG, refresh_token=following.refresh_token)
            await worker.verify(tag=TAG, token=newest.token)
            with pytest.raises(RefreshReused):
                await worker.refresh(tag=TAG, refresh_token=issued.refresh_token)
        await ended(line, 4401)
    assert len(sessions.worker.leases) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_what_ends_somebody_else_ends_nobody_here(
    sessions: Sessions, elsewhere: Sessions, issued: IssuedSession, kind: str
) -> None:
    hers = await elsewhere.start(tag=TAG, data=ANN)
    bobs = await elsewhere.start(tag=TAG, data={"userId": "bob"})
    async with opened(kind, sessions, issued) as line:
        await elsewhere.revoke(tag=TAG, session_id=hers.session_id)
        await sessions.revoke_all(tag=TAG, identifier="bob")
        await elsewhere.revoke_all(tag=TAG, identifier="ann", exclude_current_session=issued.session_id)
        await sessions.revoke_all(tag="other", identifier="ann")
        await sessions.revoke(tag="other", session_id=issued.session_id)
        await elsewhere.update(tag=TAG, session_id=bobs.session_id, data={})
        await still_open(line, sessions, elsewhere)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refresh_changes_nothing(
    sessions: Sessions, elsewhere: Sessions, issued: IssuedSession, clock: Clock, kind: str
) -> None:
    async with opened(kind, sessions, issued) as line:
        newer = await elsewhere.refresh(tag=TAG, refresh_token=issued.refresh_token)
        await sessions.verify(tag=TAG, token=newer.token)
        clock.advance(3600)
        await still_open(line, sessions, elsewhere)


async def test_nothing_that_comes_after_the_end_reaches_the_app(sessions: Sessions, issued: IssuedSession) -> None:
    async with opened("socket in receive", sessions, issued) as line:
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        line.text("too late")
        await ended(line, 4401)
        assert line.scope["inner"].got == [{"type": "websocket.disconnect", "code": 4401, "reason": "session_ended"}]


async def test_no_message_is_lost_while_the_session_lasts(sessions: Sessions, issued: IssuedSession) -> None:
    async with opened("socket in receive", sessions, issued) as line:
        for number in range(100):
            line.text(str(number))
        await sessions.update(tag=TAG, session_id=issued.session_id, data={**ANN, "role": "admin"})
        await line.until(lambda: line.sent[-1].get("text") == "99")
        assert [message["text"] for message in line.sent[1:]] == [str(number) for number in range(100)]


async def test_an_app_that_is_told_may_close_and_may_not_send(sessions: Sessions, issued: IssuedSession) -> None:
    outcomes: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(2):
            outcomes.append((await receive())["code"])
        await send({"type": "websocket.close", "code": 1000})
        try:
            await send({"type": "websocket.send", "text": "still?"})
        except OSError as error:
            outcomes.append(type(error))

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    async with socket(middleware, headers=[bearer(issued.token)]) as line:
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await line.done()
    assert outcomes == [4401, 4401, ConnectionOver]
    assert line.codes == [4401]


async def test_a_session_that_ends_before_the_app_accepts_is_not_let_in(
    sessions: Sessions, issued: IssuedSession
) -> None:
    after: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await send({"type": "websocket.accept"})
        after.append(await receive())

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    async with socket(middleware, headers=[bearer(issued.token)], accepted=False) as line:
        await line.done()
    assert line.types == ["websocket.close"]
    assert line.codes == [4401]
    assert after == [{"type": "websocket.disconnect", "code": 4401, "reason": "session_ended"}]


async def test_a_session_that_ends_during_its_verification_keeps_no_socket(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession
) -> None:
    """The store has said "live", and then, before the socket is there to be ended, the session ends."""

    async def revoke() -> None:
        del store.after["verify"]
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await sessions.worker.feed.catch_up()  # so that no reading of the log brings it a second time

    store.after["verify"] = revoke
    async with opened("socket in receive", sessions, issued, accepted=False) as line:
        await ended(line, 4401)
        assert line.sent[-1]["reason"] == "session_ended", "by its lease, since it was let in"


async def test_a_person_that_is_ended_while_a_socket_is_looked_at_keeps_none(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession
) -> None:
    """Not from the cache, so that the look brings the person's name; all of theirs end just before it answers."""
    sessions.worker.cache.__init__(0)  # type: ignore[misc]

    async def revoke_all() -> None:
        if store.calls["verify"] > 1:
            del store.after["verify"]
            await sessions.revoke_all(tag=TAG, identifier="ann")

    store.after["verify"] = revoke_all
    async with opened("socket in receive", sessions, issued, accepted=False) as line:
        await ended(line, 4401)


async def test_a_session_that_ends_while_the_server_accepts_is_closed_right_after(
    sessions: Sessions, issued: IssuedSession
) -> None:
    async def revoke(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            await sessions.revoke(tag=TAG, session_id=issued.session_id)

    app = Echo()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    async with socket(middleware, headers=[bearer(issued.token)], while_sending=revoke, inner=app) as line:
        await ended(line, 4401)
    assert line.types == ["websocket.accept", "websocket.close"]


async def test_an_app_is_told_by_us_and_not_only_by_the_server(sessions: Sessions, issued: IssuedSession) -> None:
    async with opened("socket in receive", sessions, issued) as line:
        line.mute = True
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await ended(line, 4401)
        assert line.scope["inner"].got[-1]["code"] == 4401


@pytest.mark.parametrize("kind", KINDS)
async def test_an_end_that_is_known_needs_no_look_at_the_store(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession, kind: str
) -> None:
    async with opened(kind, sessions, issued) as line:
        store.instead["verify"] = down
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await ended(line, 4401)


# Time.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_ends_by_its_time(settings: dict[str, Any], clock: Clock, kind: str) -> None:
    tags = [TagPolicy(TAG, session_ttl=3600)]
    async with Sessions(**{**settings, "tags": tags}) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        async with opened(kind, sessions, issued) as line:
            clock.advance(3599)
            await look(sessions)
            assert not line.over
            clock.advance(1)
            await ended(line, 4401)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unused_session_ends_and_one_used_elsewhere_does_not(
    settings: dict[str, Any], elsewhere: Sessions, clock: Clock, kind: str
) -> None:
    tags = [TagPolicy(TAG, idle_ttl=600, expires_in=3600)]
    async with Sessions(**{**settings, "tags": tags}) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        async with opened(kind, sessions, issued) as line:
            for _ in range(4):
                clock.advance(500)
                await elsewhere.worker.guarded.touch({issued.session_id: clock()})
                await look(sessions)
                assert not line.over
            clock.advance(600 + 61)
            await ended(line, 4401)


@pytest.mark.parametrize("kind", KINDS)
async def test_stream_until_token_ends_with_the_access_token(
    sessions: Sessions, issued: IssuedSession, clock: Clock, kind: str
) -> None:
    async with opened(kind, sessions, issued, stream_until="token") as line:
        await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
        clock.advance(904)
        await look(sessions)
        assert not line.over
        clock.advance(1)
        await ended(line, 4401)


async def test_stream_until_takes_two_words(sessions: Sessions) -> None:
    for wrong in ("forever", "", None, 5):
        with pytest.raises(ConfigurationError, match="stream_until"):
            DuctapeMiddleware(App(), sessions=sessions, stream_until=wrong, tag=TAG)  # type: ignore[arg-type]


# Guards.


@pytest.mark.parametrize("guard", [require_role("admin"), require_permission("write")])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("copied", [False, True])
async def test_a_guard_that_no_longer_holds_closes_the_socket(
    sessions: Sessions, elsewhere: Sessions, issued: IssuedSession, guard: Any, where: str, copied: bool
) -> None:
    inner = guard.wrap(Echo())

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await inner(dict(scope) if copied else scope, receive, send)

    worker = {"here": sessions, "elsewhere": elsewhere}[where]
    middleware = DuctapeMiddleware(copying, sessions=sessions, tag=TAG)
    async with socket(middleware, headers=[bearer(issued.token)]) as line:
        await worker.update(tag=TAG, identifier="ann", data={**ANN, "role": "admin", "permissions": ["write", "more"]})
        await look(sessions)
        assert not line.codes
        await worker.update(tag=TAG, session_id=issued.session_id, data={**ANN, "role": "guest"})
        await line.until(lambda: line.codes)
        assert line.codes == [4403]


async def test_a_guard_that_no_longer_holds_ends_the_stream(sessions: Sessions, issued: IssuedSession) -> None:
    app = pushing_events()
    middleware = DuctapeMiddleware(require_role("admin").wrap(app), sessions=sessions, tag=TAG)
    async with stream(middleware, headers=[bearer(issued.token)], inner=app) as line:
        await sessions.update(tag=TAG, session_id=issued.session_id, data=ANN)
        await ended(line, 4403)


async def test_the_scopes_of_fastapis_security_are_guards_of_the_socket_too(
    sessions: Sessions, issued: IssuedSession
) -> None:
    class Scopes:
        scopes = ("permission:write",)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = type("Connection", (), {"scope": scope})()
        await require_session(connection, security_scopes=Scopes)
        await Echo()(scope, receive, send)

    async with socket(DuctapeMiddleware(app, sessions=sessions, tag=TAG), headers=[bearer(issued.token)]) as line:
        await sessions.update(tag=TAG, session_id=issued.session_id, data=ANN)
        await line.until(lambda: line.codes)
        assert line.codes == [4403]


async def test_without_guards_newer_data_closes_nothing_and_is_seen_by_later_guards(
    sessions: Sessions, issued: IssuedSession
) -> None:
    async with opened("socket in receive", sessions, issued) as line:
        await sessions.update(tag=TAG, session_id=issued.session_id, data={**ANN, "role": "guest"})
        await look(sessions)
        scope = line.scope
        assert scope["ductape.session"].roles == {"guest"}
        assert scope["user"].roles == scope["state"]["session"].roles == {"guest"}
        await still_open(line, sessions)


async def test_a_sign_in_that_has_grown_old_closes_no_socket(
    sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    middleware = DuctapeMiddleware(require_recent_auth(60).wrap(Echo()), sessions=sessions, tag=TAG)
    async with socket(middleware, headers=[bearer(issued.token)]) as line:
        clock.advance(120)
        await sessions.update(tag=TAG, session_id=issued.session_id, data={**ANN, "role": "guest"})
        await look(sessions)
        line.text("hello")
        await line.until(lambda: line.sent[-1].get("text") == "hello")
        assert not line.codes


# The store is silent.


async def down(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("down")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_silent_store_ends_connections_after_max_staleness_and_not_before(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession, clock: Clock, kind: str
) -> None:
    async with opened(kind, sessions, issued) as line:
        await look(sessions)
        store.instead.update(log_since=down, verify=down)
        clock.advance(5)
        await look(sessions)
        assert not line.over
        clock.advance(1)
        await ended(line, 1013)


async def test_while_the_store_answers_about_the_session_a_stale_feed_ends_nothing(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession, clock: Clock
) -> None:
    async with opened("socket in receive", sessions, issued) as line:
        await look(sessions)
        store.instead["log_since"] = down
        clock.advance(60)
        await look(sessions)
        asked = store.calls["verify"]
        await still_open(line, sessions)
        assert store.calls["verify"] == asked, "it is asked once in each max_staleness"


async def test_with_on_stale_refuse_a_stale_feed_ends_them_without_asking(
    settings: dict[str, Any], store: WatchedStore, clock: Clock
) -> None:
    async with Sessions(**{**settings, "on_stale": "refuse"}) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        async with opened("socket in receive", sessions, issued) as line:
            await look(sessions)
            asked = store.calls["verify"]
            store.instead["log_since"] = down
            clock.advance(6)
            await ended(line, 1013)
            assert store.calls["verify"] == asked


async def test_a_change_that_could_not_be_looked_at_is_looked_at_again(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession
) -> None:
    middleware = DuctapeMiddleware(require_role("admin").wrap(Echo()), sessions=sessions, tag=TAG)
    async with socket(middleware, headers=[bearer(issued.token)]) as line:
        store.instead["verify"] = down
        await sessions.update(tag=TAG, identifier="ann", data=ANN)
        await look(sessions)
        assert not line.codes
        del store.instead["verify"]
        await line.until(lambda: line.codes)
        assert line.codes == [4403]


async def test_an_error_that_nobody_foresaw_lets_nobody_stay(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession
) -> None:
    async def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    async with opened("socket in receive", sessions, issued) as line:
        store.instead["verify"] = broken
        await sessions.update(tag=TAG, identifier="ann", data=ANN)
        await ended(line, 1013)


async def test_sessions_that_close_end_what_nobody_looks_after_any_more(settings: dict[str, Any]) -> None:
    sessions = Sessions(**settings)
    await sessions.__aenter__()
    issued = await sessions.start(tag=TAG, data=ANN)
    async with opened("socket in receive", sessions, issued) as line:
        await sessions.__aexit__(None, None, None)
        await ended(line, 1013)


# What is watched, and what is not.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_is_over_is_forgotten(sessions: Sessions, issued: IssuedSession, kind: str) -> None:
    async with opened(kind, sessions, issued) as line:
        assert len(sessions.worker.leases) == 1
        if isinstance(line.scope["inner"], Pushing):
            line.scope["inner"].told.set()
        else:
            line.arrive({"type": "websocket.disconnect", "code": 1001})
        await line.done()
        assert len(sessions.worker.leases) == 0
        assert len(sessions.worker.leases._names) == 0
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    assert not line.over


async def test_a_socket_that_the_app_closes_is_closed_once(sessions: Sessions, issued: IssuedSession) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        await sessions.revoke(tag=TAG, session_id=issued.session_id)

    async with socket(DuctapeMiddleware(app, sessions=sessions, tag=TAG), headers=[bearer(issued.token)]) as line:
        await line.done()
    assert line.codes == [1000]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"application/json")],
        [(b"content-type", b"text/plain"), (b"x-kind", b"text/event-stream")],
        [(b"x-content-typ", b"text/event-stream")],
        [],
    ],
)
async def test_other_responses_are_never_ended_early(sessions: Sessions, issued: IssuedSession, headers: Any) -> None:
    app = pushing_events(headers)
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    async with stream(middleware, headers=[bearer(issued.token)]) as line:
        assert len(sessions.worker.leases) == 0
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        app.told.set()
        await line.done()
        assert line.sent[-1]["body"] == b"data: 1\n\n"


@pytest.mark.parametrize(
    "headers",
    [
        lambda: ((b"Content-Type", b"text/event-stream"),),
        lambda: iter([(b"content-length", b"3"), (b"content-type", b"Text/Event-Stream")]),
        lambda: [[b"content-type", b"text/event-stream"]],
    ],
    ids=["a tuple, as Django spells it", "read once", "lists"],
)
async def test_an_event_stream_is_known_however_its_headers_are_kept(
    sessions: Sessions, issued: IssuedSession, headers: Any
) -> None:
    app = pushing_events(headers())
    async with stream(
        DuctapeMiddleware(app, sessions=sessions, tag=TAG), headers=[bearer(issued.token)], inner=app
    ) as line:
        assert len(list(line.sent[0]["headers"])) in (1, 2)
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await ended(line, 4401)


async def test_an_event_stream_of_a_hit_is_watched_like_that_of_a_miss(
    sessions: Sessions, issued: IssuedSession
) -> None:
    app = pushing_events()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    for _ in range(3):
        async with stream(middleware, headers=[bearer(issued.token)], inner=app) as line:
            app.told.set()
            await line.done()
        app.told = anyio.Event()
    async with stream(middleware, headers=[bearer(issued.token)], inner=app) as line:
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        await ended(line, 4401)


async def test_what_nobody_signed_in_for_is_not_watched(sessions: Sessions) -> None:
    app = pushing_events()
    async with stream(DuctapeMiddleware(app, sessions=sessions, tag=TAG)):
        assert len(sessions.worker.leases) == 0
        app.told.set()
    async with socket(DuctapeMiddleware(Echo(), sessions=sessions, tag=TAG)):
        assert len(sessions.worker.leases) == 0


async def test_a_stream_that_completes_by_itself_is_let_go_at_once(sessions: Sessions, issued: IssuedSession) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})
        assert len(sessions.worker.leases) == 0

    answer = await call(DuctapeMiddleware(app, sessions=sessions, tag=TAG), headers=[bearer(issued.token)])
    assert answer.body == b"data: 1\n\n"


async def test_an_error_of_an_apps_own_stays_its_own(sessions: Sessions, issued: IssuedSession) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(DuctapeMiddleware(app, sessions=sessions, tag=TAG), headers=[bearer(issued.token)])
    assert len(sessions.worker.leases) == 0


async def test_idle_connections_cost_no_tasks(sessions: Sessions, issued: IssuedSession) -> None:
    def app_only() -> DuctapeMiddleware:
        return DuctapeMiddleware(Echo(), sessions=sessions, tag=TAG)

    async def tasks_beyond(number: int) -> int:
        lines = [socket(app_only(), headers=[bearer(issued.token)]) for _ in range(number)]
        for line in lines:
            await line.__aenter__()
        count = running_tasks()
        for line in reversed(lines):
            await line.__aexit__(None, None, None)
        return count - number  # the apps themselves

    one, many = await tasks_beyond(1), await tasks_beyond(50)
    assert one == many


def running_tasks() -> int:
    return len(anyio.get_running_tasks())


async def test_a_hit_in_a_loop_where_nothing_is_open_is_watched_too(settings: dict[str, Any]) -> None:
    sessions = Sessions(**settings)
    async with sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        assert (
            await call(DuctapeMiddleware(App(), sessions=sessions, tag=TAG), headers=[bearer(issued.token)])
        ).session
    await sessions.worker.feed.catch_up()
    assert not sessions.worker.lifetime.is_open()
    app = pushing_events()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    async with stream(middleware, headers=[bearer(issued.token)], inner=app) as line, sessions:
        await sessions.worker.store.revoke("shop:prd", TAG, issued.session_id, now=sessions.worker.clock())
        await ended(line, 4401)
