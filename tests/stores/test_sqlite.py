from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ductape_asgi.stores.sqlite import SQLiteStore
from ductape_asgi.testing import StoreContract


@pytest.mark.usefixtures("patient")
class TestSQLiteStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        store = SQLiteStore(tmp_path / "sessions.db")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def other_handle(self, store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
        other = SQLiteStore(store.path)
        await other.open()
        yield other
        await other.close()
