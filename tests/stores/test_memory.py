from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()
