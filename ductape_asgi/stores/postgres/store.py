"""`PostgresStore`: the verbs, each one step on a connection that is lent to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from ...figures import Census, PeoplePage
from ...models import LogPage, Position, RecordPage, Rotation, SessionRecord
from ..rules import mark_needed
from . import steps
from .address import read_url
from .driver import connector
from .listening import listen
from .opened import Opened, needs_asyncio
from .opening import check_files
from .pool import PATIENCE, Pool, Step
from .statements import channel_of

T = TypeVar("T")
TextT = TypeVar("TextT", str, str | None)

#: What is set for each connection of our own, so that a worker that vanished does not keep the server busy, nor
#: its locks.  Behind a pooler it would be somebody else's connection.
_SETTINGS = {
    "application_name": "ductape-asgi",
    "statement_timeout": "2000",
    "idle_in_transaction_session_timeout": "2000",
    "jit": "off",
}


class PostgresStore:
    """A `SessionStore` in PostgreSQL 14 or newer, for any number of processes and machines.  Runs on asyncio.

    Durable at each answer, as far as the server's ``synchronous_commit`` goes.  Makes its tables, named
    ``ductape_...``, when it is opened first.  No step waits longer than a second for the server.

    Args:
        url: as libpq takes it, ``"postgresql://user:password@host:5432/database"``, with its ``PG...``
            variables and password file.  The options below may stand in it as ``?ductape_listen=off`` and so on.
        listen: keep one more connection, by which the server tells at once that something was revoked.  Switch
            it off behind a pooler in transaction mode (PgBouncer): connections then hold no state at all.
        schema: where the tables are, and are made; it must exist.  By default wherever the search path finds them.
        pool_size: connections at most, for each event loop of each process.
        statement_cache_size: prepared statements that each connection keeps; by default none without `listen`,
            since most poolers cannot follow them.

    Raises:
        ConfigurationError: the URL or an option is none.
    """

    def __init__(
        self,
        url: str,
        *,
        listen: bool | None = None,
        schema: str | None = None,
        pool_size: int | None = None,
        statement_cache_size: int | None = None,
    ) -> None:
        address = self._address = read_url(url)
        self._schema = address.schema if schema is None else schema
        self._listens = _first(listen, address.listen, True)
        self._pool_size = _first(pool_size, address.pool_size, 10)
        self._cached = _first(statement_cache_size, address.statement_cache_size, 100 if self._listens else 0)
        if self._schema is not None and (not self._schema or "\0" in self._schema or len(self._schema.encode()) > 63):
            raise ConfigurationError("schema= is the name of a schema, of 1 to 63 bytes")
        if self._pool_size < 1 or self._cached < 0:
            raise ConfigurationError("pool_size= is at least 1, and statement_cache_size= at least 0")
        settings = {name: value for name, value in _SETTINGS.items() if name not in address.settings}
        self._connect = connector(
            address.dsn, timeout=PATIENCE, cached=self._cached, settings=settings if self._listens else None
        )
        self._opened: Opened | None = None
        self._forgotten: weakref.finalize[..., PostgresStore] | None = None

    def __repr__(self) -> str:
        return f"PostgresStore({self._address.shown!r})"

    async def open(self) -> None:
        needs_asyncio()
        if self._opened is not None and self._opened.usable():
            return
        check_files(self._address.files)
        opened = Opened(Pool(self._connect, self._pool_size))
        await opened.prepare(self._schema)
        if self._opened is not None and self._opened.usable():  # another task was faster
            await opened.pool.stop()
            return
        self._let_go()
        self._opened = opened
        self._forgotten = weakref.finalize(self, opened.pool.abandon)
        self._forgotten.atexit = False

    async def close(self) -> None:
        if self._opened is not None and self._opened.usable():
            opened, self._opened = self._opened, None
            if self._forgotten is not None:
                self._forgotten.detach()
            await opened.pool.stop()
        else:
            self._let_go()

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if self._forgotten is not None:
            self._forgotten.detach()
        if opened is not None:
            opened.pool.abandon()

    def _here(self) -> Opened:
        opened = self._opened
        if opened is None:
            raise StoreUnavailable("the session store is not open; await its open() first")
        if not opened.usable():
            raise StoreUnavailable(
                "the session store was opened in another event loop, or before this process was forked; open it here"
            )
        return opened

    async def _do(self, step: Callable[..., Any], *args: object) -> Any:
        opened = self._here()
        return await opened.pool.do(lambda connection: step(connection, opened.sql, *args))

    async def _read(self, step: Callable[..., Any], *args: object) -> Any:
        opened = self._here()
        return await opened.pool.do(lambda connection: step(connection, opened.sql, *args), again=True)

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        kept: dict[str, bytes] = await self._do(steps.claim_secret, realm, dict(offers))
        return kept

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        ended: tuple[str, ...] = await self._do(steps.create, record, limit, evict, _storable(replaces), secret, now)
        return ended

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        opened, session_id = self._here(), _storable(session_id)
        until = opened.pool.deadline()
        find: Step[SessionRecord | None] = partial(steps.find, sql=opened.sql, session_id=session_id)
        record = await opened.pool.do(find, again=True, until=until)
        if record is None or not mark_needed(record, generation):
            return record
        mark: Step[SessionRecord | None] = partial(
            steps.mark_seen, sql=opened.sql, session_id=session_id, generation=generation
        )
        try:
            return await opened.pool.do(mark, again=True, until=until)
        except StoreUnavailable:
            return record

    async def rotate(
        self,
        session_id: str,
        *,
        generation: int,
        grace: int,
        refresh_key: str,
        client: bytes | None,
        now: float,
    ) -> Rotation:
        rotation: Rotation = await self._do(
            steps.rotate, _storable(session_id), generation, grace, refresh_key, client, now
        )
        return rotation

    async def reseal(self, record: SessionRecord) -> None:
        await self._do(steps.reseal, record)

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        live: bool = await self._do(steps.revoke, _storable(realm), _storable(tag), _storable(session_id), now)
        return live

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        person = _storable(realm), _storable(tag), _storable(subject)
        ended: int = await self._do(steps.revoke_all, *person, _storable(spare), now)
        return ended

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        whose = _storable(realm), _storable(tag), _storable(subject), _storable(session_id)
        changed: int = await self._do(steps.update, *whose, data, now)
        return changed

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        page: RecordPage = await self._read(steps.list_page, realm, tag, subject, limit, cursor, now)
        return page

    async def census(self, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
        part: Census = await self._read(steps.census, realm, tag, since, cursor, now)
        return part

    async def people(self, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
        page: PeoplePage = await self._read(steps.people, realm, tag, limit, cursor, now)
        return page

    async def touch(self, seen: Mapping[str, float]) -> None:
        await self._do(steps.touch, {_storable(session_id): at for session_id, at in seen.items()})

    async def purge(self, *, before: float, limit: int) -> int:
        removed = 0
        while removed < limit:
            step = await self._do(steps.purge, before, limit - removed)
            removed += step[0]
            if step == (0, 0):
                break
        await self._do(steps.trim)
        return removed

    async def log_since(self, position: Position | None) -> LogPage:
        page: LogPage = await self._read(steps.log_since, position)
        return page

    async def listen(self, wake: Callable[[], None]) -> None:
        """Run until cancelled, and call `wake` whenever the log may have grown.

        A wake-up is a hint: it may come late, twice, for nothing or not at all; the log decides.  Also called
        when its connection was lost or made anew, since hints may have been missed.  Reconnects by itself
        with back-off and jitter; returns at once where there is no push.
        """
        if self._listens:
            opened = self._here()
            await listen(opened.pool.connect, channel_of(opened.sql.schema), wake)

    def announced(self) -> memoryview | None:
        """None: who wants to know asks the server."""
        return None


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _storable(text: TextT) -> TextT:
    """Text that the server cannot hold is nobody's: ask for the empty one, which is nobody's either."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return "" if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text) else text
