"""Where a token may stand, which one wins, and what is never taken for one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ductape_asgi import (
    Bearer,
    BodyField,
    Cookie,
    CookiePolicy,
    DuctapeMiddleware,
    Header,
    InvalidToken,
    IssuedSession,
    Sessions,
    new_access_key,
)
from tests.asgi_client import Answer, App, bearer, call, cookie, scope_of
from tests.sessions.support import ANN, TAG

pytestmark = pytest.mark.anyio

KEY = new_access_key()
ALL = (Bearer(), Header("x-session"), BodyField("session"), Cookie())
JSON = (b"content-type", b"application/json")


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    async with Sessions(access_key=KEY, product="shop", env="prd", store="memory://") as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data=ANN)


@pytest.fixture
async def other(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={"userId": "bob"})


@pytest.fixture
def middleware(sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(App(), sessions=sessions, tag=TAG)


@pytest.fixture
def inspecting(sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(App(reads=True), sessions=sessions, tag=TAG, credentials=ALL)


def who(answer: Answer) -> str | None:
    return answer.session.identifier if answer.session else None


# Bearer and cookie.


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER ", b"bEaReR "])
async def test_the_bearer_scheme_is_read_in_any_case(
    middleware: DuctapeMiddleware, issued: IssuedSession, scheme: bytes
) -> None:
    for _ in range(3):
        assert who(await call(middleware, headers=[(b"authorization", scheme + issued.token.encode())])) == "ann"


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer  %s",
        b"Bearer %s ",
        b"Bearer\t%s",
        b"Bearer:%s",
        b"Bearer,%s",
        b"Bearer\xff%s",
        b"Bearer %s,x",
        b'Bearer "%s"',
        b"Bearer \xff",
    ],
)
async def test_a_bearer_that_is_not_exactly_one_token_is_no_session(
    middleware: DuctapeMiddleware, issued: IssuedSession, value: bytes
) -> None:
    await call(middleware, headers=[bearer(issued.token)])
    value = value.replace(b"%s", issued.token.encode())
    assert who(await call(middleware, headers=[(b"authorization", value)])) is None


async def test_bearer_wins_over_the_cookie(
    middleware: DuctapeMiddleware, issued: IssuedSession, other: IssuedSession
) -> None:
    for _ in range(3):
        for headers in ([bearer(issued.token), cookie(other.token)], [cookie(other.token), bearer(issued.token)]):
            assert who(await call(middleware, headers=headers)) == "ann"


async def test_a_bad_bearer_never_falls_back_to_the_cookie(
    middleware: DuctapeMiddleware, issued: IssuedSession
) -> None:
    for _ in range(3):
        await call(middleware, headers=[cookie(issued.token)])
        for bad in (b"Bearer x", b"Bearer ", b"Bearer", b"Bearer\tx", b"Bearer,x", b"Bearer \xff", b"Bearer\xff"):
            answer = await call(middleware, headers=[(b"authorization", bad), cookie(issued.token)])
            assert answer.session is None
            assert answer.error is not None


async def test_the_order_given_does_not_put_the_cookie_before_a_header(
    sessions: Sessions, issued: IssuedSession, other: IssuedSession
) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, credentials=[Cookie(), Bearer()])
    for _ in range(3):
        assert who(await call(middleware, headers=[cookie(other.token), bearer(issued.token)])) == "ann"


@pytest.mark.parametrize("first", [b"Bearer %s", b"Basic abc", b""])
async def test_two_authorization_headers_are_refused(
    middleware: DuctapeMiddleware, issued: IssuedSession, first: bytes
) -> None:
    for _ in range(2):
        await call(middleware, headers=[bearer(issued.token)])
        pair = [(b"authorization", first.replace(b"%s", issued.token.encode())), bearer(issued.token)]
        for headers in (pair, pair[::-1]):
            answer = await call(middleware, headers=headers)
            assert answer.session is None
            assert isinstance(answer.error, InvalidToken)


@pytest.mark.parametrize("shape", ["one header", "two headers", "same twice", "quoted twin"])
async def test_two_cookies_of_our_name_are_refused(
    middleware: DuctapeMiddleware, issued: IssuedSession, other: IssuedSession, shape: str
) -> None:
    ours, theirs = cookie(issued.token)[1], cookie(other.token)[1]
    for _ in range(2):
        await call(middleware, headers=[cookie(issued.token)])
        lines = {
            "one header": [ours + b"; " + theirs],
            "two headers": [ours, theirs],
            "same twice": [ours + b"; " + ours],
            "quoted twin": [ours + b'; __Host-ductape="x"'],
        }[shape]
        answer = await call(middleware, headers=[(b"cookie", line) for line in lines])
        assert answer.session is None
        assert isinstance(answer.error, InvalidToken)


async def test_our_cookie_is_found_among_others_and_over_several_headers(
    middleware: DuctapeMiddleware, issued: IssuedSession
) -> None:
    ours = cookie(issued.token)[1]
    for _ in range(3):
        for lines in (
            [b"a=b; " + ours],
            [ours + b"; a=b"],
            [b"a=b", ours, b"c=d"],
            [b"a=b;" + ours + b";c"],
            [b'odd="; ; =x; \xff=\xfe; ' + ours],
            [b"__Host-ductape-refresh=drt_x; " + ours],
        ):
            assert who(await call(middleware, headers=[(b"cookie", line) for line in lines])) == "ann"


@pytest.mark.parametrize(
    "name",
    ["__host-ductape", "__HOST-DUCTAPE", "ductape", "__Secure-ductape", "__Host-ductape-refresh", "x__Host-ductape"],
)
async def test_a_cookie_of_another_name_is_not_ours(
    middleware: DuctapeMiddleware, issued: IssuedSession, name: str
) -> None:
    for _ in range(2):
        answer = await call(middleware, headers=[cookie(issued.token, name)])
        assert (answer.session, answer.error) == (None, None)


@pytest.mark.parametrize(
    "authorization",
    [
        b"Basic dXNlcjpwYXNz",
        b"Negotiate x",
        b"Digest a=b",
        b"Bearerish x",
        b"Bearer-X abc",
        b"Bearer_x abc",
        b"bearer.2 abc",
        b"Bearer~ abc",
        b"Bearer!",
        b"",
        b"x",
    ],
)
async def test_another_scheme_is_left_alone(
    middleware: DuctapeMiddleware, issued: IssuedSession, authorization: bytes
) -> None:
    for _ in range(3):
        alone = await call(middleware, headers=[(b"authorization", authorization)])
        assert (alone.status, alone.session, alone.error) == (200, None, None)
        beside = await call(middleware, headers=[(b"authorization", authorization), cookie(issued.token)])
        assert who(beside) == "ann"


async def test_tokens_in_urls_are_never_accepted(inspecting: DuctapeMiddleware, issued: IssuedSession) -> None:
    token = issued.token.encode()
    for name in (b"token", b"access_token", b"session", b"x-session", b"authorization", b"__Host-ductape"):
        answer = await call(inspecting, query=name + b"=" + token)
        assert (answer.session, answer.error) == (None, None)
    assert (await call(inspecting, path=f"/{issued.token}")).session is None


async def test_a_refresh_token_is_no_access_token(middleware: DuctapeMiddleware, issued: IssuedSession) -> None:
    token = str(issued.refresh_token)
    for header in (bearer(token), cookie(token)):
        assert isinstance((await call(middleware, headers=[header])).error, InvalidToken)


async def test_without_cookies_no_cookie_is_read(issued: IssuedSession) -> None:
    async with Sessions(access_key=KEY, product="shop", env="prd", store="memory://", cookies=None) as sessions:
        middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
        for _ in range(2):
            answer = await call(middleware, headers=[cookie(issued.token)])
            assert (answer.session, answer.error) == (None, None)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (CookiePolicy(name="sid"), "__Host-sid"),
        (CookiePolicy(domain="shop.test"), "__Secure-ductape"),
        (CookiePolicy(secure=False), "ductape"),
    ],
)
async def test_the_cookie_has_the_policys_name(policy: CookiePolicy, name: str) -> None:
    async with Sessions(access_key=KEY, product="shop", env="prd", store="memory://", cookies=policy) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
        for _ in range(2):
            assert who(await call(middleware, headers=[cookie(issued.token, name)])) == "ann"
            assert (await call(middleware, headers=[cookie(issued.token, "other")])).session is None


async def test_credentials_may_be_bearer_alone(sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, credentials=[Bearer()])
    both = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
    for _ in range(3):
        assert who(await call(both, headers=[cookie(issued.token)])) == "ann"
        assert who(await call(middleware, headers=[cookie(issued.token)])) is None
        assert who(await call(middleware, headers=[bearer(issued.token)])) == "ann"


async def test_credentials_may_be_the_cookie_alone(sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, credentials=[Cookie()])
    for _ in range(3):
        assert who(await call(middleware, headers=[cookie(issued.token)])) == "ann"
        assert who(await call(middleware, headers=[bearer(issued.token)])) is None


# Header.


async def test_a_header_of_ones_own_holds_the_token(
    inspecting: DuctapeMiddleware, issued: IssuedSession, other: IssuedSession
) -> None:
    token = issued.token.encode()
    for _ in range(3):
        assert who(await call(inspecting, headers=[(b"x-session", token)])) == "ann"
        assert who(await call(inspecting, headers=[(b"x-session", token), bearer(other.token)])) == "bob"
        assert who(await call(inspecting, headers=[(b"x-session", token), cookie(other.token)])) == "ann"
        assert who(await call(inspecting, headers=[(b"x-session", b"Bearer " + token)])) is None


async def test_two_of_a_header_or_one_that_is_not_ascii_are_refused(
    inspecting: DuctapeMiddleware, issued: IssuedSession
) -> None:
    token = issued.token.encode()
    for headers in ([(b"x-session", token)] * 2, [(b"x-session", b"\xff")]):
        answer = await call(inspecting, headers=headers)
        assert answer.session is None
        assert isinstance(answer.error, InvalidToken)


# BodyField.


def body_of(token: object) -> bytes:
    return json.dumps({"a": 1, "session": token, "b": [2]}).encode()


async def test_a_body_field_holds_the_token_and_the_body_is_replayed_untouched(
    inspecting: DuctapeMiddleware, issued: IssuedSession
) -> None:
    body = body_of(issued.token)
    for _ in range(3):
        assert who(await call(inspecting, method="POST", headers=[JSON], body=body)) == "ann"
    app: Any = inspecting.app
    assert app.bodies == [[{"type": "http.request", "body": body, "more_body": False}]] * 3


async def test_a_chunked_body_is_replayed_in_one_piece(inspecting: DuctapeMiddleware, issued: IssuedSession) -> None:
    body = body_of(issued.token)
    chunks = [body[:1], b"", body[1:50], body[50:], b""]
    assert who(await call(inspecting, method="POST", headers=[JSON], body=chunks)) == "ann"
    app: Any = inspecting.app
    assert app.bodies == [[{"type": "http.request", "body": body, "more_body": False}]]


async def test_empty_messages_take_no_memory(sessions: Sessions) -> None:
    """300 000 empty DATA frames of HTTP/2 are a body of no bytes."""
    sent = 0
    most_alive = 0

    class Message(dict[str, Any]):
        """One that can be counted."""

        alive = 0

        def __init__(self, **members: Any) -> None:
            super().__init__(members)
            Message.alive += 1

        def __del__(self) -> None:
            Message.alive -= 1

    async def receive() -> Any:
        nonlocal sent, most_alive
        sent += 1
        message = Message(type="http.request", body=b"", more_body=sent < 2_000)
        most_alive = max(most_alive, Message.alive)
        return message

    async def send(message: Any) -> None:
        pass

    middleware = DuctapeMiddleware(App(reads=True), sessions=sessions, tag=TAG, credentials=[BodyField("session")])
    await middleware(scope_of(method="POST", headers=[JSON]), receive, send)
    assert sent == 2_000
    assert most_alive < 10


@pytest.mark.parametrize("more", [True, False])
async def test_a_body_too_large_to_inspect_says_whether_more_comes(sessions: Sessions, more: bool) -> None:
    app = App(reads=True)
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=[BodyField("session", limit=20)])
    chunks = [b"{" + b" " * 9, b" " * 11, *([b"", b" " * 5, b"}"] if more else [])]
    await call(middleware, method="POST", headers=[JSON], body=chunks)
    first, *rest = app.bodies[0]
    assert first == {"type": "http.request", "body": b"{" + b" " * 20, "more_body": more}
    assert [message["body"] for message in rest] == chunks[2:]


async def test_a_client_that_goes_before_any_byte_is_gone_for_the_app_too(sessions: Sessions) -> None:
    app = App(reads=True)
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=[BodyField("session")])
    inbox = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": True}]

    async def receive() -> dict[str, Any]:
        return inbox.pop()

    async def send(message: Any) -> None:
        pass

    await middleware(scope_of(method="POST", headers=[JSON]), receive, send)
    assert app.bodies == [[{"type": "http.disconnect"}]]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_too_large_to_inspect_is_no_session_and_still_replayed(
    sessions: Sessions, issued: IssuedSession, announced: bool
) -> None:
    app = App(reads=True)
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=[BodyField("session", limit=2000)])
    for size, expected in ((2000, "ann"), (2001, None), (100_000, None)):
        body = body_of(issued.token)
        body = body[:-1] + b" " * (size - len(body)) + body[-1:]
        chunks = [body[at : at + 300] for at in range(0, len(body), 300)]
        length = [(b"content-length", str(len(body)).encode())] if announced else []
        answer = await call(middleware, method="POST", headers=[JSON, *length], body=chunks)
        assert (who(answer), answer.error) == (expected, None)
        assert b"".join(message["body"] for message in app.bodies.pop()) == body


async def test_an_endless_body_is_read_no_further_than_the_limit(sessions: Sessions) -> None:
    read = 0

    async def endless() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def send(message: Any) -> None:
        pass

    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, credentials=[BodyField("session", limit=5000)])
    await middleware(scope_of(method="POST", headers=[JSON]), endless, send)
    assert read <= 6


@pytest.mark.parametrize(
    "kind",
    [b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/vnd.api+json", b"application/json ;x=y"],
)
async def test_json_has_several_content_types(
    inspecting: DuctapeMiddleware, issued: IssuedSession, kind: bytes
) -> None:
    headers = [(b"content-type", kind)]
    assert who(await call(inspecting, method="POST", headers=headers, body=body_of(issued.token))) == "ann"


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"", None]
)
async def test_other_bodies_are_not_looked_into(
    inspecting: DuctapeMiddleware, issued: IssuedSession, kind: bytes | None
) -> None:
    headers = [] if kind is None else [(b"content-type", kind)]
    answer = await call(inspecting, method="POST", headers=headers, body=body_of(issued.token))
    assert (answer.session, answer.error) == (None, None)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"7", b"{}", b'{"session": null}', b"\xff\xfe", b"[" * 50_000]
)
async def test_a_body_without_the_field_is_no_session_and_the_apps_to_judge(
    inspecting: DuctapeMiddleware, body: bytes
) -> None:
    answer = await call(inspecting, method="POST", headers=[JSON], body=body)
    assert (answer.status, answer.session, answer.error) == (200, None, None)
    app: Any = inspecting.app
    assert app.bodies[0][0]["body"] == body


@pytest.mark.parametrize("value", [7, True, ["x"], {"token": "x"}, 1.5])
async def test_a_field_that_is_no_text_is_refused(inspecting: DuctapeMiddleware, value: Any) -> None:
    answer = await call(inspecting, method="POST", headers=[JSON], body=body_of(value))
    assert isinstance(answer.error, InvalidToken)


async def test_a_field_that_stands_twice_is_refused(inspecting: DuctapeMiddleware, issued: IssuedSession) -> None:
    pair = f'"session": "{issued.token}"'
    answer = await call(inspecting, method="POST", headers=[JSON], body=f"{{{pair}, {pair}}}".encode())
    assert answer.session is None
    assert isinstance(answer.error, InvalidToken)


@pytest.mark.parametrize("body", [body_of(7), b'{"session": "a", "session": "b"}'])
async def test_the_app_gets_the_body_of_a_refused_field_too(inspecting: DuctapeMiddleware, body: bytes) -> None:
    await call(inspecting, method="POST", headers=[JSON], body=body)
    app: Any = inspecting.app
    assert app.bodies == [[{"type": "http.request", "body": body, "more_body": False}]]


async def test_a_nested_field_of_the_name_is_not_the_credential(
    inspecting: DuctapeMiddleware, issued: IssuedSession
) -> None:
    body = json.dumps({"inner": {"session": issued.token}}).encode()
    answer = await call(inspecting, method="POST", headers=[JSON], body=body)
    assert (answer.session, answer.error) == (None, None)


async def test_only_a_field_at_the_top_may_not_stand_twice(
    inspecting: DuctapeMiddleware, issued: IssuedSession
) -> None:
    twice = '{"session": 1, "session": {"session": 2, "session": 3}}'
    for body in (f'{{"a": {twice}, "session": "{issued.token}"}}', f'{{"session": "{issued.token}", "a": [{twice}]}}'):
        assert who(await call(inspecting, method="POST", headers=[JSON], body=body.encode())) == "ann"
    for body in (f"[{twice}]", f'{{"a": {twice}}}'):
        answer = await call(inspecting, method="POST", headers=[JSON], body=body.encode())
        assert (answer.session, answer.error) == (None, None)
    for body in (twice, f'{{"session": null, "a": {{}}, "session": "{issued.token}"}}', f'{{"session": {twice}}}'):
        answer = await call(inspecting, method="POST", headers=[JSON], body=body.encode())
        assert answer.session is None
        assert isinstance(answer.error, InvalidToken)


async def test_a_client_that_goes_in_mid_body_is_no_session(sessions: Sessions) -> None:
    app = App(reads=True)
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=[BodyField("session")])
    inbox = [{"type": "http.disconnect"}, {"type": "http.request", "body": b'{"sess', "more_body": True}]
    outbox: list[Any] = []

    async def receive() -> dict[str, Any]:
        return inbox.pop()

    async def send(message: Any) -> None:
        outbox.append(message)

    await middleware(scope_of(method="POST", headers=[JSON]), receive, send)
    assert app.bodies[0] == [
        {"type": "http.request", "body": b'{"sess', "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert outbox[0]["status"] == 200


async def test_where_a_header_came_the_body_is_not_touched(
    inspecting: DuctapeMiddleware, issued: IssuedSession, other: IssuedSession
) -> None:
    answer = await call(inspecting, method="POST", headers=[JSON, bearer(issued.token)], body=body_of(other.token))
    assert who(answer) == "ann"


async def test_the_body_goes_before_the_cookie(
    inspecting: DuctapeMiddleware, issued: IssuedSession, other: IssuedSession
) -> None:
    answer = await call(inspecting, method="POST", headers=[JSON, cookie(issued.token)], body=body_of(other.token))
    assert who(answer) == "bob"
