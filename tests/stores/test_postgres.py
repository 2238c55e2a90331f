from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.testing import StoreContract


@pytest.mark.usefixtures("patient")
class TestPostgresStore(StoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self, postgres_url: str) -> AsyncIterator[PostgresStore]:
        store = PostgresStore(postgres_url)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def other_handle(self, store: PostgresStore, postgres_url: str) -> AsyncIterator[PostgresStore]:
        other = PostgresStore(postgres_url)
        await other.open()
        yield other
        await other.close()
