"""`sessions.sync`: the verbs for ``def`` handlers, which servers run in their worker threads."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import anyio.to_thread
import litestar.testing
import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ductape_asgi import InvalidToken, IssuedSession, MissingToken, RevokedSession, Sessions, new_access_key

from .support import ANN, TAG

VERBS = ["start", "verify", "refresh", "revoke", "revoke_all", "list", "update", "inspect", "stats", "users", "user"]


def whole_life(sessions: Sessions) -> str:
    """Every verb, from a thread."""
    sync = sessions.sync
    issued = sync.start(tag=TAG, data=ANN)
    assert sync.inspect(token=issued.token).session_id == issued.session_id
    issued = sync.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert sync.update(tag=TAG, identifier="ann", data={**ANN, "x": 1}) == 1
    session = sync.verify(tag=TAG, token=issued.token)
    assert session.data == {**ANN, "x": 1}
    assert sync.list(tag=TAG, identifier="ann").count == 1
    assert sync.stats(tag=TAG).users == len(sync.users(tag=TAG).users) == sync.user(tag=TAG, identifier="ann").count
    assert sync.revoke(tag=TAG, session_id=issued.session_id) is True
    with pytest.raises(RevokedSession):
        sync.verify(tag=TAG, token=issued.token)
    assert sync.revoke_all(tag=TAG, identifier="ann") == 0
    return session.identifier or ""


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_the_signature_of_the_coroutine(verb: str) -> None:
    sessions = Sessions(access_key=new_access_key(), product="a", env="b", store="memory://")
    assert inspect.signature(getattr(sessions.sync, verb)) == inspect.signature(getattr(sessions, verb))


@pytest.mark.anyio
async def test_every_verb_works_from_a_worker_thread(sessions: Sessions) -> None:
    assert await anyio.to_thread.run_sync(whole_life, sessions) == "ann"


@pytest.mark.anyio
async def test_many_threads_at_once(sessions: Sessions) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(
                anyio.to_thread.run_sync, lambda: sessions.sync.start(tag=TAG, data={"userId": "bob"}).token
            )
    assert (await sessions.list(tag=TAG, identifier="bob")).count == 10


def starlette_app(sessions: Sessions) -> Any:
    def handler(request: Request) -> PlainTextResponse:
        return PlainTextResponse(whole_life(sessions))

    return Starlette(routes=[Route("/", handler)])


def fastapi_app(sessions: Sessions) -> Any:
    app = FastAPI()
    app.add_api_route("/", lambda: whole_life(sessions), response_class=PlainTextResponse)
    return app


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("make", [starlette_app, fastapi_app], ids=lambda make: make.__name__)
def test_handlers_of_starlette_and_fastapi(sessions_at_rest: Sessions, make: Any, backend: Any) -> None:
    with TestClient(make(sessions_at_rest), backend=backend) as client:
        assert client.get("/").text == "ann"
        assert client.portal is not None
        client.portal.call(closed, sessions_at_rest)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_handlers_of_litestar(sessions_at_rest: Sessions, backend: Any) -> None:
    @get("/", sync_to_thread=True)
    def handler() -> str:
        return whole_life(sessions_at_rest)

    app = Litestar([handler], lifespan=[lambda app: sessions_at_rest], logging_config=None)
    with litestar.testing.TestClient(app, backend=backend) as client:
        assert client.get("/").text == "ann"


@pytest.fixture
def sessions_at_rest() -> Sessions:
    return Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://")


async def closed(sessions: Sessions) -> None:
    """Close what a handler opened lazily, in the loop that it was opened in."""
    async with sessions:
        pass


def test_outside_of_a_worker_thread_there_is_no_loop_to_work_in() -> None:
    sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://")
    with pytest.raises(RuntimeError):
        sessions.sync.start(tag=TAG, data=ANN)


def test_inspect_needs_no_loop(sessions_at_rest: Sessions) -> None:
    async def started() -> IssuedSession:
        return await sessions_at_rest.start(tag=TAG, data=ANN)

    issued = asyncio.run(started())
    frontend = Sessions(publishable_key=sessions_at_rest.publishable_key)
    for sessions in (frontend, sessions_at_rest):
        assert sessions.sync.inspect(token=issued.token).session_id == issued.session_id
        with pytest.raises(InvalidToken):
            sessions.sync.inspect(token="x")
        with pytest.raises(MissingToken):
            sessions.sync.inspect(token=None)


@pytest.mark.anyio
async def test_inspect_waits_for_nothing_and_may_be_called_in_the_loop(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    assert sessions.sync.inspect(token=issued.token) == await sessions.inspect(token=issued.token)


def test_a_loop_that_has_gone_is_no_loop_to_work_in(sessions_at_rest: Sessions) -> None:
    async def opened_and_left_so() -> None:
        await sessions_at_rest.start(tag=TAG, data=ANN)

    asyncio.run(opened_and_left_so())
    with pytest.raises(RuntimeError, match="await the verb"):
        sessions_at_rest.sync.start(tag=TAG, data=ANN)
