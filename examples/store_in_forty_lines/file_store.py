"""A session store in forty lines: one JSON file, for any number of processes of one machine.

It reads the file for each step, and writes it anew for each change: enough for some hundred sessions.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from threading import Lock
from typing import TypeVar

from ductape_asgi import StoreUnavailable
from ductape_asgi.stores.keyvalue import KeyValueStore, Step

T = TypeVar("T")


class FilePairs:
    def __init__(self, kept: dict[str, str]) -> None:
        self.kept = kept

    async def get(self, key: str) -> str | None:
        return self.kept.get(key)

    async def put(self, key: str, value: str) -> None:
        self.kept[key] = value

    async def delete(self, key: str) -> None:
        del self.kept[key]

    async def scan(self, start: str, end: str, limit: int) -> list[tuple[str, str]]:
        return sorted(pair for pair in self.kept.items() if start <= pair[0] < end)[:limit]


class FileStore(KeyValueStore):
    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._turn = Lock()

    async def transact(self, step: Step[T]) -> T:
        try:
            # The lock is on a file of its own, since the other one is replaced.
            with self._turn, Path(f"{self._path}.lock").open("w") as lock:  # noqa: ASYNC230 - a small file
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self._path.read_bytes() if self._path.exists() else b"{}"
                pairs = FilePairs(json.loads(before))
                answer = await step(pairs)  # waits for nothing: `FilePairs` does not
                if (after := json.dumps(pairs.kept).encode()) != before:
                    self._replace(after)
                return answer
        except (OSError, json.JSONDecodeError) as error:
            raise StoreUnavailable(f"the session file cannot be used: {type(error).__name__}") from error

    def _replace(self, content: bytes) -> None:
        with Path(f"{self._path}.new").open("wb") as draft:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
        Path(draft.name).replace(self._path)  # the whole new file, or the whole old one
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
