"""The CSRF rule: what a cookie authenticates must come from ourselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ductape_asgi import CsrfRejected, DuctapeMiddleware, IssuedSession, Sessions, new_access_key
from ductape_asgi.csrf import check_same_site, is_unsafe
from tests.asgi_client import App, bearer, call, cookie, handshake, scope_of
from tests.sessions.support import ANN, TAG

ALLOWED = frozenset({"https://app.example"})


def passes(site: str | None, origin: str | None, scheme: str = "https", host: str = "shop.test") -> bool:
    headers = [(b"host", host.encode())]
    headers += [] if site is None else [(b"sec-fetch-site", site.encode())]
    headers += [] if origin is None else [(b"origin", origin.encode())]
    try:
        check_same_site(scope_of(method="POST", scheme=scheme, headers=headers), ALLOWED)
    except CsrfRejected:
        return False
    return True


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("origin", [None, "https://shop.test", "https://evil.example", "null", "http://shop.test"])
@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_sec_fetch_site_of_our_own_pages_decides(site: str, origin: str | None, scheme: str) -> None:
    assert passes(site, origin, scheme)


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "", "https://shop.test.evil.example"])
@pytest.mark.parametrize("site", ["same-site", "cross-site", "", "Same-Origin", "same-origin, none", "x"])
def test_any_other_sec_fetch_site_needs_an_allowed_origin(site: str, origin: str | None) -> None:
    assert not passes(site, origin)
    assert passes(site, "https://app.example")


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "expected"),
    [
        ("https://shop.test", "https", "shop.test", True),
        ("https://shop.test", "https", "SHOP.test", True),
        ("https://shop.test:8443", "https", "shop.test:8443", True),
        ("http://localhost:8000", "http", "localhost:8000", True),
        ("http://127.0.0.1:8000", "http", "127.0.0.1:8000", True),
        ("http://[::1]:8000", "http", "[::1]:8000", True),
        ("https://shop.test", "http", "shop.test", True),  # a proxy ended TLS before us
        ("http://shop.test", "https", "shop.test", False),
        ("http://shop.test", "wss", "shop.test", False),
        ("https://shop.test", "wss", "shop.test", True),
        ("http://shop.test", "ws", "shop.test", True),
        ("https://shop.test:8443", "https", "shop.test", False),
        ("https://shop.test", "https", "shop.test:8443", False),
        ("https://sub.shop.test", "https", "shop.test", False),
        ("https://shop.test.evil.example", "https", "shop.test", False),
        ("https://evil.example", "https", "shop.test", False),
        ("https://shop.test/", "https", "shop.test", False),
        ("https://shop.test https://evil.example", "https", "shop.test", False),
        ("ftp://shop.test", "https", "shop.test", False),
        ("null", "https", "shop.test", False),
        ("", "https", "", False),
        ("https://", "https", "", False),
        ("null", "https", "null", False),
    ],
)
def test_without_sec_fetch_site_the_origin_must_be_our_host(
    origin: str, scheme: str, host: str, expected: bool
) -> None:
    assert passes(None, origin, scheme, host) is expected


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_allowed_origin_passes(scheme: str) -> None:
    assert passes(None, "https://app.example", scheme)
    assert not passes(None, "https://app.example:444", scheme)
    assert not passes(None, "http://app.example", scheme)


def test_who_does_not_say_where_it_comes_from_is_refused() -> None:
    assert not passes(None, None)


@pytest.mark.parametrize("name", [b"sec-fetch-site", b"origin", b"host"])
def test_a_header_that_stands_twice_is_refused(name: bytes) -> None:
    values = {b"sec-fetch-site": b"same-origin", b"origin": b"https://shop.test", b"host": b"shop.test"}
    headers = [*values.items(), (name, values[name])]
    if name != b"sec-fetch-site":  # which would decide before the others are asked
        headers = [pair for pair in headers if pair[0] != b"sec-fetch-site"]
    with pytest.raises(CsrfRejected):
        check_same_site(scope_of(method="POST", headers=headers), ALLOWED)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_safe_methods_change_nothing(method: str) -> None:
    assert not is_unsafe(scope_of(method=method))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "get", "BREW", ""])
def test_every_other_method_is_unsafe(method: str) -> None:
    assert is_unsafe(scope_of(method=method))


def test_a_websocket_handshake_is_unsafe() -> None:
    assert is_unsafe(scope_of("websocket"))


# Through the middleware.

OWN = (b"sec-fetch-site", b"same-origin")
CROSS = (b"sec-fetch-site", b"cross-site")


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://") as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data=ANN)


@pytest.mark.anyio
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("exempt", [(), ("/*",)])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_cross_site_request_with_our_cookie_never_reaches_the_app(
    sessions: Sessions, issued: IssuedSession, required: bool, exempt: tuple[str, ...], method: str
) -> None:
    app = App()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=required, exempt=exempt)
    for _ in range(2):
        for headers in (
            [CROSS],
            [],
            [(b"origin", b"https://evil.example")],
            [CROSS, (b"origin", b"https://evil.example")],
        ):
            answer = await call(middleware, method=method, headers=[cookie(issued.token), *headers])
            assert (answer.status, answer.json()["code"]) == (403, "csrf_rejected")
            assert answer.header("cache-control") == "no-store"
        assert app.scopes == []
        await call(middleware, method="GET", headers=[cookie(issued.token), CROSS])  # now it is a hit
        app.scopes.clear()


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_request_of_our_own_pages_passes(sessions: Sessions, issued: IssuedSession, method: str) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)
    for _ in range(3):
        for header in (OWN, (b"sec-fetch-site", b"none"), (b"origin", b"https://shop.test")):
            assert (await call(middleware, method=method, headers=[cookie(issued.token), header])).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_safe_requests_come_from_anywhere(sessions: Sessions, issued: IssuedSession, method: str) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)
    for _ in range(3):
        assert (await call(middleware, method=method, headers=[cookie(issued.token), CROSS])).status == 200


@pytest.mark.anyio
async def test_bearer_needs_none_of_this(sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)
    for _ in range(3):
        for headers in ([], [CROSS], [CROSS, cookie(issued.token)], [(b"origin", b"null")]):
            answer = await call(middleware, method="POST", headers=[bearer(issued.token), *headers])
            assert answer.status == 200


@pytest.mark.anyio
async def test_what_no_cookie_authenticated_is_not_under_the_rule(sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
    for headers in ([CROSS], [CROSS, cookie("bad")], [CROSS, cookie(issued.token, "other")]):
        assert (await call(middleware, method="POST", headers=headers)).status == 200


@pytest.mark.anyio
async def test_an_allowed_origin_may_send_our_cookie(sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, allowed_origins=["https://app.example"])
    for _ in range(2):
        for origin, status in ((b"https://app.example", 200), (b"https://evil.example", 403)):
            headers = [cookie(issued.token), CROSS, (b"origin", origin)]
            assert (await call(middleware, method="POST", headers=headers)).status == status


@pytest.mark.anyio
@pytest.mark.parametrize("denial", [True, False])
async def test_a_cross_site_handshake_with_our_cookie_is_denied(
    sessions: Sessions, issued: IssuedSession, denial: bool
) -> None:
    app = App()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    for headers in ([], [(b"origin", b"https://evil.example")], [CROSS]):
        shaken = await handshake(middleware, denial=denial, headers=[cookie(issued.token), *headers])
        assert not shaken.accepted
    assert app.scopes == []
    for header in ((b"origin", b"https://shop.test"), OWN):
        assert (await handshake(middleware, denial=denial, headers=[cookie(issued.token), header])).accepted
