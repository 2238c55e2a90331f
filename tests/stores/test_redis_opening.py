"""Redis URLs, what is refused at open and how, and opening again in another event loop or process."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ductape_asgi.errors import ConfigurationError, StoreUnavailable
from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.stores.redis.address import read_url
from ductape_asgi.stores.redis.opening import _check_version
from ductape_asgi.stores.urls import store_from
from ductape_asgi.testing.contract.records import must_read, read, start
from tests.redis_servers import Server, free_port, fresh, running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def own_sentinel(tmp_path: Path, own_server: Server) -> Iterator[Server]:
    """It watches the server, under the name of main."""
    sentinel = Server(tmp_path / "sentinel", f"sentinel monitor main 127.0.0.1 {own_server.port} 1", sentinel=True)
    try:
        yield sentinel.start()
    finally:
        sentinel.kill()


def test_a_url_of_one_server() -> None:
    address = read_url("redis://ann:p%40ss@cache.example:6380/2?prefix=shop&max_connections=8")
    assert (address.form, address.hosts, address.db) == ("single", (("cache.example", 6380),), 2)
    assert (address.username, address.password, address.tls) == ("ann", "p@ss", False)
    assert (address.prefix, address.max_connections) == ("shop", 8)


def test_what_a_url_leaves_out() -> None:
    address = read_url("redis://localhost")
    assert (address.hosts, address.db, address.username, address.password) == ((("localhost", 6379),), 0, None, None)


def test_a_url_of_sentinels() -> None:
    address = read_url("redis+sentinel://:pw@one:26379,two,[::1]:3/main/1?sentinel_password=other")
    assert address.hosts == (("one", 26379), ("two", 26379), ("::1", 3))
    assert (address.form, address.service, address.db) == ("sentinel", "main", 1)
    assert (address.password, address.sentinel_password) == ("pw", "other")


def test_a_url_of_a_cluster_with_tls() -> None:
    address = read_url("rediss+cluster://one:7000,two:7001?ssl_ca_certs=/etc/ca.pem")
    assert (address.form, address.hosts, address.tls) == ("cluster", (("one", 7000), ("two", 7001)), True)
    assert address.files == (("ssl_ca_certs", "/etc/ca.pem"),)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://host:0",
        "redis://host:65536",
        "redis://host:port",
        "redis://a,b",
        "redis://host/one",
        "redis://host/0/1",
        "redis://host/0#part",
        "redis://host?prefix=",
        "redis://host?prefix={x}",
        "redis://host?max_connections=0",
        "redis://host?unknown=1",
        "redis://host?ssl_ca_certs=/x",
        "redis+sentinel://host",
        "redis+sentinel://host/service/x",
        "redis+cluster://host/1",
        "redis+other://host",
        "redis:host",
        "redis://[::1/0",
        "redis://:pass[word@host",
        "redis://:pass]word@host",
        "redis://:pass\u2100word@host",
    ],
)
def test_a_malformed_url_is_refused_when_the_store_is_built(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis"):
        store_from(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://host?prefx=shop", r"no option 'prefx' \(but prefix, "),
        ("redis://host?max_connections=0", "max_connections takes a number from 1 to 9999"),
        ("redis://host?prefix={x}", "prefix takes 1 to 64 letters"),
        ("redis://host?ssl_ca_certs=/x", "ssl_ca_certs is for TLS only"),
        ("redis://:hunter2/@host", "%2F for /"),
    ],
)
def test_a_malformed_url_is_told_what_is_wrong_with_it(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        store_from(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:pa55word@h:1/0",
        "redis+sentinel://h/main?sentinel_password=pa55word",
        "redis://:pa55word@h:x",
        "redis://:pa55word\u2100@h",
        "redis://:[pa55word@h",
        "redis://:[pa55word]@h",
        "redis://u:12?pa55word@h/0",
    ],
)
def test_no_password_is_shown(url: str) -> None:
    try:
        shown = f"{store_from(url)!r} {read_url(url)!r} {read_url(url)}"
    except ConfigurationError as error:
        shown = f"{error!r} {error.__cause__!r} {error.__context__!r}"
    assert "pa55word" not in shown


def test_a_url_gives_a_redis_store() -> None:
    assert isinstance(store_from("redis://localhost"), RedisStore)
    assert isinstance(store_from("rediss+cluster://localhost"), RedisStore)


def test_without_the_driver_the_extra_is_named() -> None:
    code = """
        import sys
        sys.modules["redis"] = None  # as if it were not installed
        from ductape_asgi.errors import ConfigurationError
        from ductape_asgi.stores.urls import store_from
        try:
            store_from("redis://localhost")
        except ConfigurationError as error:
            print(error)
    """
    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "ductape-asgi[redis]" in answer.stdout


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.anyio
async def test_trio_is_told_what_runs_where(anyio_backend: str, redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"asyncio.*coredis.*sqlite"):
        await RedisStore(redis_url).open()


@pytest.mark.parametrize("version", ["6.2.14", "5.0.7", "6", "junk", "0"])
def test_an_old_server_is_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match="too old"):
        _check_version({"redis_version": version})


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.1", "10.0.0"])
def test_a_server_that_is_new_enough_is_not(version: str) -> None:
    _check_version({"redis_version": version})


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
class TestOpening:
    async def test_nobody_there_is_unavailable(self) -> None:
        with pytest.raises(StoreUnavailable, match="ConnectionRefusedError"):
            await RedisStore(f"redis://127.0.0.1:{free_port()}/0").open()

    async def test_nobody_there_is_unavailable_for_sentinel_and_cluster_too(self) -> None:
        for url in ("redis+sentinel://127.0.0.1:{}/main", "redis+cluster://127.0.0.1:{}"):
            with pytest.raises(StoreUnavailable):
                await RedisStore(url.format(free_port())).open()

    async def test_a_missing_or_wrong_password_is_a_matter_of_configuration(self, own_server: Server) -> None:
        own_server.ask("CONFIG", "SET", "requirepass", "right")
        place = f"127.0.0.1:{own_server.port}/0"
        for login in ("", ":wrong@", "ann:right@"):
            with pytest.raises(ConfigurationError, match="user and password") as refusal:
                await RedisStore(f"redis://{login}{place}").open()
            assert "wrong" not in str(refusal.value)
        store = RedisStore(f"redis://:right@{place}")
        await store.open()
        await store.close()

    async def test_a_wrong_password_behind_sentinel_is_a_matter_of_configuration(
        self, own_server: Server, own_sentinel: Server
    ) -> None:
        own_server.ask("CONFIG", "SET", "requirepass", "right")
        for login in ("", ":wrong@"):
            with pytest.raises(ConfigurationError, match=r"user and password.*sentinel_password="):
                await RedisStore(f"redis+sentinel://{login}127.0.0.1:{own_sentinel.port}/main").open()
        store = RedisStore(f"redis+sentinel://:right@127.0.0.1:{own_sentinel.port}/main")
        await store.open()
        await store.close()

    async def test_a_service_that_sentinel_does_not_know_is_a_matter_of_configuration(
        self, own_sentinel: Server
    ) -> None:
        with pytest.raises(ConfigurationError, match="no service of this name"):
            await RedisStore(f"redis+sentinel://127.0.0.1:{own_sentinel.port}/mian").open()

    async def test_a_user_without_rights_is_a_matter_of_configuration(self, own_server: Server) -> None:
        own_server.ask("ACL", "SETUSER", "poor", "on", ">pw", "+get", "~*")
        with pytest.raises(ConfigurationError, match="rights"):
            await RedisStore(f"redis://poor:pw@127.0.0.1:{own_server.port}/0").open()

    async def test_a_user_without_rights_on_what_the_prefix_names_is_told_when_it_opens(
        self, own_server: Server
    ) -> None:
        own_server.ask("ACL", "SETUSER", *documented_rights())
        with pytest.raises(ConfigurationError, match="begins with prefix="):
            await RedisStore(f"redis://sessions:secret@127.0.0.1:{own_server.port}/0?prefix=shop").open()

    async def test_the_rights_in_the_docs_are_enough(self, own_server: Server) -> None:
        rights = documented_rights()
        own_server.ask("ACL", "SETUSER", *rights)
        store = RedisStore(f"redis://sessions:secret@127.0.0.1:{own_server.port}/0")
        await store.open()
        record = await start(store)
        here = (await store.log_since(None)).position
        assert await store.revoke(record.realm, record.tag, record.session_id, now=record.created_at)
        assert len((await store.log_since(here)).entries) == 1
        heard = asyncio.Event()
        listening = asyncio.create_task(store.listen(heard.set))
        async with asyncio.timeout(10):
            await heard.wait()
        listening.cancel()
        await store.close()

    async def test_a_database_that_is_not_there_is_a_matter_of_configuration(self, own_server: Server) -> None:
        with pytest.raises(ConfigurationError, match="no such database"):
            await RedisStore(f"redis://127.0.0.1:{own_server.port}/99").open()

    async def test_a_single_server_is_no_cluster(self, redis_url: str) -> None:
        with pytest.raises(ConfigurationError, match="redis://"):
            await RedisStore(redis_url.replace("redis://", "redis+cluster://").partition("?")[0]).open()

    async def test_a_cluster_is_no_single_server(self, redis_cluster_url: str) -> None:
        first = redis_cluster_url.partition(",")[0]
        with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
            await RedisStore(first.replace("redis+cluster", "redis")).open()

    async def test_a_server_that_evicts_is_warned_of(
        self, own_server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        own_server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        store = RedisStore(own_server.url)
        with caplog.at_level(logging.WARNING):
            await store.open()
        await store.close()
        assert "allkeys-lru" in caplog.text

    async def test_a_store_that_is_not_open_says_so(self, redis_url: str) -> None:
        with pytest.raises(StoreUnavailable, match="open"):
            await RedisStore(redis_url).purge(before=0, limit=1)

    async def test_nothing_is_left_open(self, own_server: Server) -> None:
        store = RedisStore(own_server.url)
        await store.open()
        await asyncio.gather(*(start(store) for _ in range(10)))
        await store.close()

        def alone() -> bool:
            return len(own_server.ask("CLIENT", "LIST").splitlines()) == 1

        async with asyncio.timeout(10):
            while not alone():
                await asyncio.sleep(0.01)


def documented_rights() -> list[str]:
    """The words of the ``ACL SETUSER`` line in docs/stores.md."""
    page = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("ACL SETUSER"))
    return line.split()[2:]


def test_it_opens_again_in_a_new_event_loop_and_leaves_no_socket_behind(redis_url: str) -> None:
    """Warnings are errors here: a socket that was forgotten would be told of when it is collected."""
    store = RedisStore(fresh(redis_url))

    async def first() -> str:
        await store.open()
        await asyncio.gather(*(start(store) for _ in range(5)))
        return (await start(store)).session_id

    async def second(session_id: str) -> None:
        with pytest.raises(StoreUnavailable, match="another event loop"):
            await read(store, session_id)
        await store.open()
        await must_read(store, session_id)

    session_id = asyncio.run(first())
    for _ in range(3):
        asyncio.run(second(session_id))

    async def last() -> None:
        await store.close()

    asyncio.run(last())


_FORKING = """
    import asyncio, gc, os, sys
    from ductape_asgi.errors import StoreUnavailable
    from ductape_asgi.stores.redis import RedisStore
    from ductape_asgi.testing.contract.records import must_read, start

    async def connection_of(store):
        node = store._opened.topology.nodes[0]
        return (await node.ask(("CLIENT", "ID")))[0]

    async def in_parent(store):
        await store.open()
        record = await start(store)
        return record.session_id, await connection_of(store)

    async def in_child(store, session_id, ids):
        try:
            await must_read(store, session_id)
            os._exit(3)
        except StoreUnavailable as error:
            assert "fork" in str(error)
        await store.close()
        await store.open()
        await must_read(store, session_id)
        assert await connection_of(store) not in ids
        await store.close()

    async def again_in_parent(store, session_id, before):
        await must_read(store, session_id)
        assert await connection_of(store) == before
        await store.close()

    store = RedisStore(sys.argv[1])
    loop = asyncio.new_event_loop()
    session_id, before = loop.run_until_complete(in_parent(store))
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(in_child(store, session_id, [before]))
            gc.collect()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    loop.run_until_complete(again_in_parent(store, session_id, before))
    loop.close()
    sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_it_opens_again_after_a_fork_and_the_parents_connections_are_left_alone(redis_url: str) -> None:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(_FORKING), fresh(redis_url)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_closing_from_trio_what_was_opened_on_asyncio_lets_go_of_it(redis_url: str) -> None:
    store = RedisStore(fresh(redis_url))
    asyncio.run(store.open())
    trio.run(store.close)
    asyncio.run(store.open())
    asyncio.run(store.close())
