"""The store with push that these tests are made with is a store: it passes the contract, guarded or not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ductape_asgi.stores.guarded import GuardedStore
from ductape_asgi.testing import StoreContract

from .push_store import PushStore, Server


class TestPushStore(StoreContract):
    @pytest.fixture
    def server(self) -> Server:
        return Server()

    @pytest.fixture
    def store(self, server: Server) -> Any:
        return PushStore(server)

    @pytest.fixture
    def other_handle(self, server: Server) -> Any:
        return PushStore(server)


class TestGuardedPushStore(StoreContract):
    """The guard changes no answer."""

    @pytest.fixture
    def store(self) -> Any:
        return GuardedStore(PushStore(Server()), time.monotonic)
