"""A clock that moves when told, and a store that tells what it was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel

from ductape_asgi import IssuedSession, Sessions

TAG = "user-session"
ANN = {"userId": "ann"}
BACKGROUND = frozenset({"listen", "log_since", "purge", "touch"})


class Clock:
    """Unix seconds that move only when told to."""

    def __init__(self, now: float = 1_800_000_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class WatchedStore:
    """Hands every call on to `store`; counts it, and runs what `instead`, `before` and `after` hold under its name."""

    def __init__(self, store: Any) -> None:
        self.real = store
        self.calls: Counter[str] = Counter()
        self.touched: list[dict[str, float]] = []
        self.instead: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.after: dict[str, Callable[[], Awaitable[None]]] = {}

    def asked(self) -> Counter[str]:
        """The calls so far, but for those of the background, which may fall anywhere between two others."""
        return Counter({name: calls for name, calls in self.calls.items() if name not in BACKGROUND})

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)
        if name in ("announced", "route") or not callable(method):
            return method

        async def watched(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            if name == "touch":
                self.touched.append(dict(args[0]))
            if name in self.before:
                await self.before[name]()
            answer = await self.instead.get(name, method)(*args, **kwargs)
            if name in self.after:
                await self.after[name]()
            return answer

        return watched


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Give way to background tasks until a condition holds."""
    with anyio.fail_after(120):
        while not await reached():
            await anyio.sleep(0.001)


async def last_seen(sessions: Sessions, issued: IssuedSession) -> float:
    """What the store has as the session's last use."""
    record = await sessions.worker.store.verify(issued.session_id, generation=-1)
    assert record is not None
    return record.last_seen_at


async def accepted(sessions: Sessions, token: str | None, tag: str = TAG) -> str:
    """``"ok"``, or the code of the refusal."""
    from ductape_asgi import DuctapeError

    try:
        await sessions.verify(tag=tag, token=token)
    except DuctapeError as error:
        return error.code
    return "ok"
