"""Refusals as HTTP answers: RFC 9457 bodies, RFC 6750 and 9470 challenges, and nothing that tells tokens apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import pytest

from ductape_asgi import (
    AccessDenied,
    ConfigurationError,
    CsrfRejected,
    DataTooLarge,
    DuctapeError,
    DuctapeMiddleware,
    InvalidData,
    InvalidToken,
    IssuedSession,
    MissingToken,
    RevokedSession,
    SessionLimitReached,
    Sessions,
    StepUpRequired,
    StoreUnavailable,
    new_access_key,
    require_permission,
    require_recent_auth,
    require_role,
)
from ductape_asgi.stores.memory import MemoryStore
from tests.asgi_client import Answer, App, bearer, call, cookie, scope_of
from tests.sessions.support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


@pytest.fixture
async def sessions(clock: Clock, store: Any) -> AsyncIterator[Sessions]:
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store=store, clock=clock) as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={**ANN, "role": "user"})


@pytest.fixture
def guarded(sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)


def raising(sessions: Sessions, error: DuctapeError) -> DuctapeMiddleware:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return DuctapeMiddleware(app, sessions=sessions, tag=TAG)


def check_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("set-cookie") is None
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code"}
    assert (problem["status"], problem["code"]) == (status, code)


async def test_no_credential_is_401_without_an_error_in_the_challenge(guarded: DuctapeMiddleware) -> None:
    answer = await call(guarded)
    check_problem(answer, 401, "missing_token")
    challenge = answer.header("www-authenticate")
    assert challenge is not None
    assert challenge.startswith("Bearer ")
    assert "error=" not in challenge


async def test_every_refused_token_looks_the_same_to_the_client(
    guarded: DuctapeMiddleware, sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    revoked = await sessions.start(tag=TAG, data=ANN)
    await sessions.revoke(tag=TAG, session_id=revoked.session_id)
    elsewhere = await sessions.start(tag=TAG, data=ANN, env="dev")
    other_tag = await sessions.start(tag="checkout-session", data=ANN)
    short = await sessions.start(tag=TAG, data=ANN, expires_in=10)
    await call(guarded, headers=[bearer(issued.token)])
    clock.advance(100)
    twice = [bearer(issued.token)] * 2
    tokens = [revoked.token, elsewhere.token, other_tag.token, short.token, issued.token[:-1], "x", "a.b.c", "x" * 9000]
    answers = [await call(guarded, headers=[bearer(token)]) for token in tokens]
    answers += [await call(guarded, headers=[cookie(token)]) for token in tokens]
    answers += [await call(guarded, headers=twice)]
    for answer in answers:
        check_problem(answer, 401, "invalid_token")
        assert answer.header("www-authenticate") == 'Bearer realm="ductape", error="invalid_token"'
    assert len({answer.body for answer in answers}) == 1
    assert len({tuple(answer.headers) for answer in answers}) == 1


async def test_a_head_request_is_refused_without_a_body(guarded: DuctapeMiddleware) -> None:
    answer = await call(guarded, method="HEAD")
    assert (answer.status, answer.body) == (401, b"")
    assert answer.header("content-type") == "application/problem+json"


@pytest.mark.parametrize("guard", [require_role("admin"), require_permission("orders:read")], ids=repr)
async def test_a_wrong_role_or_permission_is_403_insufficient_scope(
    sessions: Sessions, issued: IssuedSession, guard: Any
) -> None:
    middleware = DuctapeMiddleware(guard.wrap(App()), sessions=sessions, tag=TAG)
    answer = await call(middleware, headers=[bearer(issued.token)])
    check_problem(answer, 403, "access_denied")
    assert 'error="insufficient_scope"' in (answer.header("www-authenticate") or "")
    anonymous = await call(middleware)
    check_problem(anonymous, 401, "missing_token")


async def test_an_old_sign_in_is_a_step_up_challenge(sessions: Sessions, issued: IssuedSession, clock: Clock) -> None:
    middleware = DuctapeMiddleware(require_recent_auth(300).wrap(App()), sessions=sessions, tag=TAG)
    clock.advance(300)
    assert (await call(middleware, headers=[bearer(issued.token)])).status == 200
    clock.advance(1)
    answer = await call(middleware, headers=[bearer(issued.token)])
    check_problem(answer, 401, "step_up_required")
    challenge = answer.header("www-authenticate") or ""
    assert 'error="insufficient_user_authentication"' in challenge
    assert "max_age=" in challenge
    assert "300" in challenge


async def test_a_guard_without_a_session_answers_why_the_credential_was_refused(
    sessions: Sessions, issued: IssuedSession
) -> None:
    middleware = DuctapeMiddleware(require_role("user").wrap(App()), sessions=sessions, tag=TAG)
    assert (await call(middleware, headers=[bearer(issued.token)])).status == 200
    refused = await call(middleware, headers=[bearer("bad")])
    check_problem(refused, 401, "invalid_token")
    check_problem(await call(middleware), 401, "missing_token")


async def test_a_guard_without_middleware_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="DuctapeMiddleware\\(app"):
        await call(require_role("user").wrap(App()))


async def test_a_store_that_is_down_is_503_with_retry_after(
    guarded: DuctapeMiddleware, store: WatchedStore, issued: IssuedSession, clock: Clock
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    store.instead.update(verify=down, log_since=down)
    for credential in (bearer(issued.token), cookie(issued.token)):
        answer = await call(guarded, headers=[credential])
        check_problem(answer, 503, "store_unavailable")
        assert answer.header("retry-after") == "1"
        assert answer.header("www-authenticate") is None


async def test_a_cached_session_is_served_while_the_store_is_down_until_it_is_stale(
    guarded: DuctapeMiddleware, store: WatchedStore, issued: IssuedSession, clock: Clock
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    for _ in range(2):
        await call(guarded, headers=[bearer(issued.token)])
        await call(guarded, headers=[cookie(issued.token)])
    store.instead.update(verify=down, log_since=down)
    clock.advance(4.999)
    for credential in (bearer(issued.token), cookie(issued.token)):
        assert (await call(guarded, headers=[credential])).status == 200
    clock.advance(0.001)
    for credential in (bearer(issued.token), cookie(issued.token)):
        assert (await call(guarded, headers=[credential])).status == 503
    store.instead.clear()
    for credential in (bearer(issued.token), cookie(issued.token)):
        assert (await call(guarded, headers=[credential])).status == 200


async def test_anonymous_requests_are_untouched_by_a_store_that_is_down(
    sessions: Sessions, store: WatchedStore, issued: IssuedSession
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    store.instead.update(verify=down, log_since=down)
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
    before = store.calls.copy()
    assert (await call(middleware)).status == 200
    assert (await call(middleware, headers=[(b"authorization", b"Basic x"), (b"cookie", b"a=b")])).status == 200
    assert store.calls == before
    assert (await call(middleware, headers=[bearer(issued.token)])).status == 503


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MissingToken("x"), 401, "missing_token"),
        (InvalidToken("x"), 401, "invalid_token"),
        (RevokedSession("x"), 401, "invalid_token"),
        (AccessDenied("x"), 403, "access_denied"),
        (StepUpRequired(60), 401, "step_up_required"),
        (CsrfRejected("x"), 403, "csrf_rejected"),
        (SessionLimitReached("x"), 409, "session_limit_reached"),
        (DataTooLarge("x"), 413, "data_too_large"),
        (InvalidData("x"), 422, "invalid_data"),
        (StoreUnavailable("x"), 503, "store_unavailable"),
        (ConfigurationError("x"), 500, "configuration_error"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_each_error_has_a_stable_answer(
    sessions: Sessions, issued: IssuedSession, error: DuctapeError, status: int, code: str
) -> None:
    middleware = raising(sessions, error)
    for headers in ([], [bearer(issued.token)], [bearer(issued.token)]):
        check_problem(await call(middleware, headers=headers), status, code)


async def test_no_answer_tells_what_the_error_message_says(sessions: Sessions) -> None:
    for kind in (InvalidToken, InvalidData, ConfigurationError, StoreUnavailable, AccessDenied, DataTooLarge):
        answer = await call(raising(sessions, kind("a secret of the backend")))
        assert b"secret" not in answer.body
        assert all(b"secret" not in value for _, value in answer.headers)


async def test_a_page_of_status_500_of_the_app_is_sent_at_once_and_as_it_is(sessions: Sessions) -> None:
    """An app may answer 500 and then wait for the client to go, or work on in the background."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"sorry"})
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]

    answer = await call(DuctapeMiddleware(_recording(app, sent), sessions=sessions, tag=TAG))
    assert (answer.status, answer.body) == (500, b"sorry")


