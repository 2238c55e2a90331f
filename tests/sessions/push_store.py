"""A store with push, as a network store has it, whose network does what a test tells it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio

from ductape_asgi import StoreUnavailable
from ductape_asgi.models import LogPage, Position
from ductape_asgi.stores.memory import MemoryStore

Wake = Callable[[], None]


class Server:
    """What all workers share: the records, the log, and the wires on which wake-ups travel."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.wires: list[Wake] = []
        self.wake_ups = True
        self.copies = 1
        #: Seconds that the n-th wake-up is on its way; the last goes for all that follow.
        self.delays: list[float] = [0.0]

    def wake_all(self) -> None:
        delay = self.delays.pop(0) if len(self.delays) > 1 else self.delays[0]
        for wire in self.wires if self.wake_ups else ():
            for _ in range(self.copies):
                self._deliver(wire, delay)

    def _deliver(self, wire: Wake, delay: float) -> None:
        if not delay:
            wire()
            return
        loop: Any = anyio.lowlevel.current_token().native_token
        if hasattr(loop, "call_later"):
            loop.call_later(delay, wire)
        else:
            import trio

            async def later() -> None:
                await trio.sleep(delay)
                wire()

            trio.lowlevel.spawn_system_task(later)

    def lose(self, kept: MemoryStore) -> None:
        """A failover to a copy that had not got the last writes: the same log, shorter."""
        kept._epoch = self.memory._epoch
        self.memory = kept

    async def copy(self) -> MemoryStore:
        """The records as they are now, with the log's position."""
        other = MemoryStore()
        for record in self.memory._records.values():
            other._add(record)
        other._secrets = dict(self.memory._secrets)
        other._log.extend(self.memory._log)
        other._head[0] = self.memory._head[0]
        return other


class PushStore:
    """One worker's way to the server.  Knows nothing of `announced` but that there is none."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls: list[str] = []
        #: Calls hang while this is set; `all` or the name of a verb.
        self.silent: set[str] = set()
        self.refusing: set[str] = set()
        self.listening = 0
        self.pages: Callable[[LogPage], LogPage] = lambda page: page
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def announced(self) -> None:
        return None

    async def listen(self, wake: Wake) -> None:
        self.server.wires.append(wake)
        self.listening += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.listening -= 1
            self.server.wires.remove(wake)

    async def log_since(self, position: Position | None) -> LogPage:
        await self._travel("log_since")
        return self.pages(await self.server.memory.log_since(position))

    async def _travel(self, name: str) -> None:
        self.calls.append(name)
        await anyio.lowlevel.checkpoint()
        if self.silent & {name, "all"}:
            await anyio.sleep_forever()
        if self.refusing & {name, "all"}:
            raise StoreUnavailable("connection refused")
        if name in self.before:
            await self.before[name]()

    def __getattr__(self, name: str) -> Any:
        if name not in _VERBS:
            raise AttributeError(name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._travel(name)
            memory = self.server.memory
            head = memory._head[0]
            answer = await getattr(memory, name)(*args, **kwargs)
            if memory._head[0] != head:
                self.server.wake_all()
            return answer

        return call


_VERBS = {
    "claim_secret",
    "create",
    "verify",
    "rotate",
    "reseal",
    "revoke",
    "revoke_all",
    "update",
    "list",
    "touch",
    "purge",
    "census",
    "people",
}


def gap(page: LogPage) -> LogPage:
    """The page without its first entry."""
    return replace(page, entries=page.entries[1:])
