"""A store on pairs as those with optimistic transactions work: each step has a snapshot, and is tried at the commit."""

from __future__ import annotations

import random
from typing import TypeVar

import anyio.lowlevel

from ductape_asgi.stores.keyvalue import KeyValueStore, Step

T = TypeVar("T")


class SnapshotStore(KeyValueStore):
    """Not `checked`, it is a store with races: it looks at nothing that others committed since the snapshot, and
    writes pair by pair, sooner or later."""

    def __init__(self, *, checked: bool = True) -> None:
        self._checked = checked
        self._kept: dict[str, str] = {}
        self._commits = 0
        self._lateness = random.Random(1)
        #: How often a step was run again.
        self.repeated = 0

    async def transact(self, step: Step[T]) -> T:
        while True:
            pairs, begun = _Snapshot(self._kept), self._commits
            answer = await step(pairs)
            if not pairs.changed or not self._checked or begun == self._commits:
                break
            self.repeated += 1
        for key, value in pairs.changed.items():
            if not self._checked:
                await self._dawdle()
            if value is None:
                self._kept.pop(key, None)
            else:
                self._kept[key] = value
        self._commits += bool(pairs.changed)
        return answer

    async def _dawdle(self) -> None:
        for _ in range(self._lateness.randrange(10)):
            await anyio.lowlevel.checkpoint()


class _Snapshot:
    def __init__(self, kept: dict[str, str]) -> None:
        self._seen: dict[str, str] = dict(kept)
        self.changed: dict[str, str | None] = {}

    async def get(self, key: str) -> str | None:
        await anyio.lowlevel.checkpoint()
        return self._seen.get(key)

    async def put(self, key: str, value: str) -> None:
        await anyio.lowlevel.checkpoint()
        self._seen[key] = self.changed[key] = value

    async def delete(self, key: str) -> None:
        await anyio.lowlevel.checkpoint()
        del self._seen[key]
        self.changed[key] = None

    async def scan(self, start: str, end: str, limit: int) -> list[tuple[str, str]]:
        await anyio.lowlevel.checkpoint()
        return sorted(pair for pair in self._seen.items() if start <= pair[0] < end)[:limit]
