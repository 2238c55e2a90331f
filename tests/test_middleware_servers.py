"""A small app on real servers: login, a protected route, logout, and WebSocket handshakes, on loopback."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ductape_asgi import Sessions, new_access_key
from tests.redis_servers import fresh

T = TypeVar("T")

APP = Path(__file__).parent / "sessions" / "served_app.py"
DEADLINE = 30


def command(server: str, port: int) -> list[str]:
    python, target = [sys.executable, "-m"], f"{APP.stem}:app"
    bind = f"127.0.0.1:{port}"
    return {
        "uvicorn": [*python, "uvicorn", target, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"],
        "uvicorn without lifespan": [
            *[*python, "uvicorn", target, "--host", "127.0.0.1", "--port", str(port)],
            *["--log-level", "warning", "--lifespan", "off"],
        ],
        "hypercorn on asyncio": [*python, "hypercorn", target, "--bind", bind, "--worker-class", "asyncio"],
        "hypercorn on trio": [*python, "hypercorn", target, "--bind", bind, "--worker-class", "trio"],
        "granian": [
            *[*python, "granian", target, "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)],
            *["--log-level", "warning"],
        ],
    }[server]


SERVERS = ["uvicorn", "uvicorn without lifespan", "hypercorn on asyncio", "hypercorn on trio", "granian"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass
class Served:
    """The app on a server, and how another process gets at its sessions."""

    url: str
    settings: dict[str, Any]
    log: Path

    def elsewhere(self, verb: Callable[[Sessions], Awaitable[T]]) -> T:
        """Do something with its sessions in this process."""

        async def done() -> T:
            async with Sessions(**self.settings) as sessions:
                return await verb(sessions)

        return asyncio.run(done())


@contextmanager
def serving(server: str, folder: Path, store: str) -> Iterator[Served]:
    port, key = free_port(), new_access_key()
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(APP.parent),
        "DUCTAPE_ACCESS_KEY": key,
        "DUCTAPE_PRODUCT": "shop",
        "DUCTAPE_ENV": "test",
        "DUCTAPE_STORE": store,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(server, port), env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + DEADLINE
            while not answers(port):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.02)  # for the operating system to give us its port
            settings = {"access_key": key, "product": "shop", "env": "test", "store": store}
            yield Served(f"127.0.0.1:{port}", settings, folder / "log")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of it."""
    folder = tmp_path_factory.mktemp("served")
    with serving(request.param, folder, f"sqlite:///{folder}/sessions.db") as served:
        yield served


@pytest.fixture
def url(served: Served) -> str:
    return served.url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{url}", trust_env=False, timeout=DEADLINE) as client:
        yield client


def denied_with(url: str, path: str = "/echo", **options: object) -> int:
    """The status with which a handshake is denied."""
    with pytest.raises(InvalidHandshake) as caught:
        connect(f"ws://{url}{path}", open_timeout=DEADLINE, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidStatus)
    return caught.value.response.status_code


def closed_with(socket_: ClientConnection) -> tuple[int, str]:
    """The code and reason with which an open socket is closed, whatever comes before."""
    try:
        while True:
            socket_.recv(timeout=DEADLINE)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "without a word")


