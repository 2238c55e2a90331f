"""Ann at her page, her other devices, and Bob who has nothing to do with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from ductape_asgi import ClientInfo, IssuedSession, Sessions, TagPolicy, new_access_key
from ductape_asgi.testing import AsyncVisitor
from tests.sessions.support import Clock

from .served import TAG, site

KEY = new_access_key()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sessions(clock: Clock) -> AsyncIterator[Sessions]:
    tags = [TagPolicy(TAG, anonymous=True)]
    async with Sessions(
        access_key=KEY, product="shop", env="prd", store="memory://", clock=clock, tags=tags
    ) as sessions:
        yield sessions


class Reader:
    """Somebody with a browser, at the page."""

    def __init__(self, client: httpx.AsyncClient, sessions: Sessions, page: str) -> None:
        self.client = client
        self.page = page
        self._visitor = AsyncVisitor(client, sessions, cookies=True)

    async def sign_in(self, identifier: str) -> IssuedSession:
        return await self._visitor.login(identifier=identifier, data={})

    async def look(self, query: str = "", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(self.page + query, headers=named)

    async def press(self, action: str, session_id: str | None = None, **headers: str) -> httpx.Response:
        """Send the form of a button."""
        form = {"action": action} | ({} if session_id is None else {"session_id": session_id})
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(self.page, data=form, headers=named)


@pytest.fixture
async def reader(sessions: Sessions) -> AsyncIterator[Callable[..., Any]]:
    """``await reader("ann", login_url="/login")``: signed in, at a page with these options; None: not signed in."""
    async with AsyncExitStack() as stack:

        async def new(identifier: str | None = "ann", *, at: str = "/auth", app: Any = None, **options: Any) -> Reader:
            served = app or site(sessions, at=at, **options)
            transport = httpx.ASGITransport(served)
            client = await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="https://shop.example")
            )
            reader = Reader(client, sessions, f"{at}/dashboard")
            if identifier is not None:
                await reader.sign_in(identifier)
            return reader

        yield new


@pytest.fixture
def sign_in_elsewhere(sessions: Sessions) -> Callable[..., Any]:
    """``await sign_in_elsewhere("ann", label="Firefox on Linux")``: on another device."""

    async def start(identifier: str, **client: Any) -> IssuedSession:
        return await sessions.start(tag=TAG, data={}, identifier=identifier, client=ClientInfo(**client))

    return start
