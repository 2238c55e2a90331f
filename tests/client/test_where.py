"""Where tokens go, and where they never show."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ductape_asgi import ConfigurationError, InvalidData
from ductape_asgi.client import RefreshFailed, SessionAuth, SessionOver, SessionTokens
from tests.sessions.support import Clock

from .conftest import Connect
from .support import REFRESH, TAG, App, wire

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/me",
        "https://api.app.test/me",
        "https://app.test.evil.test/me",
        "https://app.test:8443/me",
        "http://app.test/me",
        "https://app.test@evil.test/me",
    ],
)
async def test_another_origin_gets_no_token(connect: Connect, app: App, clock: Clock, url: str) -> None:
    client, auth = await connect()
    clock.advance(2000)
    assert (await client.get(url)).status_code == 401
    secret = auth.tokens.token
    assert [secret in (one.authorization or "") for one in app.asked] == [False]


@pytest.mark.parametrize("url", ["https://APP.test:443/me", "https://app.test/deep/path?query", "/me"])
async def test_the_same_origin_gets_it_however_it_is_written(connect: Connect, url: str) -> None:
    client, _ = await connect()
    assert (await client.get(url)).status_code == 200


async def test_only_origins_that_were_named_get_it(connect: Connect, app: App) -> None:
    client, _ = await connect(origins=["https://api.test", "http://localhost:8000"])
    for url, status in (
        ("https://api.test/me", 200),
        ("http://localhost:8000/me", 200),
        ("https://localhost:8000/me", 401),
        ("http://localhost/me", 401),
        ("https://app.test/me", 401),
    ):
        assert (await client.get(url)).status_code == status, url


@pytest.mark.parametrize("place", ["evil.test", "app.test:8443", "api.app.test"])
async def test_a_redirect_elsewhere_takes_no_token_along(connect: Connect, app: App, place: str) -> None:
    client, auth = await connect()
    answer = await client.get(f"/to/{place}")
    assert answer.status_code == 401
    first, second = app.asked
    assert first.authorization == f"Bearer {auth.tokens.token}"
    assert (second.url, second.authorization) == (f"{place}/landed", None)


async def test_a_refusal_from_elsewhere_makes_no_refresh(connect: Connect, app: App) -> None:
    client, _ = await connect()
    await client.get("/to/evil.test")
    await client.get("https://evil.test/landed")
    assert not app.refreshes


async def test_a_refresh_follows_no_redirect(connect: Connect, app: App, clock: Clock) -> None:
    client, _ = await connect()
    clock.advance(2000)
    app.instead = lambda: (307, b"")
    with pytest.raises(RefreshFailed):
        await client.get("/me")
    assert [one.host for one in app.asked] == ["app.test"]


async def test_an_authorization_of_another_kind_is_left_alone_elsewhere(connect: Connect, app: App) -> None:
    client, _ = await connect()
    await client.get("https://evil.test/me", headers={"Authorization": "Basic YTpi"})
    assert app.asked[0].authorization == "Basic YTpi"


def secrets_of(tokens: SessionTokens) -> tuple[str, ...]:
    # The signature and the tail: a part of a token would be as bad.
    return tokens.token.rpartition(".")[2], (tokens.refresh_token or "?")[-20:]


async def test_no_token_shows_in_repr_errors_or_logs(
    connect: Connect, app: App, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client, auth = await connect()
    seen, texts = set[str](), list[str]()

    def look() -> None:
        if auth.tokens is not None:
            seen.update(secrets_of(auth.tokens))
            texts.append(repr(auth.tokens))
        texts.extend([repr(auth), str(auth), repr(client.auth)])

    look()
    clock.advance(2000)
    answer = await client.get("/me")
    texts.append(repr(answer.history))
    look()
    clock.advance(2000)
    app.instead = lambda: (200, json.dumps({"token": "x", "refreshToken": "\n"}).encode())
    with pytest.raises(RefreshFailed) as failed:
        await client.get("/me")
    app.instead = None
    await app.sessions.revoke(tag=TAG, session_id=auth.tokens.session_id)
    with pytest.raises(SessionOver) as over:
        await client.get("/me")
    look()
    for error in (failed.value, over.value):
        while error is not None:
            texts += [repr(error), str(error), repr(vars(error))]
            error = error.__cause__
    texts += [record.getMessage() for record in caplog.records]
    assert len(seen) == 4
    assert any("HTTP Request" in text for text in texts), "the libraries log nothing: this test shows nothing"
    assert not [text for text in texts if any(secret in text for secret in seen)]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"refresh_url": "/auth/refresh"}, "refresh_url"),
        ({"refresh_url": "ftp://app.test/"}, "refresh_url"),
        ({"refresh_url": "https:///auth/refresh"}, "refresh_url"),
        ({"refresh_url": "https://app.test:port/"}, "refresh_url"),
        ({"refresh_url": None}, "refresh_url"),
        ({"refresh_url": "https://ann:secret@app.test/auth/refresh"}, "user"),
        ({"origins": "https://app.test"}, "list"),
        ({"origins": ["app.test"]}, "origins"),
        ({"origins": ["https://app.test/api"]}, "path"),
        ({"origins": [7]}, "origins"),
        ({"on_change": "save"}, "on_change"),
        ({"client": "client"}, "client"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as refused:
        SessionAuth(**{"refresh_url": REFRESH, **options})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("given", [7, "token", [], {}, {"token": ""}, {"token": "a b"}])
def test_tokens_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(InvalidData):
        SessionAuth(given, refresh_url=REFRESH)
    with pytest.raises(InvalidData):
        SessionAuth(refresh_url=REFRESH).set_tokens(given)


async def test_tokens_go_to_json_and_back(start: Any) -> None:
    issued = await start()
    tokens = SessionTokens.from_json(wire(issued))
    assert SessionTokens.from_json(json.loads(json.dumps(tokens.to_json()))) == tokens
    assert SessionAuth(issued, refresh_url=REFRESH).tokens == tokens
    assert SessionAuth(tokens, refresh_url=REFRESH).tokens == tokens


async def test_a_client_of_the_other_kind_cannot_refresh(
    connect: Connect, library: Any, clock: Clock, app: App
) -> None:
    with library.Client() as sync_client:
        client, _ = await connect(client=sync_client)
        clock.advance(2000)
        with pytest.raises(ConfigurationError, match="AsyncClient"):
            await client.get("/me")
    assert not app.asked
