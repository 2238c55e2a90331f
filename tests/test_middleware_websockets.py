"""WebSocket handshakes: verified like requests, and denied as the server can."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ductape_asgi import DuctapeMiddleware, IssuedSession, Sessions, StoreUnavailable, new_access_key, require_role
from ductape_asgi.stores.memory import MemoryStore
from tests.asgi_client import App, bearer, cookie, handshake
from tests.sessions.support import ANN, TAG, WatchedStore

pytestmark = pytest.mark.anyio

OWN = (b"origin", b"https://shop.test")


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(MemoryStore())


@pytest.fixture
async def sessions(store: Any) -> AsyncIterator[Sessions]:
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store=store) as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={**ANN, "role": "user"})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def guarded(app: App, sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True)


@pytest.mark.parametrize("credential", [bearer, cookie])
async def test_a_handshake_with_a_session_reaches_the_app(
    guarded: DuctapeMiddleware, issued: IssuedSession, credential: Any
) -> None:
    for _ in range(3):
        shaken = await handshake(guarded, headers=[credential(issued.token), OWN])
        assert shaken.accepted
        assert shaken.session.identifier == "ann"
        assert shaken.scope["state"]["session"] is shaken.session
        assert shaken.scope["user"].is_authenticated


async def test_without_required_an_anonymous_handshake_reaches_the_app(app: App, sessions: Sessions) -> None:
    shaken = await handshake(DuctapeMiddleware(app, sessions=sessions, tag=TAG))
    assert shaken.accepted
    assert shaken.session is None


@pytest.mark.parametrize("headers", [[], [bearer("bad")]])
async def test_a_denial_is_a_response_where_the_server_has_it(
    guarded: DuctapeMiddleware, app: App, headers: Any
) -> None:
    start, body = (await handshake(guarded, headers=headers)).messages
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 401
    names = dict(start["headers"])
    assert names[b"content-type"] == b"application/problem+json"
    assert names[b"cache-control"] == b"no-store"
    assert names[b"www-authenticate"].startswith(b"Bearer ")
    assert body["type"] == "websocket.http.response.body"
    assert json.loads(body["body"])["status"] == 401
    assert app.scopes == []


@pytest.mark.parametrize("extensions", [{}, None, {"other": {}}])
async def test_elsewhere_a_denial_closes_before_accepting(
    guarded: DuctapeMiddleware, app: App, extensions: Any
) -> None:
    (message,) = (await handshake(guarded, extensions=extensions)).messages
    assert message["type"] == "websocket.close"
    assert message["code"] == 4401
    assert app.scopes == []


@pytest.mark.parametrize(("denial", "expected"), [(True, 503), (False, 1013)])
async def test_a_store_that_is_down_is_try_again_later(
    guarded: DuctapeMiddleware, store: WatchedStore, issued: IssuedSession, denial: bool, expected: int
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    store.instead.update(verify=down, log_since=down)
    first = (await handshake(guarded, denial=denial, headers=[bearer(issued.token)])).messages[0]
    assert first["status" if denial else "code"] == expected


@pytest.mark.parametrize(("denial", "expected"), [(True, 403), (False, 4403)])
async def test_a_guard_around_the_app_denies_the_handshake(
    sessions: Sessions, issued: IssuedSession, denial: bool, expected: int
) -> None:
    middleware = DuctapeMiddleware(require_role("admin").wrap(App()), sessions=sessions, tag=TAG)
    first = (await handshake(middleware, denial=denial, headers=[bearer(issued.token)])).messages[0]
    assert first["status" if denial else "code"] == expected


@pytest.mark.parametrize("denial", [True, False])
async def test_an_error_of_ours_from_an_app_that_read_the_connect_denies_the_handshake(
    sessions: Sessions, denial: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        require_role("admin").check_scope(scope)

    shaken = await handshake(DuctapeMiddleware(app, sessions=sessions, tag=TAG), denial=denial)
    assert shaken.messages[0]["status" if denial else "code"] == (401 if denial else 4401)


async def test_an_exempt_path_takes_any_handshake(app: App, sessions: Sessions) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True, exempt=["/live/*"])
    assert (await handshake(middleware, path="/live/feed")).accepted
    assert not (await handshake(middleware, path="/other")).accepted


async def test_a_revoked_session_has_no_handshake(
    guarded: DuctapeMiddleware, sessions: Sessions, issued: IssuedSession
) -> None:
    assert (await handshake(guarded, headers=[bearer(issued.token)])).accepted
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    assert not (await handshake(guarded, headers=[bearer(issued.token)])).accepted
