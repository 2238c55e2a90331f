"""The contract, on Redis in its three forms."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ductape_asgi.stores.redis import RedisStore
from ductape_asgi.testing import StoreContract
from tests.redis_servers import fresh


@pytest.mark.usefixtures("patient")
class OnAsyncio(StoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        """Redis-py knows no other."""
        return "asyncio"

    @pytest.fixture
    def place(self, url: str) -> str:
        return fresh(url)

    @pytest.fixture
    async def store(self, place: str) -> AsyncIterator[RedisStore]:
        store = RedisStore(place)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def other_handle(self, place: str) -> AsyncIterator[RedisStore]:
        other = RedisStore(place)
        await other.open()
        yield other
        await other.close()


class TestOneServer(OnAsyncio):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url


class TestSentinel(OnAsyncio):
    @pytest.fixture
    def url(self, sentinel_url: str) -> str:
        return sentinel_url


class TestCluster(OnAsyncio):
    @pytest.fixture
    def url(self, redis_cluster_url: str) -> str:
        return redis_cluster_url