async def test_a_denial_that_the_app_dealt_with_does_not_hide_what_fails_afterwards(sessions: Sessions) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with suppress(DuctapeError):
            await require_role("admin").wrap(App())(scope, receive, send)
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"a bug"})
        raise ZeroDivisionError

    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    async def no_body() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    with pytest.raises(ZeroDivisionError):
        await middleware(scope_of(), no_body, keep)
    assert [message.get("status", message.get("body")) for message in sent] == [500, b"a bug"]


def _recording(app: Any, sent: list[Any]) -> Any:
    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            await send(message)
            sent.append(message)

        await app(scope, receive, sending)

    return recorded


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (InvalidData("whose session is it?"), [("WARNING", "invalid_data: whose session is it?")]),
        (DataTooLarge("take 9 bytes out"), [("WARNING", "data_too_large: take 9 bytes out")]),
        (ConfigurationError("give a key"), [("ERROR", "configuration_error: give a key")]),
    ],
    ids=lambda value: value.code if isinstance(value, DuctapeError) else "",
)
async def test_what_a_client_is_not_told_stands_in_the_log(
    sessions: Sessions, error: DuctapeError, logged: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    answer = await call(raising(sessions, error))
    assert str(error).encode() not in answer.body
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == logged


# What an app may write as the headers of its response.

TYPE = (b"content-type", b"text/plain; charset=utf-8")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
SPELLED: dict[str, Any] = {
    "a list": lambda first: [first, (b"x-a", b"1")],
    "a tuple": lambda first: (first, (b"x-a", b"1")),
    "lists of lists": lambda first: [list(first), [b"x-a", b"1"]],
    "to be read once": lambda first: iter([first, (b"x-a", b"1")]),
    "another one first": lambda first: iter([(b"x-a", b"1"), first]),
}


def answering_with(sessions: Sessions, start: Any) -> DuctapeMiddleware:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200} | start())
        await send({"type": "http.response.body", "body": b"ok"})

    return DuctapeMiddleware(app, sessions=sessions, tag=TAG)


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED)
async def test_headers_arrive_whole_however_they_are_spelled(
    sessions: Sessions, issued: IssuedSession, spelled: Any
) -> None:
    app = answering_with(sessions, lambda: {"headers": spelled(TYPE)})
    for _ in range(3):  # a miss, and hits
        answer = await call(app, headers=[bearer(issued.token)])
        assert sorted(map(tuple, answer.headers)) == [TYPE, (b"x-a", b"1")]
        assert answer.body == b"ok"


