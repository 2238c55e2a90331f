"""Several processes on one file, some of which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from ductape_asgi.models import Revocation
from ductape_asgi.stores.sqlite import SQLiteStore, doorbell
from ductape_asgi.testing.contract.records import NOW, REALM, TAG, must_read, page_of, position, read, start

pytestmark = pytest.mark.anyio

Worker = subprocess.Popen[str]
_WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture
def spawn(path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts a worker process on the same file."""
    workers: list[Worker] = []

    def start_worker(action: str, *arguments: str) -> Worker:
        command = [sys.executable, str(_WORKER), action, str(path), *arguments]
        # Not measured: who is killed in the middle leaves half a file of measurements.
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        workers.append(worker)
        return worker

    yield start_worker
    for worker in workers:
        worker.kill()
        worker.communicate()


def hear(worker: Worker) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def tell(worker: Worker, line: str = "go") -> None:
    assert worker.stdin is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()


@pytest.mark.parametrize("point", ["begun", "written", "announced", "committed", "answering"])
async def test_a_revoke_whose_writer_is_killed_happened_everywhere_or_nowhere(
    sqlite_store: SQLiteStore, spawn: Callable[..., Worker], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "OVERSHOOT", 0.0)
    record, bystander = await start(sqlite_store), await start(sqlite_store)
    before = await position(sqlite_store)
    word = sqlite_store.announced()
    assert word is not None

    worker = spawn("die_while_revoking", record.session_id, point)
    assert hear(worker) == ""
    assert worker.wait(10) == -signal.SIGKILL

    committed = point in ("committed", "answering")
    # A request that starts now finds its cache out of date, unless nothing has happened.
    assert (word[0] != before.sequence) is (committed or point == "announced")
    page = await sqlite_store.log_since(before)
    assert page.entries == ((Revocation(REALM, TAG, session_id=record.session_id),) if committed else ())
    assert (await read(sqlite_store, record.session_id) is None) is committed

    with anyio.fail_after(10):
        while word[0] != (await position(sqlite_store)).sequence:  # what ran ahead heals
            await anyio.sleep(0.001)
    assert await sqlite_store.revoke(REALM, TAG, bystander.session_id, now=NOW) is True
    after = await sqlite_store.log_since(before)
    assert (after.complete, len(after.entries)) == (True, 1 + committed)
    assert word[0] == after.position.sequence


async def test_a_revoke_elsewhere_is_seen_by_each_request_that_starts_afterwards(
    sqlite_store: SQLiteStore, spawn: Callable[..., Worker]
) -> None:
    worker = spawn("revoke_what_is_named")
    assert hear(worker) == "ready"
    records = [await start(sqlite_store) for _ in range(200)]
    here = await position(sqlite_store)
    word = sqlite_store.announced()
    assert word is not None
    for record in records:
        assert word[0] == here.sequence
        tell(worker, record.session_id)
        assert hear(worker) == "revoked"
        assert word[0] != here.sequence
        page = await sqlite_store.log_since(here)
        assert [entry.session_id for entry in page.entries] == [record.session_id]
        assert await read(sqlite_store, record.session_id) is None
        here = page.position


async def test_eight_processes_open_a_fresh_file_at_once(path: Path, spawn: Callable[..., Worker]) -> None:
    workers = [spawn("open_at_once") for _ in range(8)]
    assert [hear(worker) for worker in workers] == ["ready"] * 8
    for worker in workers:
        tell(worker)
    epochs = {hear(worker) for worker in workers}
    assert [worker.wait(20) for worker in workers] == [0] * 8
    assert len(epochs) == 1
    store = SQLiteStore(path)
    await store.open()
    assert (await page_of(store)).count == 8
    await store.close()


async def test_refreshes_of_one_token_in_four_processes_are_one_rotation(
    sqlite_store: SQLiteStore, spawn: Callable[..., Worker]
) -> None:
    record = await start(sqlite_store)
    workers = [spawn("rotate_at_once", record.session_id, "50") for _ in range(4)]
    assert [hear(worker) for worker in workers] == ["ready"] * 4
    for worker in workers:
        tell(worker)
    answers = [hear(worker).split(" ", 2) for worker in workers]
    assert sum(int(rotated) for rotated, _, _ in answers) == 1
    assert sum(int(same) for _, same, _ in answers) == 199
    assert {generations for _, _, generations in answers} == {"[1]"}
    assert (await must_read(sqlite_store, record.session_id)).generation == 1


def test_fifty_processes_killed_in_mid_write_lose_nothing_acknowledged(spawn: Callable[..., Worker]) -> None:
    worker = spawn("be_killed_in_mid_write", "50")
    acknowledged, lost, check = hear(worker).split()
    assert int(acknowledged) >= 50
    assert (lost, check) == ("0", "ok")
