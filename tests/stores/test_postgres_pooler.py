"""Behind a pooler in transaction mode no connection holds any state, and every promise holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from ductape_asgi.errors import ConfigurationError
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.testing import StoreContract
from ductape_asgi.testing.contract.records import must_read, start
from tests.pooler import TransactionPooler


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pooler(postgres_server: str, anyio_backend: str) -> AsyncIterator[TransactionPooler]:
    async with TransactionPooler(urlsplit(postgres_server).port or 5432, 3).running() as pooler:
        yield pooler


def through(pooler: TransactionPooler, schema: str, **options: str) -> PostgresStore:
    query = "".join(f"&{name}={value}" for name, value in options.items())
    return PostgresStore(f"postgresql://postgres@127.0.0.1:{pooler.port}/postgres?ductape_schema={schema}{query}")


@pytest.mark.usefixtures("patient")
class TestPostgresStoreBehindAPooler(StoreContract):
    @pytest.fixture
    async def store(self, pooler: TransactionPooler, postgres_schema: str) -> AsyncIterator[PostgresStore]:
        store = through(pooler, postgres_schema, ductape_listen="off")
        await store.open()
        yield store
        await store.close()


@pytest.mark.anyio
async def test_one_call_after_another_meets_all_connections_of_the_pooler(
    pooler: TransactionPooler, postgres_schema: str
) -> None:
    store = through(pooler, postgres_schema, ductape_listen="off")
    await store.open()
    record = await start(store)
    before = dict(pooler.lent)
    for _ in range(9):
        assert await must_read(store, record.session_id) == record
    assert [count - before[server] for server, count in pooler.lent.items()] == [3, 3, 3]
    await store.close()


@pytest.mark.anyio
async def test_with_listening_on_it_is_refused_with_a_word_on_what_to_switch_off(
    pooler: TransactionPooler, postgres_schema: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"ductape_listen=off.*see its log"):
        await through(pooler, postgres_schema).open()