def test_a_whole_visit_on_a_real_server(served: Served, url: str) -> None:
    with httpx.Client(base_url=f"http://{url}", trust_env=False, timeout=DEADLINE) as client:
        refused = client.get("/me")
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "missing_token"

        token = client.post("/login", json={"name": "ann"}).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        for _ in range(3):
            assert client.get("/me", headers=bearer).json() == {"identifier": "ann"}
            assert client.get("/me", headers={"Cookie": f"ductape={token}"}).json() == {"identifier": "ann"}
        assert client.post("/logout", headers={"Cookie": f"ductape={token}"}).status_code == 403
        assert client.get("/me", headers={"Authorization": "Bearer bad"}).status_code == 401

        assert denied_with(url) in (401, 403)
        assert denied_with(url, additional_headers={"Cookie": f"ductape={token}"}) == 403
        one, two = [client.post("/ticket", headers=bearer).json()["ticket"] for _ in range(2)]
        assert client.get("/me", params={"ticket": one}).status_code == 401
        for options in (
            {"additional_headers": bearer},
            {"subprotocols": ["ductape.bearer", token]},
            {"additional_headers": {"Cookie": f"ductape={token}"}, "origin": f"http://{url}"},
        ):
            with connect(f"ws://{url}/echo", open_timeout=DEADLINE, **options) as socket_:  # type: ignore[arg-type]
                socket_.send("hello")
                assert socket_.recv(timeout=DEADLINE) == "ann says hello"

        for ticket in (one, two):
            with connect(f"ws://{url}/echo?ticket={ticket}", open_timeout=DEADLINE) as socket_:
                socket_.send("hello")
                assert socket_.recv(timeout=DEADLINE) == "ann says hello"
            assert denied_with(url, f"/echo?ticket={ticket}") in (401, 403)

        assert client.post("/logout", headers=bearer).json() == {"ended": True}
        assert client.get("/me", headers=bearer).status_code == 401
        assert denied_with(url, additional_headers=bearer) in (401, 403)
    log = served.log.read_text()
    assert token[-40:] not in log
    assert one[-40:] not in log


def open_all(stack: ExitStack, url: str, client: httpx.Client, bearer: dict[str, str]) -> tuple[list[Any], Any]:
    """A socket that waits for messages, one that only sends, and an event stream, after its first event."""
    sockets = [
        stack.enter_context(connect(f"ws://{url}/{path}", open_timeout=DEADLINE, additional_headers=bearer))
        for path in ("echo", "push")
    ]
    events = stack.enter_context(client.stream("GET", "/events", headers=bearer)).iter_lines()
    assert next(events) == "data: hello"
    assert next(events) == ""
    return sockets, events


def until_left(client: httpx.Client, *names: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not set(names) <= set(client.get("/left").json()):
        assert time.monotonic() < deadline, "the app was not told that the connection is over"
        time.sleep(0.02)  # for the server's own tasks


def ends_everywhere(served: Served, client: httpx.Client) -> None:
    issued = client.post("/login", json={"name": "ann"}).json()
    with ExitStack() as stack:
        bearer = {"Authorization": f"Bearer {issued['token']}"}
        (echo, push), events = open_all(stack, served.url, client, bearer)
        served.elsewhere(lambda sessions: sessions.refresh(tag="user-session", refresh_token=issued["refresh"]))
        echo.send("still here")
        assert echo.recv(timeout=DEADLINE) == "ann says still here"
        assert push.recv(timeout=DEADLINE) == "news"
        assert served.elsewhere(lambda sessions: sessions.revoke(tag="user-session", session_id=issued["id"]))
        assert closed_with(echo) == (4401, "session_ended")
        assert closed_with(push) == (4401, "session_ended")
        assert list(events) == [], "it ends cleanly, and with nothing more"
        until_left(client, "push", "events")
    assert "Traceback" not in served.log.read_text()


def test_a_session_that_another_process_ends_takes_its_sockets_and_streams_along(
    served: Served, client: httpx.Client
) -> None:
    ends_everywhere(served, client)


def test_a_guard_that_no_longer_holds_closes_a_socket(served: Served, client: httpx.Client) -> None:
    issued = client.post("/login", json={"name": "bob"}).json()
    headers = {"Authorization": f"Bearer {issued['token']}"}
    with connect(f"ws://{served.url}/chat", open_timeout=DEADLINE, additional_headers=headers) as socket_:
        served.elsewhere(lambda sessions: sessions.update(tag="user-session", identifier="bob", data={"role": "none"}))
        assert closed_with(socket_) == (4403, "access_denied")
    assert denied_with(served.url, "/chat", additional_headers=headers) == 403


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_so_it_is_on_stores_that_push(request: pytest.FixtureRequest, tmp_path: Path, store: str) -> None:
    url = fresh(request.getfixturevalue("redis_url")) if store == "redis" else request.getfixturevalue("postgres_url")
    with (
        serving("uvicorn", tmp_path, url) as served,
        httpx.Client(base_url=f"http://{served.url}", trust_env=False, timeout=DEADLINE) as client,
    ):
        ends_everywhere(served, client)
