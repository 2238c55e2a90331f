"""Both libraries, an app, and a session on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import httpx2
import pytest

from ductape_asgi import IssuedSession, Sessions, new_access_key
from ductape_asgi.client import SessionAuth, SessionTokens
from tests.sessions.support import Clock

from .support import HOME, REFRESH, TAG, App, wire

Connect = Callable[..., Awaitable[tuple[Any, SessionAuth]]]


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> App:
    return App(Sessions(access_key=new_access_key(), product="shop", env="test", store="memory://", clock=clock))


@pytest.fixture
def start(app: App) -> Callable[..., Awaitable[IssuedSession]]:
    async def started(**options: Any) -> IssuedSession:
        return await app.sessions.start(tag=TAG, data={"userId": "ann"}, **options)

    return started


@pytest.fixture
def kept() -> list[SessionTokens | None]:
    """What `on_change` was told."""
    return []


@pytest.fixture
async def connect(
    library: Any, app: App, clock: Clock, kept: list[Any], start: Callable[..., Awaitable[IssuedSession]]
) -> AsyncIterator[Connect]:
    """A client with a session of its own, and its auth; options as `SessionAuth` takes them."""
    async with AsyncExitStack() as stack:

        async def connected(*, expires_in: int = 900, **options: Any) -> tuple[Any, SessionAuth]:
            transport = library.ASGITransport(app=app)
            client = library.AsyncClient(transport=transport, base_url=HOME, follow_redirects=True)
            await stack.enter_async_context(client)
            given = {"refresh_url": REFRESH, "on_change": kept.append, "client": client, "clock": clock, **options}
            if "tokens" not in given:
                given["tokens"] = wire(await start(expires_in=expires_in))
            client.auth = auth = SessionAuth(**given)
            return client, auth

        yield connected
        await app.sessions.__aexit__()
