"""Forks again and again while requests are being served.  Run by path: store path, access key.

Prints one JSON line: what was acknowledged, in the parent and in each child.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback

from ductape_asgi import Sessions

TAG = "user-session"
FORKS = 8
TASKS = 6
DEADLINE = 10


async def serve(sessions: Sessions, acknowledged: list[str], enough: asyncio.Event) -> None:
    while not enough.is_set():
        issued = await sessions.start(tag=TAG, data={"userId": "ann"})
        acknowledged.append(issued.session_id)
        await sessions.verify(tag=TAG, token=issued.token)
        await asyncio.sleep(0)


async def child(sessions: Sessions) -> list[str]:
    made = [(await sessions.start(tag=TAG, data={"userId": "ann"})) for _ in range(5)]
    for issued in made:
        await sessions.verify(tag=TAG, token=issued.token)
    return [issued.session_id for issued in made]


def fork(sessions: Sessions) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(DEADLINE)  # a child that hangs ends, and is missed
        try:
            os.write(write, json.dumps(asyncio.run(child(sessions))).encode())
        except BaseException:
            os.write(write, json.dumps([f"failed: {traceback.format_exc()}"]).encode())
        os._exit(0)
    os.close(write)
    return pid, read


async def main(path: str, key: str) -> None:
    acknowledged: list[str] = []
    enough = asyncio.Event()
    async with Sessions(access_key=key, product="shop", env="prd", store=f"sqlite:///{path}") as sessions:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(TASKS):
                tasks.create_task(serve(sessions, acknowledged, enough))
            for number in range(1, FORKS + 1):
                while len(acknowledged) < 10 * number:
                    await asyncio.sleep(0.001)
                pid, read = fork(sessions)
                said = await asyncio.to_thread(os.read, read, 65536)
                os.waitpid(pid, 0)
                acknowledged += json.loads(said or '["failed: the child died or hung"]')
            enough.set()
        listed = await sessions.list(tag=TAG, identifier="ann", limit=1000)
    print(json.dumps({"acknowledged": acknowledged, "listed": [info.session_id for info in listed]}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
