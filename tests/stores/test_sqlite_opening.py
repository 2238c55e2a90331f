"""A file is made, brought up to date, or refused with a word on what to do."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi.errors import ConfigurationError, StoreUnavailable
from ductape_asgi.stores.sqlite import SQLiteStore, database, schema, steps
from ductape_asgi.stores.sqlite.writer import Writer
from ductape_asgi.testing.contract.records import ids_of, must_read, start

pytestmark = pytest.mark.anyio


async def refusal(path: Path) -> str:
    """What a store on `path` says when it is opened."""
    with pytest.raises(ConfigurationError) as refused:
        await SQLiteStore(path).open()
    assert str(path) in str(refused.value)
    return str(refused.value)


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def ask_sql(path: Path, question: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchone()[0]


async def make(path: Path, *, sessions: int = 0) -> None:
    store = SQLiteStore(path)
    await store.open()
    for _ in range(sessions):
        await start(store)
    await store.close()


def test_building_touches_nothing(path: Path) -> None:
    SQLiteStore(path)
    SQLiteStore(str(path / "no" / "such" / "place"))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["", ":memory:", "a\0b", "\ud800.db", b"bytes.db"])
def test_what_is_no_file_name_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteStore(name)


def test_its_text_names_the_file(path: Path) -> None:
    assert repr(SQLiteStore(path)) == f"SQLiteStore({str(path)!r})"


async def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    store = SQLiteStore(path.name)
    monkeypatch.chdir("/")
    await store.open()
    await store.close()
    assert path.exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems hold names in UTF-8 alone")
async def test_a_name_that_is_not_utf_8_is_a_name(path: Path) -> None:
    named = Path(os.fsdecode(os.fsencode(path) + b"-\xff"))
    await make(named, sessions=1)
    assert named.exists()


async def test_the_files_are_the_owners_alone(path: Path) -> None:
    await make(path)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert modes == {"sessions.db": 0o600, "sessions.db-ductape": 0o600}


async def test_writes_are_flushed_and_logged_ahead(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    asked = ("PRAGMA journal_mode", "PRAGMA synchronous")
    answers = [await store._write(lambda tx, asked=question: tx.execute(asked).fetchone()[0]) for question in asked]
    await store.close()
    assert answers == ["wal", 2]


async def test_a_missing_directory_is_refused(path: Path) -> None:
    assert "make it" in await refusal(path / "missing" / "sessions.db")


async def test_a_directory_is_refused(path: Path) -> None:
    path.mkdir()
    assert "a directory, not a file" in await refusal(path)


async def test_a_name_that_the_disk_cannot_hold_is_refused(path: Path) -> None:
    assert "cannot be written" in await refusal(path.with_name("x" * 300))


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("dear diary, " * 1000)
    assert "no SQLite file" in await refusal(path)
    assert path.read_text().startswith("dear diary")


async def test_a_damaged_page_is_refused(path: Path) -> None:
    await make(path, sessions=50)
    with path.open("r+b") as file:
        file.seek(4096 * 8)
        file.write(b"\xff" * 4096 * 4)
    assert "restore a backup" in await refusal(path)


async def test_a_file_that_was_cut_is_refused(path: Path) -> None:
    await make(path, sessions=50)
    os.truncate(path, path.stat().st_size // 2)
    assert "restore a backup" in await refusal(path)


async def test_a_large_file_is_opened_without_reading_all_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(path, sessions=50)
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)
    monkeypatch.setattr(database, "CHECKED_BYTES", 4096)
    await make(path)


async def test_a_file_of_another_application_is_refused(path: Path) -> None:
    run_sql(path, "CREATE TABLE customers (name)")
    assert "another application" in await refusal(path)
    assert ask_sql(path, "SELECT count(*) FROM sqlite_master") == 1


async def test_a_file_marked_by_another_application_is_refused(path: Path) -> None:
    run_sql(path, "PRAGMA application_id = 252006673")
    assert "another application" in await refusal(path)


async def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    await make(path)
    run_sql(path, "PRAGMA user_version = 99")
    assert "upgrade" in await refusal(path)
    assert ask_sql(path, "PRAGMA user_version") == 99


async def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = path.parent / "mounts"
    folder = path.parent / "my home"
    folder.mkdir()
    escaped = str(folder).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home {escaped} nfs4 rw 0 0\n")
    monkeypatch.setattr(database, "MOUNTS", str(mounts))
    assert "nfs4" in await refusal(folder / "sessions.db")
    await make(path)


async def test_where_the_system_does_not_tell_what_is_mounted_the_file_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MOUNTS", str(path.parent / "missing"))
    await make(path)
    assert path.exists()


def test_a_place_without_a_write_ahead_log_is_refused(path: Path) -> None:
    # SQLite's own stand-in for file systems without shared memory.
    name = f"file:{path}?vfs=unix-dotfile"
    with closing(sqlite3.connect(name, uri=True)) as connection, pytest.raises(ConfigurationError, match="local disk"):
        database._use_wal(connection, str(path))


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every user can reach."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


_OPEN = """
import asyncio, os, sys
from ductape_asgi.errors import ConfigurationError
from ductape_asgi.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    asyncio.run(store.open())
except ConfigurationError as error:
    print(error)
