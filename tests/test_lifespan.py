"""Opening and closing with the ASGI lifespan, in all the shapes that apps and servers give it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from ductape_asgi import (
    ConfigurationError,
    DuctapeMiddleware,
    Sessions,
    StoreUnavailable,
    new_access_key,
    require_session,
)
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore
from tests.asgi_client import App, bearer, call
from tests.sessions.support import ANN, TAG, WatchedStore

KEY = new_access_key()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WatchedStore:
    return WatchedStore(MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "sessions.db"))


@pytest.fixture
def sessions(store: Any) -> Sessions:
    return Sessions(access_key=KEY, product="shop", env="prd", store=store)


def openings(store: WatchedStore) -> tuple[int, int]:
    return store.calls["open"], store.calls["close"]


class Server:
    """Speaks the lifespan protocol with an app, as a server does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.sent: list[dict[str, Any]] = []
        self.returned = False
        self._inbox_send, self._inbox = anyio.create_memory_object_stream[dict[str, Any]](2)
        self._news = anyio.Event()

    async def run(self) -> None:
        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)
            self._news.set()

        try:
            await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, self._inbox.receive, send)
        finally:
            self.returned = True
            self._news.set()
            self._inbox_send.close()
            self._inbox.close()

    async def tell(self, message: str) -> str:
        """Send ``"startup"`` or ``"shutdown"``, and wait for what comes back."""
        self._news = anyio.Event()
        await self._inbox_send.send({"type": f"lifespan.{message}"})
        with anyio.fail_after(5):
            await self._news.wait()
        return self.sent[-1]["type"].removeprefix("lifespan.") if self.sent else "nothing"


