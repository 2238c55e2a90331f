"""Stores made of pairs: the example in forty lines, one with optimistic transactions, and what the contract catches."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from ductape_asgi import StoreUnavailable
from ductape_asgi.models import Position
from ductape_asgi.stores.keyvalue import KeyValueStore, log
from ductape_asgi.testing import StoreContract
from ductape_asgi.testing.contract import RacingContract
from ductape_asgi.testing.contract.records import (
    ANN,
    NOW,
    REALM,
    TAG,
    all_at_once,
    ids_of,
    must_read,
    position,
    read,
    refresh,
    start,
    start_limited,
)
from ductape_asgi.testing.contract.surveying import SurveyingContract
from examples.store_in_forty_lines import file_store
from examples.store_in_forty_lines.file_store import FilePairs, FileStore

from .snapshot_store import SnapshotStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.json"


class TestFileStore(StoreContract):
    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[FileStore]:
        store = FileStore(path)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def other_handle(self, path: Path) -> FileStore:
        return FileStore(path)


class TestSnapshotStore(StoreContract):
    """A backend that finds out at the commit only runs steps again."""

    @pytest.fixture
    def store(self) -> SnapshotStore:
        return SnapshotStore()


async def test_steps_were_run_again() -> None:
    store = SnapshotStore()
    record = await start(store)
    await all_at_once([partial(refresh, store, record.session_id, 0) for _ in range(10)])
    assert store.repeated > 0


def test_the_example_has_forty_lines() -> None:
    """Of code: without imports, docstrings, comments and empty lines."""
    text = Path(str(file_store.__file__)).read_text()
    body = [node for node in ast.parse(text).body if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
    lines = text.splitlines()
    code = [line for node in body for line in lines[node.lineno - 1 : node.end_lineno]]
    assert len([line for line in code if line.strip() and not line.strip().startswith("#")]) <= 45


def test_the_contract_fails_a_store_with_a_race(tmp_path: Path) -> None:
    """In each of its racing cases, and in no other: it is as good as any while one task uses it at a time."""
    report = tmp_path / "report.xml"
    racy = Path(__file__).with_name("racy_store_contract.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(racy), f"--junit-xml={report}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    cases = list(ElementTree.parse(report).iter("testcase"))

    def cases_that(outcome: str) -> set[str]:
        return {case.attrib["name"].partition("[")[0] for case in cases if case.find(outcome) is not None}

    assert ran.returncode == 1, ran.stdout
    assert len(cases) > 100
    assert not cases_that("error")
    assert cases_that("skipped") <= vars(SurveyingContract).keys()  # what it need not have, and has not
    assert cases_that("failure") == {name for name in vars(RacingContract) if name.startswith("test_")}


async def test_a_step_that_fails_changes_nothing(path: Path) -> None:
    store = FileStore(path)
    await start(store)
    before = path.read_bytes()

    async def fail(pairs: FilePairs) -> None:
        await pairs.put("half", "done")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.transact(fail)
    assert path.read_bytes() == before


async def test_a_file_that_cannot_be_used_is_a_store_that_is_unavailable(path: Path, tmp_path: Path) -> None:
    path.write_text("{")
    for store in (FileStore(path), FileStore(tmp_path / "missing" / "sessions.json")):
        with pytest.raises(StoreUnavailable):
            await store.verify("somebody", generation=0)


async def test_a_damaged_session_is_a_store_that_is_unavailable(path: Path) -> None:
    store = FileStore(path)
    record, other = await start(store), await start(store)
    for damaged in ("[]", "[1, 2, {}]", '[1, "due", {"identity": "%"}]', "nonsense"):
        pairs = json.loads(path.read_text())
        pairs[f'session ["{record.session_id}"]'] = damaged
        path.write_text(json.dumps(pairs))
        with pytest.raises(StoreUnavailable):
            await read(store, record.session_id)
    assert await must_read(store, other.session_id) == other


async def test_sessions_that_ended_leave_nothing_behind(path: Path) -> None:
    store = FileStore(path)
    await start(store)
    await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW)
    before = set(json.loads(path.read_text()))
    idle, over = await start(store, idle_ttl=600), await start(store, ends_at=int(NOW))
    await store.touch({idle.session_id: NOW + 500})
    await store.purge(before=NOW + 700, limit=10)  # looks at the idle one, and lets it be
    await refresh(store, idle.session_id, 0, now=NOW - 100)  # by a clock that is behind: it ends no sooner
    assert await read(store, over.session_id) is None
    assert await store.purge(before=NOW + 1159, limit=10) == 0
    assert await store.purge(before=NOW + 1160, limit=10) == 1
    assert set(json.loads(path.read_text())) == before


async def test_the_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LOG_KEPT", 10)
    store = SnapshotStore()
    await start(store)
    before = await position(store)
    for _ in range(11):
        await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"x", now=NOW)
    assert not (await store.log_since(before)).complete
    assert len((await store.log_since(Position(before.epoch, before.sequence + 1))).entries) == 10
    assert len([key for key in store._kept if key.startswith("log ")]) == 10


def test_loops_in_many_threads_share_a_file(path: Path) -> None:
    async def work() -> None:
        store = FileStore(path)
        for _ in range(20):
            await start_limited(store, 5)

    threads = [threading.Thread(target=asyncio.run, args=[work()]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(asyncio.run(ids_of(FileStore(path)))) == 5


async def test_a_store_without_transactions_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="transact"):
        await KeyValueStore().verify("somebody", generation=0)
