"""Server processes, as the tests hold them: commands down one pipe, answers up another, and a deadline on each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WORKER = Path(__file__).with_name("worker.py")
#: Far above anything that works, so that a process that hangs fails its test and not the whole run.
DEADLINE = 60


class Died(Exception):
    """The process ended before it answered."""


class WorkerProcess:
    """One process that runs ``worker.py``."""

    def __init__(self, backend: str = "asyncio", script: Path = WORKER) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(script), backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop() if kind is None else self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: str, **arguments: Any) -> None:
        rest = json.dumps({"command": command, **arguments}).encode() + b"\n"
        while rest:
            rest = rest[os.write(self._stdin.fileno(), rest) :]

    def answer(self) -> Any:
        """The next line it says.

        Raises:
            Died: it says nothing any more.
        """
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._stdout], [], [], DEADLINE)
            assert ready, f"no answer within {DEADLINE} s"
            some = os.read(self._stdout.fileno(), 1 << 16)
            if not some:
                raise Died
            self._unread += some
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def ask(self, command: str, **arguments: Any) -> Any:
        self.send(command, **arguments)
        return self.answer()

    def call(self, verb: str, **arguments: Any) -> Any:
        """Call one verb of its `Sessions`."""
        return self.ask("call", verb=verb, each=[arguments])[0]

    def answers(self) -> Iterator[Any]:
        """What it says until it dies."""
        while True:
            try:
                yield self.answer()
            except Died:
                return

    def signal_kill(self) -> None:
        """``kill -9``; what it had said before can still be read."""
        self._process.kill()

    def kill(self) -> int:
        """``kill -9``, or collect one that was.  Returns the exit code."""
        self._process.kill()
        return self._ended()

    def ended(self) -> int:
        """Wait for an end that came by itself.  Returns the exit code."""
        return self._process.wait(DEADLINE)

    def stop(self) -> None:
        """Let it close its store and end."""
        if self._process.poll() is None:
            self.ask("close")
        self._ended()

    def _ended(self) -> int:
        self._stdin.close()
        code = self._process.wait(DEADLINE)
        self._stdout.close()
        return code
