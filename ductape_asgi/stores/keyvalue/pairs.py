"""What a transaction sees, in the words of the protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Pairs(Protocol):
    """What a transaction sees: the pairs as they are, with what it has changed itself."""

    async def get(self, key: str) -> str | None:
        """The value under `key`; None where there is none."""
        ...

    async def put(self, key: str, value: str) -> None:
        """Keep `value` under `key`, in place of what was there."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a key, which is there."""
        ...

    async def scan(self, start: str, end: str, limit: int) -> list[tuple[str, str]]:
        """The first `limit` pairs with ``start <= key < end``, in the order of their keys."""
        ...


Step = Callable[[Pairs], Awaitable[T]]
