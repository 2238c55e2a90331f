"""The stores of the matrix: real servers, a way to them past every fault (`near`), and one through proxies (`far`)."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.redis_servers import SentinelTrio, Server, cluster, cluster_url, wait_for
from tests.servers import PostgresServer, ask_postgres

from .proxy import Direction, Proxies, Proxy

#: Acknowledged is what the disk has, so that a killed server has lost nothing.
DURABLE = ("appendonly yes", "appendfsync always")

#: After how many milliseconds without an answer Sentinel calls a master down: so that a restart is none, and else.
_NEVER, _SOON = 60_000, 500


class Column:
    """One store.  `far` leads through `proxies`, `near` does not."""

    name = ""
    far = near = ""
    proxies: list[Proxy]
    #: When the proxies stood still by themselves.
    lateness: Sequence[tuple[float, float]] = ()

    def swallow(self, direction: Direction) -> None:
        for proxy in self.proxies:
            proxy.swallow(direction)

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()

    def cut(self, how: Literal["rst", "fin"]) -> int:
        return sum(proxy.cut(how) for proxy in self.proxies)

    def kill(self) -> None:
        """SIGKILL."""
        raise NotImplementedError

    def start(self) -> None:
        """Start what was killed; answers when the server does."""
        raise NotImplementedError

    def take_down(self) -> None:
        """SIGKILL to all that could answer."""
        self.kill()

    def bring_up(self) -> None:
        self.start()

    def pause(self) -> None:
        """SIGSTOP."""
        raise NotImplementedError

    def resume(self) -> None:
        raise NotImplementedError

    def trim(self) -> None:
        """Throw away the whole log, and leave its head."""
        raise NotImplementedError

    def wipe(self) -> None:
        """Throw away everything."""
        raise NotImplementedError

    def close(self) -> None:
        """End the servers."""
        raise NotImplementedError

    def begin_tail(self) -> None:
        """What is acknowledged from here on will be lost."""
        raise NotImplementedError

    def lose_tail(self) -> None:
        """The failover; answers when a server answers again."""
        raise NotImplementedError


class OneRedis(Column):
    name = "Redis"

    def __init__(self, folder: Path, proxies: Proxies) -> None:
        self._server = Server(folder / "redis", *DURABLE).start()
        self.proxies = [proxies.to(self._server.port)]
        self.near = self._server.url
        self.far = f"redis://127.0.0.1:{self.proxies[0].port}/0"

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()

    def pause(self) -> None:
        self._server.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._server.signal(signal.SIGCONT)
        wait_for("answer again", self._server.ask_ping)

    def trim(self) -> None:
        trim_logs(self._server)

    def wipe(self) -> None:
        self._server.ask("FLUSHALL")

    # No second server that could take over: an older copy of its files is brought back instead.

    def begin_tail(self) -> None:
        self._server.kill()
        shutil.copytree(self._server.folder / "appendonlydir", self._server.folder / "older")
        self._server.start()

    def lose_tail(self) -> None:
        self._server.kill()
        shutil.rmtree(self._server.folder / "appendonlydir")
        (self._server.folder / "older").rename(self._server.folder / "appendonlydir")
        self._server.start()

    def close(self) -> None:
        self._server.kill()


class Sentinel(Column):
    """A master, a replica, three Sentinels.  What the readers' Sentinels say of ports is the proxies' word."""

    name = "Sentinel"

    def __init__(self, folder: Path, proxies: Proxies) -> None:
        self._trio = SentinelTrio(folder / "sentinel", *DURABLE)
        self._trio.start()
        self._call_down_after(_NEVER)
        servers = [self._trio.master, self._trio.replica]
        self._data = [proxies.to(server.port) for server in servers]
        renamed = {server.port: proxy.port for server, proxy in zip(servers, self._data, strict=True)}
        watching = [proxies.to(sentinel.port) for sentinel in self._trio.sentinels]
        for proxy in watching:
            proxy.renamed = renamed
        self.proxies = [*self._data, *watching]
        self.near = self._trio.url
        self.far = f"redis+sentinel://{','.join(f'127.0.0.1:{proxy.port}' for proxy in watching)}/main/0"

    def _call_down_after(self, milliseconds: int) -> None:
        for sentinel in self._trio.sentinels:
            sentinel.ask("SENTINEL", "SET", self._trio.service, "down-after-milliseconds", milliseconds)

    def _named(self) -> Server:
        port = self._trio.named_master()
        return next(one for one in (self._trio.master, self._trio.replica) if one.port == port)

    def kill(self) -> None:
        """Of the master, for so short a time that no Sentinel calls it down: nothing is lost."""
        self._killed = self._named()
        self._killed.kill()

    def start(self) -> None:
        self._killed.start()

    def pause(self) -> None:
        """Of the master: the replica takes over while it stands still."""
        self._call_down_after(_SOON)
        self._paused = self._named()
        self._paused.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._paused.signal(signal.SIGCONT)
        wait_for("answer again", self._paused.ask_ping)
        wait_for("agree", lambda: self._named().ask("INFO", "replication")["role"] == "master")
        follower = next(one for one in (self._trio.master, self._trio.replica) if one is not self._named())
        self._call_down_after(_NEVER)
        wait_for("follow", lambda: follower.ask("INFO", "replication").get("master_link_status") == "up")

    def trim(self) -> None:
        trim_logs(self._named())

    def wipe(self) -> None:
        self._named().ask("FLUSHALL")

    def begin_tail(self) -> None:
        self._old = self._named()
        self._new = next(one for one in (self._trio.master, self._trio.replica) if one is not self._old)
        cut_off(self._old, self._new)

    def lose_tail(self) -> None:
        self._call_down_after(_SOON)
        self._old.kill()
        wait_for("fail over", lambda: self._trio.named_master() == self._new.port)
        wait_for("be promoted", lambda: self._new.ask("INFO", "replication")["role"] == "master")

    def close(self) -> None:
        self._trio.kill()


class Cluster(Column):
    """Three masters, of which the first has a replica; that one is killed, paused, and fails over."""

    name = "Cluster"

    def __init__(self, folder: Path, proxies: Proxies) -> None:
        self._around = cluster(folder / "cluster", 3, *DURABLE, replica=True)
        self._servers = self._around.__enter__()
        self.proxies = [proxies.to(server.port) for server in self._servers]
        renamed = {server.port: proxy.port for server, proxy in zip(self._servers, self.proxies, strict=True)}
        for proxy in self.proxies:
            proxy.renamed = renamed
        self.near = cluster_url(self._servers[:3])
        self.far = f"redis+cluster://{','.join(f'127.0.0.1:{proxy.port}' for proxy in self.proxies[:3])}"

    def _whole(self) -> bool:
        return all(server.ask("CLUSTER INFO")["cluster_state"] == "ok" for server in self._servers[:3])

    def kill(self) -> None:
        """Of the second master, which nobody stands in for."""
        self._servers[1].kill()

    def start(self) -> None:
        self._servers[1].start()
        wait_for("be whole", self._whole)

    def take_down(self) -> None:
        for server in self._servers:
            server.kill()

    def bring_up(self) -> None:
        for server in self._servers:
            server.start()
        wait_for("be whole", self._whole)

    def pause(self) -> None:
        self._servers[1].signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._servers[1].signal(signal.SIGCONT)
        wait_for("be whole", self._whole)

    def trim(self) -> None:
        for server in self._servers[:3]:
            trim_logs(server)

    def wipe(self) -> None:
        for server in self._servers[:3]:
            server.ask("FLUSHALL")

    def begin_tail(self) -> None:
        cut_off(self._servers[0], self._servers[3])

    def lose_tail(self) -> None:
        self._servers[0].kill()
        wait_for("be promoted", lambda: self._servers[3].ask("INFO", "replication")["role"] == "master")
        rest = self._servers[1:]
        wait_for("be whole", lambda: all(one.ask("CLUSTER INFO")["cluster_state"] == "ok" for one in rest))

    def close(self) -> None:
        self._around.__exit__(None, None, None)


class Postgres(Column):
    name = "PostgreSQL"

    def __init__(self, folder: Path, proxies: Proxies) -> None:
        self._proxies = proxies
        self._server = PostgresServer(folder)
        self._server.make()
        self._server.start()
        self._follower: PostgresServer | None = None
        self.proxies = [proxies.to(self._server.port)]
        # The writers' proxy only follows a failover, as a name in DNS would.
        self._name = proxies.to(self._server.port)
        self.near, self.far = (
            f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres" for proxy in (self._name, self.proxies[0])
        )

    def _ask(self, *statements: str) -> Any:
        return asyncio.run(ask_postgres(self._server.url(), *statements))

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()

    def pause(self) -> None:
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()
        self._ask("SELECT 1")

    def trim(self) -> None:
        self._ask("DELETE FROM ductape_log")

    def wipe(self) -> None:
        self._ask("TRUNCATE ductape_sessions, ductape_log, ductape_log_head, ductape_secrets")

    def begin_tail(self) -> None:
        """A standby that follows through a proxy of its own, which from now on swallows."""
        between = self._proxies.to(self._server.port)
        self._follower = self._server.follower(via=between.port)
        self._follower.start()
        reached = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
        wait_for("follow", lambda: self._ask(reached)[0]["count"] == 1)
        between.swallow("both")
        between.cut("rst")

    def lose_tail(self) -> None:
        assert self._follower is not None
        self._server.kill()
        asyncio.run(ask_postgres(self._follower.url(), "SELECT pg_promote(true, 30)"))
        self._server = self._follower
        for proxy in (*self.proxies, self._name):
            proxy.target = self._follower.port

    def close(self) -> None:
        for server in (self._server, self._follower):
            if server is not None:
                server.stop()


class SQLite(Column):
    """No server: what can fail are the processes that share the file, and their clocks."""

    name = "SQLite"

    def __init__(self, folder: Path, proxies: Proxies) -> None:
        self.proxies = []
        self.near = self.far = f"sqlite:////{(folder / 'sessions.db').relative_to('/')}"

    def close(self) -> None:
        pass


def trim_logs(server: Server) -> None:
    for log in server.ask("KEYS", "*:log"):
        server.ask("XTRIM", log, "MAXLEN", 0)


def cut_off(master: Server, replica: Server) -> None:
    """From here on the master acknowledges what its replica never gets."""
    offset = "master_repl_offset"
    wait_for("be in step", lambda: _facts(master)[offset] == _facts(replica)["slave_repl_offset"])
    replica.ask("CONFIG", "SET", "masterauth", "refused-by-the-master")
    master.ask("CLIENT", "KILL", "TYPE", "replica")
    wait_for("be cut off", lambda: _facts(replica)["master_link_status"] == "down")


def _facts(server: Server) -> Any:
    return server.ask("INFO", "replication")


@contextmanager
def opened(kind: type[Any], folder: Path) -> Iterator[Any]:
    """A column while its servers run."""
    with Proxies() as proxies:
        column = kind(folder, proxies)
        column.lateness = proxies.lateness.gaps
        try:
            yield column
        finally:
            column.close()