@pytest.mark.parametrize("start", [{}, {"headers": []}, {"headers": ()}, {"headers": None}], ids=str)
async def test_a_response_without_headers_arrives(sessions: Sessions, issued: IssuedSession, start: Any) -> None:
    app, sent = answering_with(sessions, lambda: start), []

    async def send(message: Any) -> None:
        sent.append(message)

    for _ in range(3):
        await app(scope_of(headers=[bearer(issued.token)]), None, send)
    assert sent == 3 * [
        {"type": "http.response.start", "status": 200, **start},
        {"type": "http.response.body", "body": b"ok"},
    ]


EARLY: dict[str, Any] = {
    "early_hint": {"links": [b"</a.css>; rel=preload"]},
    "push": {"path": "/a.css", "headers": [(b"accept", b"*/*")]},
    "debug": {"info": {}},
}


@pytest.mark.parametrize("early", EARLY)
async def test_what_goes_before_a_response_does_not_start_it(
    sessions: Sessions, issued: IssuedSession, early: str
) -> None:
    """Extensions of ASGI: an error is answered after it, and an event stream ends with its session."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": f"http.response.{early}", **EARLY[early]})
        raise AccessDenied("x")

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": f"http.response.{early}", **EARLY[early]})
        await send({"type": "http.response.start", "status": 200, "headers": [EVENTS]})
        await sessions.revoke(tag=TAG, session_id=issued.session_id)
        with anyio.fail_after(10), suppress(DuctapeError):
            while True:
                await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})
                await anyio.sleep(0.01)

    app = DuctapeMiddleware(failing, sessions=sessions, tag=TAG)
    for _ in range(2):  # a miss, and a hit
        await app(scope_of(headers=[bearer(issued.token)]), None, send)
    assert [message.get("status") for message in sent] == 2 * [None, 403, None]
    sent.clear()
    await DuctapeMiddleware(streaming, sessions=sessions, tag=TAG)(scope_of(headers=[bearer(issued.token)]), None, send)
    assert [message["type"] for message in sent[:2]] == [f"http.response.{early}", "http.response.start"]
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED)
async def test_an_event_stream_is_known_however_its_headers_are_spelled(
    sessions: Sessions, issued: IssuedSession, spelled: Any
) -> None:
    """It ends with its session: what is sent afterwards goes nowhere, and the app is told."""
    told: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": spelled(EVENTS)})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await sessions.revoke(tag=TAG, session_id=scope["ductape.session"].session_id)
        try:
            with anyio.fail_after(10):
                while True:
                    await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})
                    await anyio.sleep(0.01)
        except DuctapeError as error:
            told.append(error)
            raise

    answer = await call(DuctapeMiddleware(app, sessions=sessions, tag=TAG), headers=[bearer(issued.token)])
    assert answer.body.startswith(b"data: 1\n\n")
    assert sorted(map(tuple, answer.headers)) == [EVENTS, (b"x-a", b"1")]
    assert [isinstance(error, OSError) for error in told] == [True]
