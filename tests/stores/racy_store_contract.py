"""The contract held to a store with a race.  Not collected: `test_keyvalue` runs it, and looks at what fails."""

from __future__ import annotations

import pytest

from ductape_asgi.testing import StoreContract

from .snapshot_store import SnapshotStore


class TestRacyStore(StoreContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"  # which runs tasks in the order in which they were started, each time

    @pytest.fixture
    def store(self) -> SnapshotStore:
        return SnapshotStore(checked=False)
