"""Ten thousand open sockets on one server: what a lease weighs, and what the server feels when a hundred sessions end.

Real sockets on one uvicorn of its own process; sessions are revoked in this one.  A server for that is
``python -m benchmarks.bench_sockets PORT leases|none STORE``, with the access key in the environment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import socket
import statistics
import struct
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import uvicorn

from ductape_asgi import DuctapeMiddleware, Sessions, TagPolicy, middleware, new_access_key

from ._measure import Report, number
from ._requests import DATA, TAG

_SOCKETS = 10_000
_REVOKED = 100
#: As many are revoked so often: one time is over before a percentile of it means much.
_ROUNDS = 10
#: Handshakes at a time, and sessions started at a time.
_AT_ONCE = 50
_BOUND_MS = 50
#: How often the server looks how late its event loop is, and for how long where nothing happens, in seconds.
_LOOK_EVERY = 0.005
_QUIET = 5.0
#: How long the server has after the collection that comes before its memory is told.
_SETTLED = 1.0
_PATIENCE = 60

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


async def bench(report: Report, folder: str) -> None:
    report.section(f"{_SOCKETS:,} open sockets on one uvicorn, on SQLite")
    _raise_limits()
    weights = {}
    for kind in ("none", "leases"):
        key, store = new_access_key(), f"sqlite:///{folder}/sockets-{kind}.db"
        async with Sessions(**_settings(key, store)) as sessions, _serving(key, store, kind) as port:
            weights[kind] = await _with_sockets(report, sessions, port, kind)
    report.figure("a lease, memory", weights["leases"] - weights["none"], "bytes", "the difference of both")


async def _with_sockets(report: Report, sessions: Sessions, port: int, kind: str) -> float:
    tokens = await _started(sessions)
    async with _connected(port, tokens[0][1]):
        before = await _ask(port, "rss")
    began = time.perf_counter()
    sockets = await _opened(port, [token for _, token in tokens])
    name = "with leases" if kind == "leases" else "without leases"
    report.say(f"{name}: {_SOCKETS:,} handshakes took {time.perf_counter() - began:.0f} s")
    weight: float = (await _ask(port, "rss") - before) / _SOCKETS
    report.figure(f"{name}, memory of the server for each socket", weight, "bytes")
    await asyncio.sleep(_SETTLED)
    await _ask(port, "lags")
    await asyncio.sleep(_QUIET)
    _lag(report, f"{name}, the event loop, nothing happens", await _ask(port, "lags"))
    if kind == "leases":
        times: list[float] = []
        lags: list[list[float]] = []
        for first in range(_ROUNDS):
            await _ask(port, "lags")
            times += await _revoked(sessions, [session_id for session_id, _ in tokens], sockets, first)
            lags += await _ask(port, "lags")
        _tell_revoked(report, times, lags)
    for _, writer in sockets:
        writer.transport.abort()
    return weight


def _tell_revoked(report: Report, times: Sequence[float], lags: Sequence[Sequence[float]]) -> None:
    p99 = _lag(report, f"the event loop, {_REVOKED} revocations, {_ROUNDS} times", lags)
    report.gate("sockets: lag of the event loop, p99", p99, bound=_BOUND_MS, unit="ms", at_least=False)
    ordered = sorted(times)
    note = f"p99 {number(_percentile(ordered, 99))}, longest {number(ordered[-1])}"
    report.figure("revoke elsewhere to close frame, median", statistics.median(ordered), "ms", note)
    report.gate("sockets: revoke elsewhere to close frame, longest", ordered[-1], bound=1000, unit="ms", at_least=False)


def _lag(report: Report, name: str, looks: Sequence[Sequence[float]]) -> float:
    """Tell the medians in milliseconds, and answer the 99th percentile of the lag.

    On a machine that has other work to do, the loop is late without any of its own: its CPU time tells it apart.
    """
    late, busy = (sorted(column) for column in zip(*looks, strict=True))
    for what, ordered in (("late", late), ("its own CPU time", busy)):
        note = f"p99 {number(_percentile(ordered, 99))}, longest {number(ordered[-1])}"
        report.figure(f"{name}: {what}", statistics.median(ordered), "ms", note)
    return _percentile(late, 99)


def _percentile(ordered: Sequence[float], part: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * part // 100)]


# This side: the clients, and whoever revokes.


def _settings(key: str, store: str) -> dict[str, Any]:
    return {"access_key": key, "product": "shop", "env": "prd", "store": store, "tags": [TagPolicy(TAG)]}


def _raise_limits() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _SOCKETS + 200:
        raise RuntimeError(f"this needs {_SOCKETS + 200} open files, and the machine allows {hard}: raise ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _SOCKETS + 200), hard))


@asynccontextmanager
async def _serving(key: str, store: str, kind: str) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = {**os.environ, "DUCTAPE_ACCESS_KEY": key}
    command = [sys.executable, "-m", "benchmarks.bench_sockets", str(port), kind, store]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        await _until_it_answers(process, port)
        yield port
    finally:
        process.kill()
        await process.wait()


async def _until_it_answers(process: asyncio.subprocess.Process, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the server did not start")


async def _started(sessions: Sessions) -> list[tuple[str, str]]:
    """Id and token of each session, one for each socket."""
    started = []
    for _ in range(_SOCKETS // _AT_ONCE):
        step = await asyncio.gather(*(sessions.start(tag=TAG, data=DATA) for _ in range(_AT_ONCE)))
        started += [(issued.session_id, issued.token) for issued in step]
    return started


async def _opened(port: int, tokens: Sequence[str]) -> list[tuple[Reader, Writer]]:
    sockets: list[tuple[Reader, Writer]] = []
    for place in range(0, len(tokens), _AT_ONCE):
        sockets += await asyncio.gather(*(_connect(port, token) for token in tokens[place : place + _AT_ONCE]))
    return sockets


@asynccontextmanager
async def _connected(port: int, token: str) -> AsyncIterator[None]:
    """One socket, so that the server has loaded all that it needs for one."""
    _, writer = await _connect(port, token)
    yield
    writer.transport.abort()


async def _connect(port: int, token: str) -> tuple[Reader, Writer]:
    """A WebSocket after its handshake (RFC 6455 section 4), in bytes: so many of a library's would take minutes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
    )
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
    if b" 101 " not in answer.split(b"\r\n")[0]:
        raise RuntimeError(f"a handshake was answered {answer!r}")
    return reader, writer


