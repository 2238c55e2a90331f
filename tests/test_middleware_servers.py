"""A small app on real servers: login, a protected route, logout, and WebSocket handshakes, on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from ductape_asgi import new_access_key

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


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(APP.parent),
        "DUCTAPE_ACCESS_KEY": new_access_key(),
        "DUCTAPE_PRODUCT": "shop",
        "DUCTAPE_ENV": "test",
        "DUCTAPE_STORE": f"sqlite:///{tmp_path}/sessions.db",
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command(request.param, port), env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + DEADLINE
            while not answers(port):
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.02)  # for the operating system to give us its port
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def denied_with(url: str, **options: object) -> int:
    """The status with which a handshake is denied."""
    with pytest.raises(InvalidHandshake) as caught:
        connect(f"ws://{url}/echo", open_timeout=10, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidStatus)
    return caught.value.response.status_code


def test_a_whole_visit_on_a_real_server(url: str) -> None:
    with httpx.Client(base_url=f"http://{url}", trust_env=False, timeout=10) as client:
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
        for options in (
            {"additional_headers": bearer},
            {"additional_headers": {"Cookie": f"ductape={token}"}, "origin": f"http://{url}"},
        ):
            with connect(f"ws://{url}/echo", open_timeout=10, **options) as socket_:  # type: ignore[arg-type]
                socket_.send("hello")
                assert socket_.recv(timeout=10) == "ann says hello"

        assert client.post("/logout", headers=bearer).json() == {"ended": True}
        assert client.get("/me", headers=bearer).status_code == 401
        assert denied_with(url, additional_headers=bearer) in (401, 403)
