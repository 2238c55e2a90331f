"""A store while it is open: one thread that writes, one that reads long lists, and a connection for short looks."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...errors import DuctapeError, StoreUnavailable
from ...models import LogPage, Position, SessionRecord
from ..handoff import Job, Worker, answer
from . import steps
from .database import OpenFile, unavailable
from .doorbell import Doorbell
from .schema import to_record
from .writer import Step, Writer

P = ParamSpec("P")
T = TypeVar("T")
Query = Callable[[sqlite3.Connection], Any]

#: How often the point reader makes sure that its file is still the one at the path, in seconds.
_CHECK_EVERY = 1.0


#: What is open in this process; see `_before_fork`.
open_here: weakref.WeakSet[Opened] = weakref.WeakSet()
_paused: list[Opened] = []


class Opened:
    """Everything that opening made.  Bound to one process and to no event loop."""

    def __init__(self, path: str) -> None:
        self._pid = os.getpid()
        # All names of one file must lead to one doorbell, as they lead SQLite to one write-ahead log.
        path = os.path.realpath(path)
        self.doorbell = Doorbell(path + "-ductape")
        self._file, listed, written = OpenFile(path), OpenFile(path), OpenFile(path)
        self._files = (self._file, listed, written)
        writing, listing = Writer(written, self.doorbell), _Lister(listed)
        self.writer: Worker[Step] = Worker("ductape-writer", writing.run, begin=writing.begin, end=writing.end)
        self.lister: Worker[Query] = Worker("ductape-reader", listing.run, end=listing.end)
        # A look takes 10 us, a hop to a thread 200: looks are made where they are asked for, one at a time.
        self._lock = threading.Lock()
        self._closed = False
        self._checked_at = time.monotonic()
        open_here.add(self)

    def pause(self) -> None:
        """Wait until nobody is at work, let nobody begin, and close every connection."""
        for lock in self._locks():
            lock.acquire()
        for file in self._files:
            file.close()

    def resume(self) -> None:
        """Go on after `pause`; connections are opened again when they are needed."""
        for lock in self._locks():
            lock.release()

    def _locks(self) -> tuple[threading.Lock, ...]:
        return self._lock, self.lister.busy, self.writer.busy

    def inherited(self) -> bool:
        return self._pid != os.getpid()

    def usable(self) -> bool:
        return not (self.inherited() or self._closed or self.writer.over or self.lister.over)

    async def start(self) -> None:
        try:
            await self.writer.start()
            await self.lister.start()
        except BaseException:
            self.abandon()
            raise

    async def stop(self) -> None:
        self._end_looks()
        try:
            await self.lister.leave().outcome()
        finally:
            # Last and alone: of two connections that close at once, neither puts SQLite's log back into the file.
            await self.writer.leave().outcome()

    def abandon(self) -> None:
        """As `stop`, without waiting for the end."""
        if not self.inherited():
            self._end_looks()
            self.lister.leave(awaited=False)
            self.writer.leave(awaited=False)

    def _end_looks(self) -> None:
        with self._lock:
            self._closed = True
            self._file.close()

    def find(self, session_id: str) -> SessionRecord | None:
        """The record of a session: the one look that is made with every cold verification."""
        with self._lock:
            try:
                self._connection()
                row = self._file.cursor.execute(steps.FIND, (session_id,)).fetchone()
            except sqlite3.Error as error:
                raise unavailable(error) from error
        return None if row is None else to_record(row)

    def look(self, query: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read a few rows, in the calling thread."""
        with self._lock:
            try:
                return query(self._connection().execute, *args, **kwargs)
            except sqlite3.Error as error:
                raise unavailable(error) from error

    def _connection(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable("the session store was closed meanwhile")
        now = time.monotonic()
        if now - self._checked_at > _CHECK_EVERY:
            self._checked_at = now
            if self._file.replaced():
                self._file.close()
                self.writer.do_soon(steps.set_doorbell)  # on its way it brings the new file up to date
        return self._file.connection

    def log_since(self, position: Position | None) -> LogPage:
        try:
            page = self.look(lambda execute: steps.log_since(execute, position, self._label()))
        except steps.LogDamaged:
            self.writer.do_soon(steps.set_doorbell)  # on its way it begins another
            raise
        if self.doorbell.needs_care(page.position.sequence):
            self.writer.do_soon(steps.set_doorbell)
        return page

    def _label(self) -> str:
        device, inode = self._file.identity or (0, 0)
        return f"{device:x}.{inode:x}"


class _Lister:
    """Runs queries one by one on its own connection.  Belongs to one thread."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file

    def end(self) -> None:
        self._file.close()

    def run(self, jobs: Sequence[Job[Query]]) -> None:
        for job in jobs:
            try:
                if self._file.replaced():
                    self._file.close()
                job.value = job.step(self._file.connection)
            except DuctapeError as error:
                job.error = error
            except Exception as error:
                job.error = unavailable(error)
        answer(jobs)


def _before_fork() -> None:
    """No connection may cross a fork: SQLite would believe that the child has the locks which only its parent holds,
    and one of them would delete the write-ahead log under the other."""
    _paused[:] = [opened for opened in list(open_here) if not opened.inherited()]
    for opened in _paused:
        opened.pause()


def _after_fork() -> None:
    while _paused:
        _paused.pop().resume()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_paused.clear)
