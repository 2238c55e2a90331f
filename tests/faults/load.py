"""One worker process under load, which writes down what it saw.  Run by path; commands and answers are JSON lines.

Instants are `time.monotonic`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from lateness import Lateness  # type: ignore[import-not-found]  # beside this file, which is run by its path

from ductape_asgi import (
    DuctapeError,
    DuctapeMiddleware,
    SessionError,
    Sessions,
    StoreUnavailable,
    TagPolicy,
)
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.urls import store_from

TAG = "user-session"
#: Imported before anything is timed.
DRIVERS = PostgresStore, RedisStore
#: Requests at a time, and the pause of each lane between two of them, in seconds.
LANES, PAUSE = 20, 0.04
#: Waits below this are no news.
NOTED = 0.05


class Delayed:
    """A store whose wake-ups come late and many times over."""

    def __init__(self, store: Any, seconds: float, times: int) -> None:
        self._store, self._seconds, self._times = store, seconds, times
        self.route = getattr(store, "route", None)
        self.rung = 0
        if self.route is None:
            del self.route

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def listen(self, wake: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def ring() -> None:
            self.rung += 1
            wake()

        def hear() -> None:
            for number in range(self._times):
                loop.call_later(self._seconds * (1 + number / self._times), ring)

        await self._store.listen(hear)


class Seen:
    """What this worker saw."""

    def __init__(self) -> None:
        #: By session: begin and end of its last accepted request, and how often it was refused as ended.
        self.accepted: dict[str, tuple[float, float]] = {}
        self.refused: Counter[str] = Counter()
        self.refused_at: dict[str, float] = {}
        #: When a session that had been refused was accepted again: the begin of the first such request.
        self.relapsed: dict[str, float] = {}
        self.statuses: Counter[str] = Counter()
        self.waits: list[tuple[str, float, float]] = []
        self.misses: list[tuple[float, float, bool]] = []
        self.revoked: dict[str, float] = {}
        self.signed_out: list[str] = []
        #: Why the last question to the store was not answered.
        self.last_failure = ""
        self.wrong: Counter[str] = Counter()
        self.resyncs: list[str] = []

    def waited(self, what: str, begin: float, end: float) -> None:
        if end - begin > NOTED:
            self.waits.append((what, begin, end))

    def answered(self, session: str, status: int, headers: dict[bytes, bytes], begin: float, end: float) -> None:
        self.statuses[str(status)] += 1
        self.waited("request", begin, end)
        if b"set-cookie" in headers:
            self.wrong["cookie set or cleared"] += 1
        if status == 503 and headers.get(b"retry-after") != b"1":
            self.wrong["503 without Retry-After"] += 1
        if status == 200:
            if begin > self.refused_at.get(session, float("inf")):
                self.relapsed.setdefault(session, begin)
            self.accepted[session] = (begin, end)
        elif status == 401:
            self.refused[session] += 1
            self.refused_at.setdefault(session, end)
        elif status != 503:
            self.wrong[f"status {status}"] += 1


class Resyncs(logging.Handler):
    def __init__(self, reasons: list[str]) -> None:
        super().__init__()
        self._reasons = reasons

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "") == "feed.resync":
            self._reasons.append(record.reason)  # type: ignore[attr-defined]


class Load:
    """Each public method is a command."""

    sessions: Sessions
    app: DuctapeMiddleware

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._background: list[asyncio.Task[None]] = []
        self._shift = 0.0
        self._lanes: deque[dict[str, Any]] = deque()
        #: Whose the sessions are that were started here.
        self._whose: dict[str, str] = {}
        self.lateness = Lateness()
        self.seen = Seen()
        logging.getLogger("ductape_asgi.audit").addHandler(Resyncs(self.seen.resyncs))
        logging.getLogger("ductape_asgi.audit").setLevel(logging.INFO)
        logging.getLogger("ductape_asgi").addHandler(logging.NullHandler())

    def _go(self, work: Any) -> None:
        self._background.append(self._tasks.create_task(work))

    async def open(
        self, *, url: str, keys: list[str], max_staleness: int, shift: float = 0.0, late_wakeups: float = 0.0
    ) -> None:
        self._shift = shift
        store: Any = store_from(url)
        if late_wakeups:
            store = Delayed(store, late_wakeups, 20)
        self.sessions = Sessions(
            access_key=keys,
            product="shop",
            env="prd",
            store=store,
            tags=[TagPolicy(TAG, expires_in=86_400)],
            max_staleness=max_staleness,
            clock=lambda: time.time() + self._shift,
        )
        self.app = DuctapeMiddleware(_app, sessions=self.sessions, tag=TAG, required=True)
        await self._patiently(self.sessions.__aenter__)
        self._go(self.lateness.run())

    async def ready(self) -> None:
        """Has been started, and has imported all it needs."""

    async def step_clock(self, *, seconds: float) -> None:
        self._shift += seconds

    async def issue(self, *, count: int, who: str) -> list[dict[str, Any]]:
        """Sessions of persons of their own."""
        issued = []
        for number in range(count):
            start = partial(self.sessions.start, tag=TAG, data={"userId": f"{who}-{number}"})
            one = await self._patiently(start)
            self._whose[one.session_id] = f"{who}-{number}"
            issued.append({"id": one.session_id, "token": one.token, "refresh": one.refresh_token})
        return issued

    async def _patiently(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Where nothing is measured, a machine that is busy with others may take its time."""
        give_up = time.monotonic() + 30
        while True:
            try:
                return await call()
            except StoreUnavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.05)

    async def watch(self, *, sessions: list[dict[str, Any]], probe: dict[str, Any]) -> int:
        """Have them all cached, then ask for each again and again.  `probe` is asked of the store each time."""
        for number, each in enumerate(sessions):
            header = (b"authorization", f"Bearer {each['token']}".encode())
            if number % 2:
                header = (b"cookie", f"__Host-ductape={each['token']}".encode())
            self._lanes.append({"id": each["id"], "headers": [header]})
        for each in list(self._lanes):
            while each["id"] not in self.seen.accepted:
                await self._request(each)
        for _ in range(LANES):
            self._go(self._lane())
        self._go(self._probe(probe["token"]))
        return len(self.seen.accepted)

    async def rotate(self, *, sessions: list[dict[str, Any]]) -> None:
        """Refresh these by turns, as a client does: with the newest token it was given."""
        self._go(self._rotate(deque(sessions)))

    async def revoke(self, *, session_ids: list[str], every: float, by_person: bool) -> None:
        """End one after another; one that failed is tried again until the store has acknowledged it.

        `by_person`: every second one with all of its person's, who has no other.
        """
        self._go(self._revoke(session_ids, every, by_person))

    async def recovered(self, *, after: float, within: float) -> tuple[float, float] | None:
        """When the first question to the store that was asked `after` was asked, and when it was answered."""
        give_up = time.monotonic() + within
        while time.monotonic() < give_up:
            answers = [(begin, end) for begin, end, answered in self.seen.misses if answered and begin >= after]
            if answers:
                return answers[0]
            await asyncio.sleep(0.01)
        return None

    async def refused(self, *, session_ids: list[str], within: float) -> int:
        """How many of these have been refused, at the latest when the time is over."""
        give_up = time.monotonic() + within
        while True:
            count = sum(self.seen.refused[one] > 0 for one in session_ids)
            if count == len(session_ids) or time.monotonic() > give_up:
                return count
            await asyncio.sleep(0.01)

    async def acknowledged(self, *, count: int, within: float) -> int:
        """How many revocations the store has acknowledged, at the latest when the time is over."""
        give_up = time.monotonic() + within
        while len(self.seen.revoked) < count and time.monotonic() < give_up:
            await asyncio.sleep(0.01)
        return len(self.seen.revoked)

    async def accepts(self, *, token: str) -> bool:
        answer = await self._timed("verify", self.sessions.verify(tag=TAG, token=token))
        return not isinstance(answer, Exception)

    async def ended(self, *, tokens: list[str], within: float) -> dict[str, Any]:
        """How many of these the store shows live at the first look, and when it shows none of them any more."""
        give_up = time.monotonic() + within
        alive = tokens
        first = None
        while alive and time.monotonic() < give_up:
            answers = [
                await self._timed("verify", self.sessions.verify(tag=TAG, token=token, fresh=True)) for token in alive
            ]
            alive = [
                token for token, answer in zip(alive, answers, strict=True) if not isinstance(answer, SessionError)
            ]
            first = len(alive) if first is None else first
        return {"live": first, "left": len(alive), "at": time.monotonic()}

    async def churn(self, *, session_ids: list[str]) -> None:
        """Revoke one after another, and say so right after each was acknowledged."""
        for session_id in session_ids:
            await self._patiently(partial(self.sessions.revoke, tag=TAG, session_id=session_id))
            # One write, smaller than PIPE_BUF: a line arrives whole or not at all, whenever we are killed.
            os.write(1, json.dumps([session_id, time.monotonic()]).encode() + b"\n")

    async def rung(self) -> int:
        """How often the reader was woken, late and doubled."""
        return int(self.sessions.worker.store.rung)

    async def report(self) -> dict[str, Any]:
        give_up = time.monotonic() + 30
        while not (health := await self.sessions.health()).ok and time.monotonic() < give_up:
            await asyncio.sleep(0.1)
        return {**vars(self.seen), "gaps": self.lateness.gaps, "health": health.ok, "trusted": health.trusted}

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background, timeout=5)
        await self.sessions.__aexit__(None, None, None)

    async def _lane(self) -> None:
        while True:
            each = self._lanes.popleft()
            self._lanes.append(each)
            await self._request(each)
            await asyncio.sleep(PAUSE)

    async def _request(self, each: dict[str, Any]) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": each["headers"]}
        started: list[Any] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.append(message)

        begin = time.monotonic()
        try:
            await self.app(scope, _receive, send)
            status, headers = started[0]["status"], dict(started[0]["headers"])
        except (Exception, asyncio.CancelledError) as error:
            self._raise_if_cancelled(error)
            status, headers = 500, {}
            self.seen.wrong[f"request: {type(error).__name__}: {error}"] += 1
        self.seen.answered(each["id"], status, headers, begin, time.monotonic())

    async def _timed(self, what: str, call: Awaitable[Any]) -> Any:
        """The answer, or the error of ours that it raised."""
        begin = time.monotonic()
        try:
            return await call
        except DuctapeError as error:
            return error
        except (Exception, asyncio.CancelledError) as error:
            self._raise_if_cancelled(error)
            self.seen.wrong[f"{what}: {type(error).__name__}: {error}"] += 1
            return error
        finally:
            self.seen.waited(what, begin, time.monotonic())

    def _raise_if_cancelled(self, error: BaseException) -> None:
        """Any other cancellation was meant for somebody else: a task would die of it without a word."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise error

    async def _probe(self, token: str) -> None:
        while True:
            begin = time.monotonic()
            answer = await self._timed("verify", self.sessions.verify(tag=TAG, token=token, fresh=True))
            self.seen.misses.append((begin, time.monotonic(), not isinstance(answer, Exception)))
            if isinstance(answer, Exception):
                self.seen.last_failure = f"{answer!r} from {answer.__cause__!r}"
            if isinstance(answer, SessionError):
                self.seen.signed_out.append(f"verify: {answer.code}")
            await asyncio.sleep(PAUSE)

    async def _rotate(self, sessions: deque[dict[str, Any]]) -> None:
        while True:
            each = sessions.popleft()
            sessions.append(each)
            answer = await self._timed("refresh", self.sessions.refresh(tag=TAG, refresh_token=each["refresh"]))
            if isinstance(answer, SessionError):
                self.seen.signed_out.append(f"refresh: {answer.code}")
            elif not isinstance(answer, Exception):
                each["refresh"] = answer.refresh_token
                verified = await self._timed("verify", self.sessions.verify(tag=TAG, token=answer.token))
                if isinstance(verified, SessionError):
                    self.seen.signed_out.append(f"verify: {verified.code}")
            await asyncio.sleep(0.1)

    async def _revoke(self, session_ids: list[str], every: float, by_person: bool) -> None:
        for number, session_id in enumerate(session_ids):
            end = partial(self.sessions.revoke, tag=TAG, session_id=session_id)
            if by_person and number % 2:
                end = partial(self.sessions.revoke_all, tag=TAG, identifier=self._whose[session_id])
            while True:
                answer = await self._timed("revoke", end())
                if not isinstance(answer, Exception):
                    self.seen.revoked[session_id] = time.monotonic()
                    break
                if not isinstance(answer, StoreUnavailable):
                    self.seen.wrong[f"revoke: {answer!r}"] += 1
                await asyncio.sleep(0.05)
            await asyncio.sleep(every)


async def _receive() -> Any:
    return {"type": "http.request", "body": b""}


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def main() -> None:
    async with asyncio.TaskGroup() as tasks:
        load = Load(tasks)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            answer = await getattr(load, command.pop("command"))(**command)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        for task in load._background:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
