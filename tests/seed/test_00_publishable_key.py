"""The page's opening: a publishable key has no session methods, and a request must bring its session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from ductape_asgi import BodyField, DuctapeMiddleware, IssuedSession, PublishableKeyError, Sessions

from .browser import Clock

pytestmark = pytest.mark.anyio

VERBS: dict[str, Callable[[Sessions], Awaitable[object]]] = {
    "start": lambda frontend: frontend.start(tag="user-session", data={"userId": "user-123"}),
    "verify": lambda frontend: frontend.verify(tag="user-session", token="a.b.c"),
    "refresh": lambda frontend: frontend.refresh(tag="user-session", refresh_token="drt_x"),
    "revoke": lambda frontend: frontend.revoke(tag="user-session", session_id="x" * 22),
    "revoke_all": lambda frontend: frontend.revoke_all(tag="user-session", identifier="user-123"),
    "list": lambda frontend: frontend.list(tag="user-session", identifier="user-123"),
    "update": lambda frontend: frontend.update(tag="user-session", identifier="user-123", data={"userId": "user-123"}),
}


@pytest.fixture
async def frontend(sessions: Sessions, clock: Clock) -> AsyncIterator[Sessions]:
    async with Sessions(publishable_key=sessions.keyring.publishable(), clock=clock) as holder:
        yield holder


@pytest.fixture
async def session(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag="user-session", data={"userId": "user-123"})


@pytest.mark.parametrize("verb", VERBS)
async def test_with_a_publishable_key_session_methods_raise(frontend: Sessions, verb: str) -> None:
    with pytest.raises(PublishableKeyError):
        await VERBS[verb](frontend)


async def test_with_a_publishable_key_a_token_can_be_inspected(frontend: Sessions, session: IssuedSession) -> None:
    claims = await frontend.inspect(token=session.token)

    assert claims.session_id == session.session_id
    assert claims.tag == "user-session"
    assert claims.expires_at == session.expires_at
    assert not hasattr(claims, "data")


class Database:
    """The app behind the proxy: answers a query with the user it runs for."""

    def __init__(self) -> None:
        self.queries: list[bytes] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.queries.append((await receive())["body"])
        user = scope["ductape.session"].identifier.encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": user})


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def proxy(database: Database, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    """Takes the session from the `session` property of the request, as the page has it, and demands one."""
    app = DuctapeMiddleware(
        database, sessions=sessions, tag="user-session", required=True, credentials=(BodyField("session"),)
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://api.test") as client:
        yield client


async def test_a_request_with_the_session_property_reaches_the_database(
    proxy: httpx.AsyncClient, database: Database, session: IssuedSession
) -> None:
    query = {"table": "x", "session": session.token}

    answer = await proxy.post("/query", json=query)

    assert (answer.status_code, answer.text) == (200, "user-123")
    assert len(database.queries) == 1


async def test_the_proxy_rejects_a_request_that_omits_its_session(
    proxy: httpx.AsyncClient, database: Database, session: IssuedSession
) -> None:
    answer = await proxy.post("/query", json={"table": "x"})

    assert answer.status_code == 401
    assert database.queries == []


async def test_a_publishable_key_is_not_enough(
    proxy: httpx.AsyncClient, database: Database, sessions: Sessions, session: IssuedSession
) -> None:
    key = sessions.keyring.publishable()

    answer = await proxy.post("/query", json={"table": "x", "session": key}, headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_token"
    assert database.queries == []