async def lives(app: Any, during: Callable[[], Any] | None = None) -> list[str]:
    """What the app answered through a whole life."""
    server = Server(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        if await server.tell("startup") == "startup.complete":
            if during is not None:
                await during()
            await server.tell("shutdown")
    return [message["type"].removeprefix("lifespan.") for message in server.sent]


async def fails(server: Server) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        assert await server.tell("startup") == "startup.failed"


WHOLE_LIFE = ["startup.complete", "shutdown.complete"]


async def supporting(scope: Any, receive: Any, send: Any) -> None:
    for word in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{word}"
        await send({"type": f"lifespan.{word}.complete"})


async def raising_at_once(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError("only http here")


async def returning_at_once(scope: Any, receive: Any, send: Any) -> None:
    pass


SHAPES = [supporting, raising_at_once, returning_at_once]


@pytest.mark.anyio
@pytest.mark.parametrize("app", SHAPES, ids=lambda app: app.__name__)
async def test_sessions_are_open_through_the_apps_life(sessions: Sessions, store: WatchedStore, app: Any) -> None:
    async def during() -> None:
        assert openings(store) == (1, 0)
        await sessions.start(tag=TAG, data=ANN)
        assert openings(store) == (1, 0)

    assert await lives(DuctapeMiddleware(app, sessions=sessions, tag=TAG), during) == WHOLE_LIFE
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_sessions_are_open_before_the_apps_own_start_up_and_until_after_its_shutdown(
    sessions: Sessions, store: WatchedStore
) -> None:
    seen: list[tuple[int, int]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(openings(store))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        seen.append(openings(store))
        await send({"type": "lifespan.shutdown.complete"})

    await lives(DuctapeMiddleware(app, sessions=sessions, tag=TAG))
    assert seen == [(1, 0), (1, 0)]


@pytest.mark.anyio
async def test_an_app_that_fails_its_start_up_says_so_and_sessions_close(
    sessions: Sessions, store: WatchedStore
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    server = Server(DuctapeMiddleware(failing, sessions=sessions, tag=TAG))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        await server.tell("startup")
    assert server.sent == [{"type": "lifespan.startup.failed", "message": "no database"}]
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_an_app_that_raises_in_its_start_up_raises_through_and_sessions_close(
    sessions: Sessions, store: WatchedStore
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await lives(DuctapeMiddleware(broken, sessions=sessions, tag=TAG))
    assert caught.group_contains(ZeroDivisionError)
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_an_app_that_raises_in_its_shutdown_raises_through_and_sessions_close(
    sessions: Sessions, store: WatchedStore
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await lives(DuctapeMiddleware(broken, sessions=sessions, tag=TAG))
    assert caught.group_contains(ZeroDivisionError)
    assert openings(store) == (1, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("app", SHAPES, ids=lambda app: app.__name__)
async def test_a_store_that_cannot_open_is_a_failed_start_up_that_says_why(tmp_path: Path, app: Any) -> None:
    sessions = Sessions(access_key=KEY, product="shop", env="prd", store=f"sqlite:///{tmp_path}/none/sessions.db")
    server = Server(DuctapeMiddleware(app, sessions=sessions, tag=TAG))
    with pytest.raises(ExceptionGroup) as caught:
        await fails(server)
    assert caught.group_contains(ConfigurationError, match="director")
    assert "director" in server.sent[0]["message"]
    assert server.returned


def test_a_test_client_is_told_of_a_store_that_cannot_open(tmp_path: Path) -> None:
    """It would take an app that returns for one that has started, and wait for its shutdown for ever."""
    sessions = Sessions(access_key=KEY, product="shop", env="prd", store=f"sqlite:///{tmp_path}/none/sessions.db")
    client = TestClient(DuctapeMiddleware(Starlette(), sessions=sessions, tag=TAG))
    with pytest.raises(ConfigurationError, match="director"):
        client.__enter__()  # and no `with`, whose end is what would hang


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "secret-host"), RuntimeError("secret")], ids=repr)
async def test_a_store_of_ones_own_that_fails_to_open_in_its_own_words_is_a_failed_start_up(
    sessions: Sessions, store: WatchedStore, error: Exception
) -> None:
    async def refuse() -> None:
        raise error

    store.instead["open"] = refuse
    server = Server(DuctapeMiddleware(App(), sessions=sessions, tag=TAG))
    with pytest.raises(ExceptionGroup) as caught:
        await fails(server)
    assert caught.group_contains(StoreUnavailable, match=type(error).__name__)
    assert type(error).__name__ in server.sent[0]["message"]
    assert "secret" not in server.sent[0]["message"]
    assert server.returned


@pytest.mark.anyio
async def test_a_store_of_ones_own_that_cannot_be_reached_is_opened_by_a_later_request(
    sessions: Sessions, store: WatchedStore
) -> None:
    async def refuse() -> None:
        raise ConnectionRefusedError

    async with sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG)
    store.instead["open"] = refuse
    assert (await call(middleware, headers=[bearer(issued.token)])).status == 503
    assert (await call(middleware)).status == 200
    store.instead.clear()
    async with sessions:
        assert (await call(middleware, headers=[bearer(issued.token)])).status == 200


@pytest.mark.anyio
async def test_an_inner_middleware_that_is_set_up_wrongly_is_a_failed_start_up(
    sessions: Sessions, store: WatchedStore
) -> None:
    """Starlette builds its middlewares when it is asked for its lifespan, and not before."""
    app = Starlette()
    app.add_middleware(DuctapeMiddleware, sessions=sessions, tag=TAG, exempt="/health")
    server = Server(DuctapeMiddleware(app, sessions=sessions, tag=TAG))
    with pytest.raises(ExceptionGroup) as caught:
        await fails(server)
    assert caught.group_contains(ConfigurationError, match="exempt")
    assert "exempt" in server.sent[0]["message"]
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_with_lifespan_off_the_first_request_opens(sessions: Sessions, store: WatchedStore) -> None:
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)
    assert (await call(middleware)).status == 401
    assert openings(store) == (0, 0)  # nobody asked for the store
    issued = await sessions.start(tag=TAG, data=ANN)
    assert (await call(middleware, headers=[bearer(issued.token)])).status == 200
    assert openings(store) == (1, 0)
    async with sessions:
        pass
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_an_app_that_knows_only_http_is_logged_with_what_it_means(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    async def asserting(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    assert await lives(DuctapeMiddleware(asserting, sessions=sessions, tag=TAG)) == WHOLE_LIFE
    assert "sessions are opened and closed without it: AssertionError()" in caplog.text


@pytest.mark.anyio
async def test_nested_middlewares_share_one_opening(sessions: Sessions, store: WatchedStore) -> None:
    app = DuctapeMiddleware(supporting, sessions=sessions, tag="checkout-session")
    app = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    app = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    assert await lives(app) == WHOLE_LIFE
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_several_sessions_each_open_and_close(tmp_path: Path) -> None:
    stores: list[Any] = [WatchedStore(MemoryStore()) for _ in range(2)]
    app: Any = supporting
    for store in stores:
        sessions = Sessions(access_key=KEY, product="shop", env="prd", store=store)
        app = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    assert await lives(app) == WHOLE_LIFE
    assert [openings(store) for store in stores] == [(1, 1), (1, 1)]


@pytest.mark.anyio
async def test_async_with_in_the_apps_own_lifespan_shares_the_opening(sessions: Sessions, store: WatchedStore) -> None:
    seen: list[tuple[int, int]] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with sessions:
            seen.append(openings(store))
            yield
        seen.append(openings(store))

    app = Starlette(lifespan=lifespan, middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG)] * 2)
    assert await lives(app) == WHOLE_LIFE
    assert seen == [(1, 0), (1, 0)]
    assert openings(store) == (1, 1)


@pytest.mark.anyio
async def test_one_life_after_the_other(sessions: Sessions, store: WatchedStore) -> None:
    app = DuctapeMiddleware(supporting, sessions=sessions, tag=TAG)
    for life in (1, 2, 3):
        assert await lives(app) == WHOLE_LIFE
        assert openings(store) == (life, life)


@pytest.mark.anyio
async def test_a_mounted_sub_app_never_sees_a_lifespan_and_works(sessions: Sessions, store: WatchedStore) -> None:
    inner = Starlette(
        routes=[Route("/me", lambda request: PlainTextResponse(request.state.session.identifier))],
        middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG, required=True)],
    )
    app = Starlette(routes=[Mount("/api", app=inner)])
    issued = await sessions.start(tag=TAG, data=ANN)
    assert (await call(app, path="/api/me", headers=[bearer(issued.token)])).body == b"ann"
    assert (await call(app, path="/api/me")).status == 401
    async with sessions:
        pass
    assert openings(store) == (1, 1)


