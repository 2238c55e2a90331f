"""One server process: commands come in as JSON lines, answers go out as JSON lines.  Run by path, not imported."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread

from ductape_asgi import DuctapeError, DuctapeMiddleware, IssuedSession, Session, SessionPage, Sessions
from ductape_asgi.stores import guarded, handoff
from ductape_asgi.stores.base import SessionStore
from ductape_asgi.stores.sqlite import SQLiteStore, steps, writer
from ductape_asgi.stores.urls import store_from

TAG = "user-session"

# What comes out is tested with these processes, and not how soon it does: the machine may be busy.
for module, name in (
    (guarded, "DEADLINE"),
    (guarded, "HURRIED"),
    (handoff, "LONGEST_WAIT"),
    (writer, "PATIENCE"),
):
    setattr(module, name, 60.0)


class CountingStore:
    """Counts the calls that concern one session, by name."""

    COUNTED = frozenset({"create", "verify", "rotate", "reseal", "revoke", "revoke_all", "update", "list"})

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in self.COUNTED:
            return method

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return await method(*args, **kwargs)

        return counted


class Served:
    """What one worker does.  Each public method is a command."""

    store: CountingStore
    sessions: Sessions
    app: DuctapeMiddleware

    async def open(
        self, *, keys: list[str], path: str = "", store: str | None = None, algorithm: str = "HS256"
    ) -> None:
        """On the SQLite file at `path`, or on the store that a URL names."""
        self.store = CountingStore(SQLiteStore(path) if store is None else store_from(store))
        self.sessions = Sessions(
            access_key=keys,
            product="shop",
            env="prd",
            store=self.store,
            algorithm=algorithm,  # type: ignore[arg-type]
        )
        self.app = DuctapeMiddleware(_ok, sessions=self.sessions, tag=TAG, required=True)
        await self.sessions.__aenter__()

    async def close(self) -> None:
        await self.sessions.__aexit__(None, None, None)

    async def call(self, *, verb: str, each: list[dict[str, Any]]) -> list[Any]:
        """Call a verb once for each set of arguments, all at once."""
        outcomes: list[Any] = [None] * len(each)

        async def one(index: int) -> None:
            outcomes[index] = await self._outcome(verb, each[index])

        async with anyio.create_task_group() as tasks:
            for index in range(len(each)):
                tasks.start_soon(one, index)
        return outcomes

    async def _outcome(self, verb: str, arguments: dict[str, Any]) -> Any:
        try:
            return _plain(await getattr(self.sessions, verb)(**{"tag": TAG, **arguments}))
        except DuctapeError as error:
            return {"refused": error.code}

    async def request(self, *, token: str) -> int:
        """One request through the middleware; its status."""
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "root_path": "",
            "headers": [(b"authorization", b"Bearer " + token.encode())],
        }
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.app(scope, receive, send)
        return statuses[0]

    async def record(self, *, session_id: str) -> dict[str, Any] | None:
        """What the store holds of a session, without a sign of life."""
        record = await self.store._store.verify(session_id, generation=-1)
        return record and {name: getattr(record, name) for name in ("generation", "seen_generation", "version")}

    async def calls(self) -> dict[str, int]:
        return dict(self.store.calls)

    async def die_in(self, *, verb: str, each: list[dict[str, Any]], step: str, point: str) -> list[Any]:
        """Call a verb, and be killed at `point` of the transaction in which the store does `step`."""
        reached = [False]
        real = getattr(steps, step)

        def stepped(*args: Any) -> Any:
            reached[0] = True
            return real(*args)

        setattr(steps, step, stepped)
        if point == "begun":  # the one point before any step
            reached[0] = True
        writer._at = lambda here: _kill() if here == point and reached[0] else None
        return await self.call(verb=verb, each=each)

    async def churn(self, *, die_after: int | None) -> None:
        """Start, update, refresh and revoke sessions until killed; say what was acknowledged, right after it was."""
        if die_after is not None:
            writer._at = _killing_after(die_after)
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(self._churn, number)

    async def _churn(self, number: int) -> None:
        who = f"user-{number}"
        turn = 0
        while True:
            turn += 1
            issued = await self.sessions.start(tag=TAG, data={"userId": who, "turn": turn})
            name = issued.session_id
            _say(started=name, token=issued.token)
            await self.sessions.update(tag=TAG, session_id=name, data={"userId": who, "turn": -turn})
            _say(updated=name)
            assert issued.refresh_token is not None
            issued = await self.sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
            _say(refreshed=name)
            if turn % 2:
                _say(revoking=name)
                await self.sessions.revoke(tag=TAG, session_id=name)
                _say(revoked=name)


def _killing_after(points: int) -> Callable[[str], None]:
    left = [points]

    def at(point: str) -> None:
        left[0] -= 1
        if left[0] <= 0:
            _kill()

    return at


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _plain(value: Any) -> Any:
    if isinstance(value, IssuedSession):
        names = ("token", "refresh_token", "session_id", "identifier")
        return {name: getattr(value, name) for name in names}
    if isinstance(value, Session):
        return {"session_id": value.session_id, "identifier": value.identifier, "data": value.data}
    if isinstance(value, SessionPage):
        return {
            "count": value.count,
            "session_ids": [info.session_id for info in value.sessions],
            "next_cursor": value.next_cursor,
        }
    return value


async def _ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _say(**what: Any) -> None:
    # One write, smaller than PIPE_BUF: a line arrives whole or not at all, whenever we are killed.
    os.write(1, json.dumps(what).encode() + b"\n")


async def main() -> None:
    served = Served()
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        command = json.loads(line)
        answer = await getattr(served, command.pop("command"))(**command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
