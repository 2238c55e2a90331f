"""One number shared by all processes on a machine: how far the log has got.

A look at it costs tens of nanoseconds, where asking the database costs tens of microseconds.  It lives in a
file of eight bytes beside the database, mapped into memory.  It is a hint with one promise: it is never
behind a step that was acknowledged.  Everything else, lost, replaced or ahead, heals and costs speed only.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time

from ...audit import logger
from .database import Identity, identify

#: How long the word may differ from the log before somebody sets it right.
OVERSHOOT = 0.5
_CHECK_EVERY = 1.0
_SIZE = 8


class Doorbell:
    """The mapped word.  `ring` is called under the database's write lock, everything else at any time."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: The word as a ``"Q"`` memoryview; None while the file cannot be mapped.
        self.word: memoryview | None = None
        self._identity: Identity | None = None
        self._mapping = threading.Lock()
        self._checked_at = float("-inf")
        self._differs_since: float | None = None
        self._warned = False

    def ring(self, sequence: int) -> None:
        """Announce `sequence`, before the commit that makes it true."""
        with self._mapping:
            if self.word is not None:
                self.word[0] = sequence  # also in a file that was replaced: others may have it mapped still
            if self._moved() and self.word is not None:
                self.word[0] = sequence

    def _moved(self) -> bool:
        """Map the file at our path, making it if need be, unless it is the mapped one."""
        if self._identity is not None and identify(self.path) == self._identity:
            return False
        self.word = self._identity = None
        try:
            self.word, self._identity = _map(self.path)
            self._warned = False
        except (OSError, ValueError) as error:
            if not self._warned:
                self._warned = True
                logger.warning("%s cannot be used, which makes each request slower: %s", self.path, error)
        return True

    def needs_care(self, head: int) -> bool:
        """Whether a `ring` under the write lock is due, when the log's head was `head` a moment ago."""
        now = time.monotonic()
        if now - self._checked_at > _CHECK_EVERY:
            self._checked_at = now
            with self._mapping:  # a new file may hold anything; what it must not be is behind for long
                if self._moved():
                    return self.word is not None
        return self._differs_for_long(head, now)

    def _differs_for_long(self, head: int, now: float) -> bool:
        word = self.word
        if word is None or word[0] == head:
            self._differs_since = None
        elif self._differs_since is None:
            self._differs_since = now
        elif now - self._differs_since > OVERSHOOT:
            self._differs_since = None
            return True
        return False


def _give_to_owner_of(database: str, file: int) -> None:
    """Who may use the database may use this: a command run by another user must not lock the app out."""
    with contextlib.suppress(OSError):
        status = os.stat(database)  # noqa: PTH116
        os.fchmod(file, status.st_mode & 0o666)
        os.fchown(file, status.st_uid, status.st_gid)


def _allocate(file: int) -> None:
    """Make room on the disk: writing into a hole of a mapped file kills the process once the disk is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, _SIZE)
    else:
        os.pwrite(file, bytes(_SIZE), 0)


def _map(path: str) -> tuple[memoryview, Identity]:
    """Never unmapped by hand: whoever still looks at an old word must find it readable."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    file = os.open(path, flags, 0o600)
    try:
        status = os.fstat(file)
        if status.st_size < _SIZE:
            _allocate(file)
            _give_to_owner_of(path.removesuffix("-ductape"), file)
        return memoryview(mmap.mmap(file, _SIZE)).cast("Q"), (status.st_dev, status.st_ino)
    finally:
        os.close(file)