# Test clients.


def shop(sessions: Sessions) -> Any:
    async def login(request: Request) -> PlainTextResponse:
        issued = await sessions.start(tag=TAG, data=ANN)
        response = PlainTextResponse(issued.token)
        sessions.set_cookies(response, issued)
        return response

    async def me(request: Request) -> PlainTextResponse:
        return PlainTextResponse((await require_session(request)).identifier or "")

    async def logout(request: Request) -> PlainTextResponse:
        session = await require_session(request)
        await sessions.revoke(tag=TAG, session_id=session.session_id)
        response = PlainTextResponse("bye")
        sessions.clear_cookies(response)
        return response

    app = FastAPI()
    app.add_route("/login", login, methods=["POST"])
    app.add_route("/me", me)
    app.add_route("/logout", logout, methods=["POST"])
    app.add_middleware(DuctapeMiddleware, sessions=sessions, tag=TAG)
    return app


def visit(client: TestClient) -> None:
    token = client.post("/login").text
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(3):
        assert client.get("/me", headers=headers).text == "ann"
        assert client.get("/me").text == "ann"  # the cookie
    assert client.post("/logout", headers=headers).text == "bye"
    assert client.get("/me", headers=headers).status_code == 401
    assert client.get("/me").status_code == 401


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_test_client_that_makes_a_loop_a_request(sessions: Sessions, backend: Any) -> None:
    visit(TestClient(shop(sessions), base_url="https://shop.test", backend=backend))
    asyncio.run(close(sessions))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_test_client_with_a_lifespan(sessions: Sessions, store: WatchedStore, backend: Any) -> None:
    app = shop(sessions)
    for life in (1, 2):
        with TestClient(app, base_url="https://shop.test", backend=backend) as client:
            visit(client)
        assert openings(store) == (life, life)


async def close(sessions: Sessions) -> None:
    async with sessions:
        pass
