"""Stores that break one promise each: what random histories have to find."""

from __future__ import annotations

from typing import Any

from ductape_asgi.models import Revocation
from ductape_asgi.stores.memory import MemoryStore


class Forgetful(MemoryStore):
    """A revoke that the log does not tell of."""

    def _append(self, revocation: Revocation) -> None:
        if revocation.session_id is None:
            super()._append(revocation)


class Generous(MemoryStore):
    """One session more than there should be."""

    async def create(self, record: Any, *, limit: int | None, **rest: Any) -> Any:
        return await super().create(record, limit=None if limit is None else limit + 1, **rest)


class Careless(MemoryStore):
    """No sign of life is kept."""

    async def verify(self, session_id: str, *, generation: int) -> Any:
        return await super().verify(session_id, generation=0)


class Tireless(MemoryStore):
    """No use is ever noted."""

    async def touch(self, seen: Any) -> None:
        pass


class Trusting(MemoryStore):
    """Takes a thief for a client that tries again."""

    async def rotate(self, session_id: str, *, generation: int, **rest: Any) -> Any:
        record = self._records.get(session_id)
        newest = 0 if record is None else record.generation - 1
        return await super().rotate(session_id, generation=max(generation, newest), **{**rest, "grace": 10**6})
