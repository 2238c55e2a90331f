"""`SQLiteStore`: the verbs, each handed to where it is done fastest."""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from ...figures import Census, PeoplePage
from ...models import LogPage, Position, RecordPage, Rotation, SessionRecord
from ..rules import mark_needed
from . import steps, survey
from .opened import Opened

T = TypeVar("T")
IdT = TypeVar("IdT", str, str | None)

#: What this process got from a parent by fork: never used and never closed, not even by the garbage collector,
#: since SQLite would undo the parent's locks.
_inherited: list[Opened] = []


class SQLiteStore:
    """A `SessionStore` in one file on a local disk, for any number of processes on one machine.

    Durable at each answer (write-ahead log, ``synchronous=FULL``).  One thread writes, and shares each
    flush of the disk among all who wait; reads wait for nobody.  Beside ``sessions.db`` SQLite keeps
    ``-wal`` and ``-shm``, and the store keeps ``-ductape``: eight bytes that tell the other processes at
    once that something was revoked.  Back up with SQLite's own means, and never a part of these files alone.

    Args:
        path: where the file is, or is to be made; its directory must exist.

    Raises:
        ConfigurationError: `path` names no file (``""``, ``":memory:"``).
    """

    #: Looks are made at once, and what waits for a thread has its own bounds (`handoff.LONGEST_WAIT`, and
    #: `writer.PATIENCE` for other processes' locks).  Cut off from outside, what the disk is about to keep would be
    #: reported as failed.
    deadline = None
    any_loop = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text or text == ":memory:" or "\0" in text or not _nameable(text):
            raise ConfigurationError('SQLiteStore needs the path of a file; use store="memory://" for none')
        self.path = os.path.abspath(text)  # noqa: PTH100 - links are followed when the file is opened
        self._opened: Opened | None = None
        self._forgotten: weakref.finalize[..., SQLiteStore] | None = None

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r})"

    async def open(self) -> None:
        if self._opened is not None and self._opened.usable():
            return
        opened = Opened(self.path)
        await opened.start()
        if self._opened is not None and self._opened.usable():  # another task was faster
            await opened.stop()
            return
        broken = self._let_go()
        if broken is not None:
            broken.abandon()
        self._opened = opened
        self._forgotten = weakref.finalize(self, opened.abandon)
        self._forgotten.atexit = False

    async def close(self) -> None:
        opened = self._let_go()
        if opened is not None and not opened.inherited():
            await opened.stop()

    def _let_go(self) -> Opened | None:
        opened, self._opened = self._opened, None
        if self._forgotten is not None:
            self._forgotten.detach()
        if opened is not None and opened.inherited():
            _inherited.append(opened)
        return opened

    def _here(self) -> Opened:
        opened = self._opened
        if opened is None:
            raise StoreUnavailable("the session store is not open; await its open() first")
        if opened.inherited():
            raise StoreUnavailable("the session store was opened before this process was forked; open it again here")
        return opened

    async def _write(self, step: Callable[..., T], *args: object) -> T:
        answered: T = await self._here().writer.do(lambda tx: step(tx, *args))
        return answered

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        # Most calls only ask.  The reader sees each time whether its file is still the one at the path.
        kept: dict[str, bytes] = await self._here().lister.do(
            lambda connection: steps.kept_secrets(connection.execute, realm, offers)
        )
        return kept or await self._write(steps.claim_secret, realm, dict(offers))

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        return await self._write(steps.create, record, limit, evict, _storable(replaces), secret, now)

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        session_id = _storable(session_id)
        record = self._here().find(session_id)
        if record is None or not mark_needed(record, generation):
            return record
        try:
            return await self._write(steps.mark_seen, session_id, generation)
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
        return await self._write(steps.rotate, _storable(session_id), generation, grace, refresh_key, client, now)

    async def reseal(self, record: SessionRecord) -> None:
        await self._write(steps.reseal, record)

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        return await self._write(steps.revoke, realm, tag, _storable(session_id), now)

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        return await self._write(steps.revoke_all, realm, tag, subject, _storable(spare), now)

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        return await self._write(steps.update, realm, tag, subject, _storable(session_id), data, now)

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        query = partial(steps.list_page, realm=realm, tag=tag, subject=subject, limit=limit, cursor=cursor, now=now)
        page: RecordPage = await self._here().lister.do(query)
        return page

    async def census(self, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
        part: Census = await self._here().lister.do(
            partial(survey.census, whose=(realm, tag), since=since, cursor=cursor, now=now)
        )
        return part

    async def people(self, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
        page: PeoplePage = await self._here().lister.do(
            partial(survey.people, whose=(realm, tag), limit=limit, cursor=cursor, now=now)
        )
        return page

    async def touch(self, seen: Mapping[str, float]) -> None:
        await self._write(steps.touch, {_storable(session_id): at for session_id, at in seen.items()})

    async def purge(self, *, before: float, limit: int) -> int:
        return await self._write(steps.purge, before, limit)

    async def log_since(self, position: Position | None) -> LogPage:
        return self._here().log_since(position)

    def announced(self) -> memoryview | None:
        if self._opened is None:
            return None
        word = self._opened.doorbell.word
        return _SILENT if word is None else word

    async def listen(self, wake: Callable[[], None]) -> None:
        """Returns at once: who looks at `announced` needs no waking."""


#: A word that equals no sequence: who cannot hear the doorbell reads the log for each request, and is never late.
_SILENT = memoryview(array("Q", [0]))


def _nameable(path: str) -> bool:
    """Whether the system can write this path down; a name that is not UTF-8 comes from it as surrogates."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _storable(session_id: IdT) -> IdT:
    """Text that UTF-8 cannot hold (from JSON, say) is nobody's id: ask for the empty one, which is nobody's either."""
    if session_id is None or session_id.isascii():
        return session_id
    return "" if any("\ud800" <= letter <= "\udfff" for letter in session_id) else session_id
