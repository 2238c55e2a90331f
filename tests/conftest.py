"""What every test shares: both event loops, a hypothesis profile without deadlines, and real servers."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Generator, Iterator

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from tests import redis_servers
from tests.items import given
from tests.patience import be_patient
from tests.servers import PostgresServer, running_postgres

#: They have an environment of their own: `make examples`.
collect_ignore = ["examples"]

settings.register_profile(
    "ductape",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ductape")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure what adds to the coverage only: measured, all of Python takes two or three times as long.

    By itself pytest-cov stops its own measuring at ``no_cover``; in one of several workers, coverage has begun before.

    And log as before: building a Litestar app has the root logger at INFO for good, which made some tests take five
    times as long that came after.
    """
    stopped: list[Coverage] = []
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    while _repeats(item) and (measuring := Coverage.current()) is not None:
        measuring.stop()
        stopped.append(measuring)
    try:
        return (yield)
    finally:
        for measuring in reversed(stopped):
            measuring.start()
        root.setLevel(level)
        root.handlers[:] = handlers


def _repeats(item: pytest.Item) -> bool:
    """Whether a test goes over lines that others cover: many times, or on the other event loop."""
    return item.get_closest_marker("no_cover") is not None or given(item).get("anyio_backend") == "trio"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what stores promise, and not of how soon: none gives up because the machine is busy."""
    be_patient(monkeypatch)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each coroutine test runs on both event loops."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server: ``DUCTAPE_TEST_POSTGRES_URL``, or one of our own.

    As ``postgresql://postgres@127.0.0.1:5432/postgres``: a superuser of that name, whom it asks for no password.
    """
    if url := os.environ.get("DUCTAPE_TEST_POSTGRES_URL"):
        yield url
        return
    with running_postgres(tmp_path_factory) as server:
        yield server.url()


@pytest.fixture(scope="session")
def do_on_postgres(postgres_server: str) -> Iterator[Callable[[str], object]]:
    """Does a statement, on one connection that stays: to make one takes longer than most tests."""
    import asyncpg

    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres_server))
        yield lambda statement: runner.run(connection.execute(statement))
        runner.run(connection.close())


@pytest.fixture
def postgres_schema(do_on_postgres: Callable[[str], object]) -> Iterator[str]:
    """The name of an empty schema of the test's own."""
    name = f"test_{secrets.token_hex(6)}"
    do_on_postgres(f"CREATE SCHEMA {name}")
    yield name
    do_on_postgres(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def postgres_url(postgres_server: str, postgres_schema: str) -> str:
    """The URL of a store in a schema of the test's own."""
    return f"{postgres_server}{'&' if '?' in postgres_server else '?'}ductape_schema={postgres_schema}"


@pytest.fixture
def postgres_own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL server that the test may kill, pause and start again."""
    with running_postgres(tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server, which tests share: each takes a prefix of its own (`redis_servers.fresh`)."""
    with redis_servers.single(tmp_path_factory.mktemp("redis")) as url:
        yield url
        redis_servers.flush(url)


@pytest.fixture(scope="session")
def sentinel_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_servers.SentinelTrio(tmp_path_factory.mktemp("sentinel")) as trio:
        yield trio.url


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_servers.cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield redis_servers.cluster_url(servers)
