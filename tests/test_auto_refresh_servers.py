"""`auto_refresh` on two real servers that share a SQLite file: all are served, and there is one rotation in all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from ductape_asgi import IssuedSession, new_access_key
from tests import refreshing_app
from tests.cookie_jar import checked
from tests.test_middleware_servers import DEADLINE, answers, free_port

HERE = Path(__file__).parent
EACH = 20
REFRESH = refreshing_app.COOKIES.refresh_name


@contextmanager
def serving(environment: dict[str, str], folder: Path) -> Iterator[str]:
    port = free_port()
    target = [f"{Path(refreshing_app.__file__).stem}:create", "--factory"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    with (folder / f"log-{port}").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *target, *options],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + DEADLINE
            while not answers(port):
                assert server.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline, Path(log.name).read_text()
                time.sleep(0.02)  # for the operating system to give us its port
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    given = {
        "DUCTAPE_ACCESS_KEY": new_access_key(),
        "DUCTAPE_PRODUCT": "shop",
        "DUCTAPE_ENV": "test",
        "DUCTAPE_STORE": f"sqlite:///{tmp_path}/sessions.db",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE), **given}


async def an_hour_ago() -> IssuedSession:
    async with refreshing_app.sessions_from_env(clock=lambda: time.time() - 3600) as sessions:
        return await sessions.start(tag=refreshing_app.TAG, data={"userId": "ann"})


async def generation_of(session_id: str) -> int:
    async with refreshing_app.sessions_from_env() as sessions:
        record = await sessions.worker.store.verify(session_id, generation=-1)
        assert record is not None
        return record.generation


def test_forty_at_once_on_two_servers_are_served_with_one_rotation(environment: dict[str, str], tmp_path: Path) -> None:
    issued = anyio.run(an_hour_ago)
    lines = [checked(value.decode()) for _, value in issued.cookie_headers()]
    headers = {
        "Cookie": "; ".join(f"{name}={value}" for name, value, _ in lines),
        "Sec-Fetch-Site": "same-origin",
        "X-CSRF-Token": lines[2][1],
    }
    came: list[httpx.Response] = []

    async def ask_all(urls: list[str]) -> None:
        # Clients without a jar: as many tabs that left before any answer came.
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client, anyio.create_task_group() as tasks:

            async def ask(url: str, method: str) -> None:
                request = httpx.Request(method, url, headers=headers, content=b"")
                came.append(await client.send(request))

            for number in range(EACH):
                for url in urls:
                    tasks.start_soon(ask, url, "POST" if number % 2 else "GET")

    with ExitStack() as stack:
        urls = [stack.enter_context(serving(environment, tmp_path)) for _ in range(2)]
        anyio.run(ask_all, urls)
        assert [(answer.status_code, answer.text) for answer in came] == [(200, "ann")] * 2 * EACH
        assert {answer.headers["cache-control"] for answer in came} == {"no-store"}
        set_cookies = [dict(checked(line)[:2] for line in answer.headers.get_list("set-cookie")) for answer in came]
        assert len({cookies[REFRESH] for cookies in set_cookies}) == 1
        assert anyio.run(generation_of, issued.session_id) == 1
        for cookies, url in ((set_cookies[0], urls[1]), (set_cookies[-1], urls[0])):
            line = "; ".join(f"{name}={value}" for name, value in cookies.items())
            answer = httpx.get(url, headers={"Cookie": line}, trust_env=False, timeout=60)
            assert (answer.status_code, answer.text) == (200, "ann")
            assert "set-cookie" not in answer.headers
