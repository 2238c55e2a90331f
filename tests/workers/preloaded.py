"""Warms up and forks, as gunicorn does with ``--preload``.  Run by path: store path, access key, how to warm up.

Prints one JSON line with what each child found.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any

from ductape_asgi import DuctapeError, IssuedSession, Sessions

TAG = "user-session"
CHILDREN = 3


async def warmed_up(sessions: Sessions, closing: bool) -> IssuedSession:
    if closing:
        async with sessions:
            return await served(sessions)
    return await served(sessions)


async def served(sessions: Sessions) -> IssuedSession:
    issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    await sessions.verify(tag=TAG, token=issued.token)
    return issued


async def child(sessions: Sessions, first: IssuedSession, number: int, told: int, say: int) -> None:
    """Verify what the parent made, make something, and see the parent's revocation."""
    found: dict[str, Any] = {"number": number, "inherited": await outcome(sessions, first)}
    own = await served(sessions)
    found["own"] = own.session_id
    os.write(say, b"r")
    await asyncio.to_thread(os.read, told, 1)  # also ends when the parent does
    found["after_revoke"] = await outcome(sessions, first)
    found["own_after"] = await outcome(sessions, own)
    await served(sessions)
    found["listed"] = (await sessions.list(tag=TAG, identifier="ann")).count
    os.write(say, json.dumps(found).encode())


async def outcome(sessions: Sessions, issued: IssuedSession) -> str:
    try:
        return (await sessions.verify(tag=TAG, token=issued.token)).session_id
    except DuctapeError as error:
        return error.code


def fork_child(sessions: Sessions, first: IssuedSession, number: int) -> tuple[int, int, int]:
    tell, say = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell[1])
        try:
            asyncio.run(child(sessions, first, number, tell[0], say[1]))
        except BaseException:
            os.write(say[1], json.dumps({"failed": traceback.format_exc()}).encode())
        os._exit(0)
    os.close(say[1])
    os.close(tell[0])
    return pid, tell[1], say[0]


def main(path: str, key: str, warm_up: str) -> None:
    sessions = Sessions(access_key=key, product="shop", env="prd", store=f"sqlite:///{path}")
    first = asyncio.run(warmed_up(sessions, closing=warm_up == "closed"))
    children = [fork_child(sessions, first, number) for number in range(CHILDREN)]
    for _, _, say in children:
        if os.read(say, 1) != b"r":  # it is serving
            raise SystemExit(os.read(say, 65536).decode())
    revoked = asyncio.run(sessions.revoke(tag=TAG, session_id=first.session_id))
    found = []
    for pid, tell, say in children:
        os.write(tell, b"g")
        found.append(json.loads(os.read(say, 65536)))
        os.waitpid(pid, 0)
    count = asyncio.run(sessions.list(tag=TAG, identifier="ann")).count
    print(json.dumps({"first": first.session_id, "revoked": revoked, "children": found, "count": count}))


if __name__ == "__main__":
    main(*sys.argv[1:])