async def _revoked(
    sessions: Sessions, session_ids: Sequence[str], sockets: Sequence[tuple[Reader, Writer]], first: int
) -> list[float]:
    """End every hundredth session from `first` on; milliseconds from the answer of `revoke` to its close frame."""
    chosen = range(first, _SOCKETS, _SOCKETS // _REVOKED)
    waiting = []
    for place in chosen:
        closed = asyncio.create_task(_closed(sockets[place][0]))
        await sessions.revoke(tag=TAG, session_id=session_ids[place])
        waiting.append((time.perf_counter(), closed))
    return [max(0.0, (await closed - answered) * 1000) for answered, closed in waiting]


async def _closed(reader: Reader) -> float:
    frame = await asyncio.wait_for(reader.readexactly(4), _PATIENCE)
    if frame[0] != 0x88 or struct.unpack("!H", frame[2:])[0] != 4401:
        raise RuntimeError(f"not closed with 4401, but {frame!r}")
    return time.perf_counter()


async def _ask(port: int, what: Literal["rss", "lags"]) -> Any:
    """The server's resident bytes; or how late its loop was each time it looked since it was last asked, and how much
    CPU time it had taken meanwhile, both in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /" + what.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), _PATIENCE)
    writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# The other side: the server.


class _NoLease:
    """A socket that nobody watches."""

    def __init__(self, terms: Any, scope: Any, receive: Any, send: Any) -> None:
        self.receive, self.send = receive, send

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass


@dataclass
class _App:
    lags: list[tuple[float, float]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        if scope["path"] == "/rss":
            gc.collect()
            figures: Any = _resident()
        else:
            figures = self.lags.copy()
        body = json.dumps(figures).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self.lags.clear()
        await send({"type": "http.response.body", "body": body})


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _look(lags: list[tuple[float, float]]) -> None:
    while True:
        before, before_cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_LOOK_EVERY)
        late = time.perf_counter() - before - _LOOK_EVERY
        lags.append((late * 1000, (time.thread_time() - before_cpu) * 1000))


async def _serve(port: int, kind: Literal["leases", "none"], store: str) -> None:
    _raise_limits()
    if kind == "none":
        middleware.Socket = _NoLease  # type: ignore[misc, assignment]
    app = _App([])
    sessions = Sessions(**_settings(os.environ["DUCTAPE_ACCESS_KEY"], store))
    # Pings would have each idle socket do something every 20 seconds, with and without leases.
    config = uvicorn.Config(
        DuctapeMiddleware(app, sessions=sessions),
        port=port,
        log_level="error",
        backlog=4096,
        lifespan="off",
        ws_ping_interval=None,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_look(app.lags))
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))  # type: ignore[arg-type]
