"""Group W: WebSockets under attack, at the middleware and at `session_routes`."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import DuctapeMiddleware
from tests.asgi_client import App, call, cookie, handshake
from tests.live_client import socket
from tests.routes.support import CROSS, OWN, TAG, Header, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def mode() -> str:
    return "cookie"


@pytest.fixture
async def token(world: World) -> str:
    return (await world.sessions.start(tag=TAG, data={"userId": "ann"})).token


ORIGINS: dict[str, list[Header]] = {
    "W1-no-origin": [],
    "W1-null": [(b"origin", b"null")],
    "W1-other": [(b"origin", b"https://evil.example")],
    "W1-suffix": [(b"origin", b"https://shop.test.evil")],
    "W1-http": [(b"origin", b"http://shop.test")],
    "W1-cross-site": [CROSS, (b"origin", b"https://evil.example")],
    "W1-same-site": [(b"sec-fetch-site", b"same-site")],
    "W1-two": [(b"origin", b"https://shop.test"), (b"origin", b"https://evil.example")],
}


@pytest.mark.parametrize("headers", ORIGINS.values(), ids=ORIGINS)
@pytest.mark.parametrize("denial", [True, False])
async def test_w1_another_site_opens_no_socket_with_our_cookie(
    world: World, token: str, headers: list[Header], denial: bool
) -> None:
    app = App()
    middleware = DuctapeMiddleware(app, sessions=world.sessions, tag=TAG)
    shaken = await handshake(middleware, headers=[cookie(token), *headers], denial=denial)
    assert app.scopes == []
    assert not shaken.accepted
    first = shaken.messages[0]
    if denial:
        assert (first["type"], first["status"]) == ("websocket.http.response.start", 403)
    else:
        assert (first["type"], first["code"]) == ("websocket.close", 4403)


async def test_w1_the_routes_open_no_socket_at_all(world: World, token: str) -> None:
    for path in ("/session", "/ticket", "/login", "/nothing"):
        shaken = await handshake(world.routes(), path=path, headers=[cookie(token), OWN])
        assert (shaken.messages[0]["type"], shaken.messages[0]["status"]) == ("websocket.http.response.start", 404)


async def test_w2_a_token_among_the_subprotocols_is_not_looked_at(
    world: World, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    app = App()
    middleware = DuctapeMiddleware(app, sessions=world.sessions, tag=TAG, required=True)
    for protocols in ([token], ["bearer", token], [f"bearer.{token}"]):
        headers = [OWN, (b"sec-websocket-protocol", ", ".join(protocols).encode())]
        shaken = await handshake(middleware, headers=headers, subprotocols=protocols)
        assert not shaken.accepted
    assert app.scopes == []
    assert token not in caplog.text


@pytest.mark.parametrize("end", ["revoked", "over"])
async def test_w3_an_open_socket_ends_with_its_session(world: World, token: str, end: str) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    app = DuctapeMiddleware(echo, sessions=world.sessions, tag=TAG, required=True)
    async with socket(app, headers=[cookie(token), OWN]) as line:
        assert line.codes == []
        session = await world.sessions.verify(tag=TAG, token=token)
        if end == "revoked":
            phone = world.person()
            await phone.sign_in()
            answer = await phone.send("DELETE", f"/sessions/{session.session_id}")
            assert answer.status == 204
        else:
            await world.sessions.revoke_all(tag=TAG, identifier="ann")
        await line.until(lambda: line.codes)
        assert line.codes == [4401]


@pytest.mark.parametrize("kind", ["mqtt", "websocket.v2", "HTTP", ""])
async def test_w4_a_scope_of_another_kind_goes_through_untouched(world: World, kind: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": kind}
    await DuctapeMiddleware(app, sessions=world.sessions, tag=TAG, required=True)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": kind}]
    assert seen[0] is scope


@pytest.mark.parametrize("headers", [[], [CROSS]], ids=["W5-silent", "W5-cross-site"])
async def test_w5_a_post_that_asks_for_an_upgrade_is_still_a_post(
    world: World, token: str, headers: list[Header]
) -> None:
    upgrade = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    app = App()
    middleware = DuctapeMiddleware(app, sessions=world.sessions, tag=TAG)
    answer = await call(middleware, method="POST", headers=[cookie(token), *upgrade, *headers])
    assert (answer.status, answer.json()["code"]) == (403, "csrf_rejected")
    assert app.scopes == []
    answer = await call(world.routes(), method="POST", path="/logout", headers=[cookie(token), *upgrade, *headers])
    assert (answer.status, answer.json()["code"]) == (403, "csrf_rejected")
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 1
