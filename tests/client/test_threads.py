"""Sync clients, threads, and clients of every kind on one session; over loopback sockets where it says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import httpx
import httpx2
import pytest
import uvicorn
from anyio.from_thread import BlockingPortal

from ductape_asgi import ConfigurationError, Sessions, new_access_key
from ductape_asgi.client import NoSession, RefreshFailed, SessionAuth, SessionOver, SessionTokens
from tests.sessions.support import Clock

from .support import HOME, REFRESH, TAG, App, wire


@pytest.fixture(params=["asyncio", "trio"])
def portal(request: pytest.FixtureRequest) -> Iterator[BlockingPortal]:
    """An event loop in another thread, where the app runs."""
    with anyio.from_thread.start_blocking_portal(request.param) as portal:
        yield portal


@pytest.fixture
def start(app: App, portal: BlockingPortal) -> Iterator[Callable[[], dict[str, Any]]]:
    with portal.wrap_async_context_manager(app.sessions):

        async def begun() -> dict[str, Any]:
            return wire(await app.sessions.start(tag=TAG, data={"userId": "ann"}))

        yield lambda: portal.call(begun)


@pytest.fixture
def connect(
    library: Any, app: App, clock: Clock, portal: BlockingPortal, start: Callable[[], dict[str, Any]], kept: list[Any]
) -> Iterator[Callable[..., tuple[Any, SessionAuth]]]:
    """A sync client with a session of its own, and its auth."""
    inside = library.ASGITransport(app=app)

    async def handle(request: Any) -> Any:
        sent = library.Request(request.method, request.url, headers=request.headers, content=request.read())
        response = await inside.handle_async_request(sent)
        return response.status_code, response.headers.raw, await response.aread()

    def bridge(request: Any) -> Any:
        status, headers, content = portal.call(handle, request)
        return library.Response(status, headers=headers, content=content)

    client = library.Client(transport=library.MockTransport(bridge), base_url=HOME)

    def connected(**options: Any) -> tuple[Any, SessionAuth]:
        given = {"refresh_url": REFRESH, "on_change": kept.append, "client": client, "clock": clock, **options}
        if "tokens" not in given:
            given["tokens"] = start()
        client.auth = auth = SessionAuth(**given)
        return client, auth

    with client:
        yield connected


Connect = Callable[..., tuple[Any, SessionAuth]]


def test_a_sync_client_sends_and_exchanges_the_token(
    connect: Connect, app: App, clock: Clock, kept: list[SessionTokens]
) -> None:
    client, auth = connect()
    assert client.get("/me").text == auth.tokens.session_id
    clock.advance(811)
    assert client.get("/me").status_code == 200
    assert kept == [auth.tokens]
    assert [one.path for one in app.asked] == ["/me", "/auth/refresh", "/me"]
    assert app.asked[-1].authorization == f"Bearer {auth.tokens.token}"


def test_a_sync_client_tries_once_more(connect: Connect, app: App, clock: Clock) -> None:
    client, _ = connect(clock=Clock(clock.now))
    clock.advance(2000)
    assert client.post("/me", content=b"hello").status_code == 200
    assert [one.path for one in app.asked] == ["/me", "/auth/refresh", "/me"]
    assert client.get("/landed").status_code == 401
    assert len(app.requests) == 4


def test_a_sync_client_stops_when_the_session_is_over(
    connect: Connect, app: App, portal: BlockingPortal, kept: list[Any]
) -> None:
    client, auth = connect()
    session_id = auth.tokens.session_id

    async def revoke() -> bool:
        return await app.sessions.revoke(tag=TAG, session_id=session_id)

    assert portal.call(revoke)
    for _ in range(3):
        with pytest.raises(SessionOver):
            client.get("/me")
    assert [one.path for one in app.asked] == ["/me", "/auth/refresh"]
    assert kept == [None]
    auth.set_tokens(None)
    with pytest.raises(NoSession):
        client.get("/me")


def test_a_sync_client_goes_on_while_the_server_is_down(connect: Connect, app: App, clock: Clock) -> None:
    client, _ = connect()
    app.instead = lambda: (503, b"")
    clock.advance(850)
    assert client.get("/me").status_code == 200
    assert len(app.refreshes) == 1


def test_a_sync_client_has_no_use_for_a_coroutine_function(connect: Connect, clock: Clock) -> None:
    async def save(tokens: SessionTokens | None) -> None:
        raise AssertionError("never awaited")

    client, auth = connect(on_change=save)
    before = auth.tokens
    clock.advance(2000)
    with pytest.raises(ConfigurationError, match="on_change"):
        client.get("/me")
    assert auth.tokens == before


def test_a_sync_request_in_the_thread_of_the_one_that_refreshes_does_not_wait_for_itself(
    connect: Connect, library: Any, app: App, clock: Clock, kept: list[Any]
) -> None:
    """As in a coroutine that calls a library which blocks."""
    client, auth = connect()
    clock.advance(2000)
    inner: list[int] = []

    async def handle(request: Any) -> Any:
        # The leader, a task, is in mid-refresh here; a library that blocks sends in its very thread.
        inner.append(client.get("/me").status_code)
        return library.Response(503)

    async def main() -> None:
        refresher = library.AsyncClient(transport=library.MockTransport(handle))
        leading = SessionAuth(auth.tokens, refresh_url=REFRESH, client=refresher, clock=clock)
        leading._holder = auth._holder  # one session, though its refreshes go two ways
        transport = library.MockTransport(lambda request: library.Response(200))
        async with refresher, library.AsyncClient(transport=transport, base_url=HOME, auth=leading) as outer:
            assert (await outer.get("/me")).status_code == 200

    # A daemon: if it waited for itself, this test should fail and not hang.
    thread = threading.Thread(target=anyio.run, args=[main], daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert inner == [200]
    assert len(kept) == 1


class Served:
    """The app on a loopback socket."""

    def __init__(self, app: App) -> None:
        self.server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started:
            assert self.thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *exc_info: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def served(clock: Clock) -> Iterator[tuple[App, str]]:
    app = App(Sessions(access_key=new_access_key(), product="shop", env="test", store="memory://", clock=clock))
    with Served(app) as url:
        yield app, url


def test_threads_and_tasks_of_both_libraries_share_one_refresh_over_a_socket(
    served: tuple[App, str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, url = served
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tokens = wire(app.sessions.sync.start(tag=TAG, data={"userId": "ann"}))
    auth = SessionAuth(tokens, refresh_url=f"{url}/auth/refresh", clock=clock)
    clock.advance(2000)
    all_wait = threading.Event()

    async def hold() -> None:
        await anyio.to_thread.run_sync(all_wait.wait)

    app.before_refresh = hold

    def sync_ones(library: Any) -> list[int]:
        with library.Client(base_url=url, auth=auth) as client:
            return [client.get("/me").status_code for _ in range(3)]

    def async_ones(library: Any, backend: str) -> list[int]:
        async def main() -> list[int]:
            statuses: list[int] = []
            async with library.AsyncClient(base_url=url, auth=auth) as client, anyio.create_task_group() as tasks:

                async def ask() -> None:
                    statuses.append((await client.get("/me")).status_code)

                for _ in range(3):
                    tasks.start_soon(ask)
            return statuses

        return anyio.run(main, backend=backend)

    with ThreadPoolExecutor(12) as pool:
        work = [pool.submit(sync_ones, library) for library in (httpx, httpx2) for _ in range(4)]
        work += [pool.submit(async_ones, library, loop) for library in (httpx, httpx2) for loop in ("asyncio", "trio")]
        _until(lambda: _waiting(auth) == 8 + 12)
        all_wait.set()
        assert [status for one in work for status in one.result(60)] == [200] * (8 * 3 + 4 * 3)
    assert len(app.refreshes) == 1
    assert {one.authorization for one in app.requests} == {f"Bearer {auth.tokens.token}"}


def _waiting(auth: SessionAuth) -> int:
    """Requests that wait for the refresh under way, its leader included."""
    flight = auth._holder._flight
    return 0 if flight is None else 1 + flight.landed.waiting


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_server_that_is_not_there_harms_nobody_while_the_token_is_good(
    served: tuple[App, str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, url = served
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tokens = wire(app.sessions.sync.start(tag=TAG, data={"userId": "ann"}))
    clock.advance(850)
    auth = SessionAuth(tokens, refresh_url="http://127.0.0.1:9/auth/refresh", origins=[url], clock=clock)
    clock.advance(46)  # of the 50 s that were left when it was handed over
    with httpx2.Client(base_url=url, auth=auth) as client:
        assert client.get("/me").status_code == 200
        assert auth._holder.tokens == SessionTokens.from_json(tokens)
        clock.advance(10)
        with pytest.raises(RefreshFailed, match="no answer: ConnectError"):
            client.get("/me")


def test_a_client_with_one_connection_can_refresh_for_itself(
    served: tuple[App, str], library: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, url = served
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tokens = wire(app.sessions.sync.start(tag=TAG, data={"userId": "ann"}))
    with library.Client(base_url=url, limits=library.Limits(max_connections=1)) as client:
        client.auth = SessionAuth(tokens, refresh_url=f"{url}/auth/refresh", client=client, clock=Clock(clock.now))
        clock.advance(2000)
        assert client.get("/me").status_code == 200
    assert [one.path for one in app.asked] == ["/me", "/auth/refresh", "/me"]
