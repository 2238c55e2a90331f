"""The announced word: never behind what was acknowledged; lost, replaced or ahead it heals."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from ductape_asgi import RevokedSession, Sessions, new_access_key
from ductape_asgi.stores.sqlite import SQLiteStore, doorbell
from ductape_asgi.testing.contract.records import ANN, NOW, REALM, TAG, position, start

pytestmark = pytest.mark.anyio


@pytest.fixture
def bell(path: Path) -> Path:
    return path.with_name("sessions.db-ductape")


def word_of(store: SQLiteStore) -> int:
    word = store.announced()
    assert word is not None
    return int(word[0])


async def head_of(store: SQLiteStore) -> int:
    return (await position(store)).sequence


async def revoke_one(store: SQLiteStore) -> None:
    record = await start(store)
    assert await store.revoke(REALM, TAG, record.session_id, now=NOW)


async def until_healed(*stores: SQLiteStore) -> None:
    """Read the log, as a feed does, until the word says what the log says."""
    with anyio.fail_after(10):
        for store in stores:
            while store.announced() is None or word_of(store) != await head_of(store):
                await anyio.sleep(0.001)


async def test_the_word_of_another_worker_follows(sqlite_store: SQLiteStore, other_store: SQLiteStore) -> None:
    before = word_of(other_store)
    word = other_store.announced()
    assert word is not None
    for step in range(1, 20):
        await revoke_one(sqlite_store)
        assert word[0] == before + step


async def test_only_what_is_logged_rings(sqlite_store: SQLiteStore) -> None:
    before = word_of(sqlite_store)
    record = await start(sqlite_store)
    await sqlite_store.touch({record.session_id: NOW + 1})
    assert word_of(sqlite_store) == before


async def test_every_name_of_the_file_leads_to_one_word(sqlite_store: SQLiteStore, path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    linked = SQLiteStore(link)
    await linked.open()
    await revoke_one(sqlite_store)
    assert word_of(linked) == word_of(sqlite_store)
    await linked.close()


async def test_a_lost_word_is_made_anew_by_the_next_writer(sqlite_store: SQLiteStore, bell: Path) -> None:
    bell.unlink()
    await revoke_one(sqlite_store)
    assert bell.read_bytes() == int(word_of(sqlite_store)).to_bytes(8, "little")
    assert word_of(sqlite_store) == await head_of(sqlite_store)


async def test_a_reader_finds_the_new_word_at_its_next_reading(
    sqlite_store: SQLiteStore, other_store: SQLiteStore, bell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "_CHECK_EVERY", 0.0)
    bell.unlink()
    await revoke_one(sqlite_store)
    await until_healed(other_store)
    before = word_of(other_store)
    await revoke_one(sqlite_store)
    assert word_of(other_store) == before + 1


async def test_a_reader_alone_makes_a_lost_word_anew(
    sqlite_store: SQLiteStore, bell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "_CHECK_EVERY", 0.0)
    bell.unlink()
    with anyio.fail_after(10):
        while not bell.exists():
            await head_of(sqlite_store)
            await anyio.sleep(0.001)
    await until_healed(sqlite_store)


async def test_a_replaced_word_is_rung_and_the_old_one_too(
    sqlite_store: SQLiteStore, other_store: SQLiteStore, bell: Path
) -> None:
    bell.rename(bell.with_name("old"))
    bell.write_bytes(bytes(8))
    await revoke_one(sqlite_store)
    head = await head_of(sqlite_store)
    assert word_of(sqlite_store) == head
    assert word_of(other_store) == head  # still the old one
    assert bell.read_bytes() == head.to_bytes(8, "little")


async def test_a_word_that_ran_ahead_comes_back(
    sqlite_store: SQLiteStore, other_store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "OVERSHOOT", 0.0)
    head = await head_of(sqlite_store)
    word = sqlite_store.announced()
    assert word is not None
    word[0] = head + 1  # as a writer leaves it that dies before its commit
    assert word_of(other_store) == head + 1
    await until_healed(other_store)
    assert word_of(sqlite_store) == head


async def test_a_word_that_differs_for_a_moment_is_left_alone(sqlite_store: SQLiteStore) -> None:
    head = await head_of(sqlite_store)
    word = sqlite_store.announced()
    assert word is not None
    word[0] = head + 1  # as a writer has it that is about to commit
    for _ in range(5):
        await head_of(sqlite_store)
    await start(sqlite_store)  # whatever had been queued is done
    assert word[0] == head + 1


async def test_opening_sets_the_word_right(sqlite_store: SQLiteStore, bell: Path, path: Path) -> None:
    head = await head_of(sqlite_store)
    await sqlite_store.close()
    bell.write_bytes(b"\xff" * 8)
    await sqlite_store.open()
    assert word_of(sqlite_store) == head


async def test_without_a_word_the_store_works_and_says_at_each_look_that_something_may_have_come(
    path: Path, bell: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bell.mkdir()  # nobody can map a directory
    store = SQLiteStore(path)
    await store.open()
    assert word_of(store) == 0 != await head_of(store)
    assert [record.levelname for record in caplog.records if "cannot be used" in record.message] == ["WARNING"]
    before = await position(store)
    await revoke_one(store)
    assert len((await store.log_since(before)).entries) == 1
    bell.rmdir()
    await revoke_one(store)
    assert word_of(store) == await head_of(store)
    await store.close()


async def test_a_worker_without_a_word_refuses_what_another_revoked(path: Path, bell: Path) -> None:
    """As when a command run by another user has made the file: slower, and never late."""
    key = new_access_key()
    here, there = (
        Sessions(access_key=key, product="shop", env="prd", store=SQLiteStore(path), max_staleness=3600)
        for _ in range(2)
    )
    bell.mkdir()
    async with here, there:
        issued = await here.start(tag="user-session", data={"userId": "ann"})
        for _ in range(3):
            await there.verify(tag="user-session", token=issued.token)
        await here.revoke(tag="user-session", session_id=issued.session_id)
        with pytest.raises(RevokedSession):
            await there.verify(tag="user-session", token=issued.token)


async def test_the_word_belongs_to_whom_the_database_belongs(path: Path, bell: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    bell.unlink()
    path.chmod(0o660)
    await store.open()
    await store.close()
    assert bell.stat().st_mode & 0o777 == 0o660
    assert (bell.stat().st_uid, bell.stat().st_gid) == (path.stat().st_uid, path.stat().st_gid)


async def test_a_word_that_is_a_link_is_not_followed(path: Path, bell: Path) -> None:
    target = path.with_name("precious")
    target.write_bytes(b"precious bytes")
    bell.symlink_to(target)
    store = SQLiteStore(path)
    await store.open()
    await revoke_one(store)
    await store.close()
    assert target.read_bytes() == b"precious bytes"


async def test_the_word_of_a_closed_store_stays_readable_to_who_holds_it(sqlite_store: SQLiteStore) -> None:
    word = sqlite_store.announced()
    assert word is not None
    head = await head_of(sqlite_store)
    await sqlite_store.close()
    assert word[0] == head


async def test_a_long_log_is_trimmed_and_who_is_too_far_behind_is_told(
    sqlite_store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ductape_asgi.stores.sqlite import steps

    monkeypatch.setattr(steps, "LOG_KEPT", 20)
    monkeypatch.setattr(steps, "_TRIM_EVERY", 5)
    await start(sqlite_store)
    first = await position(sqlite_store)
    for _ in range(60):
        await sqlite_store.update(REALM, TAG, subject=ANN, session_id=None, data=b"x", now=NOW)
    kept = await sqlite_store._write(lambda tx: tx.execute("SELECT count(*) FROM revocations").fetchone()[0])
    assert 20 <= kept < 25
    assert not (await sqlite_store.log_since(first)).complete
    recent = type(first)(first.epoch, first.sequence + 40)
    assert len((await sqlite_store.log_since(recent)).entries) == 20
