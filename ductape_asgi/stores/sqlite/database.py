"""Opening the SQLite file: refuse what cannot work and say what to do, then bring its tables up to date."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...errors import ConfigurationError, StoreUnavailable
from .schema import APPLICATION_ID, MIGRATIONS

#: How long one attempt waits for another process's lock, inside SQLite.
BUSY_MS = 100
#: How long opening waits for other processes that open, and perhaps migrate, the same file.
OPEN_PATIENCE = 5.0
#: Files up to this size are checked page by page at open (about 2 ms for each MB).
CHECKED_BYTES = 64 * 2**20
#: File systems that do not share memory between the machines that mount them, as a write-ahead log needs.
_NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs", "glusterfs", "fuse.glusterfs"}
)

#: Where Linux tells what is mounted.
MOUNTS = "/proc/self/mounts"

#: Device and inode: the file itself, whatever it is called.
Identity = tuple[int, int]


def identify(path: str) -> Identity | None:
    """Which file is at `path` now; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - asked for with every batch
    except OSError:
        return None
    return status.st_dev, status.st_ino


def prepare(path: str) -> None:
    """Make the file if there is none, open it once, and leave it usable: ours, whole, and of our version.

    Raises:
        ConfigurationError: the file or its place cannot be used; says what to do.
        StoreUnavailable: other processes kept it locked.
    """
    _check_place(path)
    with _explained(path):
        connection = connect(path)
        try:
            _patiently(lambda: _check_file(connection, path))
            _patiently(lambda: _use_wal(connection, path))
            _patiently(lambda: _migrate(connection, path))
        finally:
            connection.close()


def connect(path: str, *, busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    """A connection in autocommit mode.  Never makes a file: one that was deleted must not come back empty."""
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=busy_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA journal_size_limit = 16777216")
    except BaseException:
        connection.close()
        raise
    return connection


class OpenFile:
    """A connection to the file at `path`, which notices when another is put there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.identity: Identity | None = None
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self.identity = identify(self.path)
            self._connection = connect(self.path)
        return self._connection

    @property
    def cursor(self) -> sqlite3.Cursor:
        """One cursor for all short looks: to make one costs as much as to read a row."""
        if self._cursor is None:
            self._cursor = self.connection.cursor()
        return self._cursor

    def replaced(self) -> bool:
        return self._connection is not None and identify(self.path) != self.identity

    def close(self) -> None:
        connection, cursor = self._connection, self._cursor
        self._connection = self._cursor = None
        if cursor is not None:
            cursor.close()
        if connection is not None:
            connection.close()


def _check_place(path: str) -> None:
    folder = str(Path(path).parent)
    if (kind := file_system_of(folder)) in _NETWORKED:
        raise ConfigurationError(
            f"the session store is on a {kind} file system, where SQLite's write-ahead log does not work:"
            f" put it on a local disk ({path})"
        )
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(
            f"the directory of the session store does not exist: make it, or change store= ({path})"
        ) from None
    except IsADirectoryError:
        raise ConfigurationError(f"store= names a directory, not a file: {path}") from None
    except OSError as error:
        raise ConfigurationError(_not_writable(path, error.strerror)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            _not_writable(path, "the directory is read-only, and SQLite keeps a log beside the file")
        )


def _not_writable(path: str, reason: str | None) -> str:
    return f"the session store cannot be written: {reason}; give this user write access, or change store= ({path})"


def file_system_of(folder: str) -> str:
    """The kind of the file system that holds `folder`, e.g. ``"ext4"``; empty where the system does not tell."""
    try:
        lines = Path(MOUNTS).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    kinds = [(words[1].replace("\\040", " "), words[2]) for words in map(str.split, lines) if len(words) > 2]
    holding = [(point, kind) for point, kind in kinds if (folder + "/").startswith(point.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]), default=("", ""))[1]


def _check_file(connection: sqlite3.Connection, path: str) -> None:
    def pragma(name: str) -> Any:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    # In one transaction: another process may be making the tables at this moment.
    connection.execute("BEGIN")
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        application, version = pragma("application_id"), pragma("user_version")
    finally:
        connection.execute("ROLLBACK")
    if application != APPLICATION_ID and (tables or version or application):
        raise ConfigurationError(
            f"this SQLite file belongs to another application: give sessions a file of their own ({path})"
        )
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            "the session store was written by a newer version of ductape-asgi: upgrade this one, or change store="
            f" ({path})"
        )
    if Path(path).stat().st_size <= CHECKED_BYTES and pragma("quick_check(1)") != "ok":
        raise ConfigurationError(_corrupt(path))


def _corrupt(path: str) -> str:
    return (
        "the session store is damaged, or no SQLite file at all: restore a backup, or move it away to begin with an"
        f" empty one, which signs everybody out ({path})"
    )


def _use_wal(connection: sqlite3.Connection, path: str) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"SQLite cannot keep a write-ahead log there (it answered {mode!r}): put the session store on a local disk"
            f" ({path})"
        )


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Step by step inside one transaction, so that of many processes one migrates and none sees half of it."""
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for migration in MIGRATIONS[_version(connection) :]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _patiently(step: Callable[[], None]) -> None:
    deadline = time.monotonic() + OPEN_PATIENCE
    while True:
        try:
            step()
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # SQLite does not always wait by itself when the journal mode changes


def is_busy(error: BaseException) -> bool:
    """Whether another connection's lock was in the way, so that trying again may help."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise ConfigurationError(_corrupt(path)) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
            raise ConfigurationError(_not_writable(path, str(error))) from error
        raise unavailable(error) from error


def unavailable(error: BaseException) -> StoreUnavailable:
    """What callers get for a failure of SQLite or the disk under it."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"the session store failed ({name}); see its disk and permissions, and try again")
