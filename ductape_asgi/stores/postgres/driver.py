"""What is used of asyncpg, with its types, and what its errors mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, cast

import asyncpg

from ...errors import StoreUnavailable
from ..base import StepRefused

Undone: tuple[type[Exception], ...] = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The server has undone the step, and it may be tried again."""

Lost: tuple[type[Exception], ...] = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The connection is gone, and whether the step was done is not known."""

Failed: tuple[type[Exception], ...] = (asyncpg.PostgresError, *Lost, OSError, ValueError, OverflowError)
"""Whatever else a driver raises when the server, or the way to it, fails.

ValueError: what it cannot encode.  OverflowError: a port that is none.
"""

ServerError: type[Exception] = asyncpg.PostgresError
"""An answer of the server; the connection goes on unless it is one of `Lost`."""

UniqueViolation: type[Exception] = asyncpg.UniqueViolationError


class Row(Protocol):
    """A tuple whose fields have names as well."""

    def __getitem__(self, name: str) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection that is used for one thing at a time."""

    async def execute(self, query: str, *values: object) -> str: ...
    async def fetch(self, query: str, *values: object) -> list[Row]: ...
    async def fetchrow(self, query: str, *values: object) -> Row | None: ...
    async def fetchval(self, query: str, *values: object) -> Any: ...
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109


Connect = Callable[[], Awaitable[Connection]]


def connector(dsn: str, *, timeout: float, cached: int, settings: dict[str, str] | None) -> Connect:
    """What makes connections.  Knows nothing of the store, which may be forgotten while some are open.

    Args:
        timeout: seconds.
        cached: prepared statements that each connection keeps.
        settings: of the server, for each connection.
    """
    connect = cast("Any", asyncpg.connect)

    async def connected() -> Connection:
        connection: Connection = await connect(
            dsn,
            timeout=timeout,
            statement_cache_size=cached,
            max_cached_statement_lifetime=0,
            server_settings=settings,
        )
        return connection

    return connected


def transport_of(connection: Connection) -> Any:
    """The event loop's end of a connection; asyncpg has no public name for it."""
    return cast("Any", connection)._transport


def unavailable(error: BaseException) -> StoreUnavailable:
    """What callers get for a failure of the server or of the way to it."""
    state = getattr(error, "sqlstate", None)
    name = type(error).__name__ + (f", {state}" if state else "")
    return (StepRefused if _refused(error) else StoreUnavailable)(
        f"the PostgreSQL session store failed ({name}); see its log and the way there, and try again"
    )


def _refused(error: BaseException) -> bool:
    """Whether the server said no to this step and would do others: it cannot write now, or not this.

    Not where it has no connection to give, or took its time.
    """
    state: str | None = getattr(error, "sqlstate", None)
    return isinstance(error, ServerError) and state != "53300" and (state or "")[:2] in ("22", "23", "25", "53")