"""


def open_as_a_plain_user(path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True, check=True)
    return done.stdout


async def test_a_read_only_file_is_refused(open_place: Path) -> None:
    path = open_place / "sessions.db"
    await make(path)
    path.chmod(0o444)
    assert "give this user write access" in open_as_a_plain_user(path)


async def test_a_read_only_directory_is_refused(open_place: Path) -> None:
    path = open_place / "sessions.db"
    await make(path)
    path.chmod(0o666)
    open_place.chmod(0o555)
    assert "the directory is read-only" in open_as_a_plain_user(path)
    assert "give this user write access" in open_as_a_plain_user(open_place / "new.db")


async def test_a_store_opens_once_what_was_wrong_is_mended(path: Path) -> None:
    store = SQLiteStore(path / "sessions.db")
    with pytest.raises(ConfigurationError):
        await store.open()
    path.mkdir()
    await store.open()
    record = await start(store)
    assert await must_read(store, record.session_id) == record
    await store.close()


async def test_a_file_that_stays_locked_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OPEN_PATIENCE", 0.2)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable):
            await SQLiteStore(path).open()


class _Slow(sqlite3.Connection):
    """Lets another process open the same file between any two of its own statements."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self.meanwhile()
        return super().execute(*args)


@pytest.mark.parametrize("before", range(1, 7))
def test_a_file_is_not_taken_for_another_applications_while_a_process_makes_its_tables(
    path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(database, "OPEN_PATIENCE", 0.0)
    path.touch()
    statements = itertools.count(1)

    def open_too() -> None:
        if next(statements) == before:
            with suppress(StoreUnavailable):
                database.prepare(str(path))

    with closing(sqlite3.connect(path, isolation_level=None, factory=_Slow)) as connection:
        connection.meanwhile = open_too
        database._check_file(connection, str(path))


async def test_a_migration_keeps_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(path)
    await store.open()
    record = await start(store)
    before = (await store.log_since(None)).position
    await store.close()

    later = (*schema.MIGRATIONS, ("CREATE TABLE later (x)", "INSERT INTO later VALUES (1)"))
    monkeypatch.setattr(database, "MIGRATIONS", later)
    await store.open()
    assert await must_read(store, record.session_id) == record
    assert (await store.log_since(before)).complete
    await store.close()
    assert ask_sql(path, "PRAGMA user_version") == 2
    assert ask_sql(path, "SELECT count(*) FROM later") == 1


async def test_a_migration_that_fails_leaves_the_old_version_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(path)
    with monkeypatch.context() as patch:
        patch.setattr(
            database, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later (x)", "CREATE TABLE later (x)"))
        )
        with pytest.raises(StoreUnavailable):
            await SQLiteStore(path).open()
    assert ask_sql(path, "PRAGMA user_version") == 1
    assert ask_sql(path, "SELECT count(*) FROM sqlite_master WHERE name = 'later'") == 0
    await make(path)


async def test_two_fresh_files_are_never_taken_for_each_other(path: Path) -> None:
    positions = []
    for name in ("a.db", "b.db"):
        store = SQLiteStore(path.parent / name)
        await store.open()
        positions.append((await store.log_since(None)).position)
        await store.close()
    first, second = positions
    assert first.epoch != second.epoch
    assert first.sequence != second.sequence
    assert 1 <= first.sequence <= 2**47


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("sessions_by_end", "SELECT number FROM sessions WHERE ends_at <= 1 LIMIT 5"),
        (
            "sessions_by_idle_end",
            f"SELECT number FROM sessions WHERE idle_ttl IS NOT NULL AND {schema.IDLE_END} <= 1 LIMIT 5",
        ),
        ("sessions_of_a_person", f"SELECT 1 FROM sessions WHERE {steps._PERSON} AND number < ? ORDER BY number DESC"),
    ],
)
async def test_long_tables_are_searched_by_index(path: Path, index: str, query: str) -> None:
    await make(path)
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", ("x",) * query.count("?")).fetchall()
    assert [index in step for *_, step in plan] == [True]


async def test_closing_leaves_the_whole_store_in_one_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of connections that close at once, none puts the log back: the writer's has to be the last, whatever the timing.
    alone: list[bool] = []
    end = Writer.end

    def watched(writer: Writer) -> None:
        alone.append(opened.lister.over)
        end(writer)

    monkeypatch.setattr(Writer, "end", watched)
    store = SQLiteStore(path)
    await store.open()
    opened = store._here()
    record = await start(store)
    assert await ids_of(store) == [record.session_id]
    listing_ends = opened.lister._end

    def slowly() -> None:
        time.sleep(0.05)  # the writer has nothing to do, and would be faster
        listing_ends()

    opened.lister._end = slowly
    await store.close()
    assert alone == [True]
    assert not path.with_name("sessions.db-wal").exists()
