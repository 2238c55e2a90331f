"""A worker process for the tests beside this file: does what its arguments say, and tells what it did on stdout."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections import Counter
from functools import partial

import anyio

from ductape_asgi.stores.sqlite import SQLiteStore, writer
from ductape_asgi.testing.contract.records import NOW, REALM, TAG, all_at_once, position, read, refresh, start


def say(text: str) -> None:
    print(text, flush=True)


def wait_for_a_line() -> str:
    return sys.stdin.readline().strip()


async def open_at_once(store: SQLiteStore) -> None:
    """Open when told to, start a session, and say in which log."""
    say("ready")
    wait_for_a_line()
    await store.open()
    await start(store)
    say((await position(store)).epoch)
    await store.close()


async def rotate_at_once(store: SQLiteStore, session_id: str, times: str) -> None:
    """Present one refresh token many times at once, and count the answers."""
    await store.open()
    say("ready")
    wait_for_a_line()
    rotations = await all_at_once([partial(refresh, store, session_id, 0) for _ in range(int(times))])
    outcomes = Counter(rotation.outcome for rotation in rotations)
    say(f"{outcomes['rotated']} {outcomes['same']} {sorted({rotation.record.generation for rotation in rotations})}")
    await store.close()


async def revoke_what_is_named(store: SQLiteStore) -> None:
    """Revoke each session that a line names, and acknowledge it."""
    await store.open()
    say("ready")
    while session_id := wait_for_a_line():
        await store.revoke(REALM, TAG, session_id, now=NOW)
        say("revoked")
    await store.close()


async def die_while_revoking(store: SQLiteStore, session_id: str, point: str) -> None:
    """Be killed at one point of the way from a revoke to its acknowledgement."""
    await store.open()
    writer._at = lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == point else None
    await store.revoke(REALM, TAG, session_id, now=NOW)
    say("acknowledged")


def be_killed_in_mid_write(store: SQLiteStore, times: str) -> None:
    """Let child after child be killed while it writes, and say how many acknowledged sessions were lost."""
    acknowledged: list[str] = []
    for turn in range(int(times)):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            anyio.run(write_until_killed, store, writing)
        os.close(writing)
        with os.fdopen(reading) as acknowledgements:
            acknowledged += [acknowledgements.readline().strip() for _ in range(1 + turn % 20)]
            os.kill(child, signal.SIGKILL)
            acknowledged += [line.strip() for line in acknowledgements]
        os.waitpid(child, 0)
    anyio.run(say_what_was_lost, store, acknowledged)


async def write_until_killed(store: SQLiteStore, acknowledgements: int) -> None:
    async def write() -> None:
        while True:
            record = await start(store)
            os.write(acknowledgements, f"{record.session_id}\n".encode())

    await store.open()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(write)


async def say_what_was_lost(store: SQLiteStore, acknowledged: list[str]) -> None:
    await store.open()
    lost = [session_id for session_id in acknowledged if await read(store, session_id) is None]
    check = await store._write(lambda tx: tx.execute("PRAGMA integrity_check").fetchone()[0])
    say(f"{len(acknowledged)} {len(lost)} {check}")
    await store.close()


if __name__ == "__main__":
    name, path, *arguments = sys.argv[1:]
    action = partial(globals()[name], SQLiteStore(path), *arguments)
    if inspect.iscoroutinefunction(action):
        anyio.run(action)
    else:
        action()
