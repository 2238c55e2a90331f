from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ductape_asgi import Sessions, TagPolicy, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import FlakyStore, SessionClock

from .support import TAG, World


@pytest.fixture(params=["cookie", "bearer"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def world(mode: str) -> AsyncIterator[World]:
    store, clock = FlakyStore(MemoryStore()), SessionClock()
    tags = [TagPolicy(TAG), TagPolicy("checkout-session", refresh=False), TagPolicy("guests", anonymous=True)]
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store=store, clock=clock, tags=tags
    ) as sessions:
        yield World(sessions, store, clock, mode)
