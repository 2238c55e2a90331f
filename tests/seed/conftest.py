"""A backend on each embedded store, and a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ductape_asgi import Sessions
from ductape_asgi.keys import new_access_key

from .browser import Browser, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def access_key() -> str:
    return new_access_key()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.db"


@pytest.fixture
async def sessions(access_key: str, store: str, clock: Clock) -> AsyncIterator[Sessions]:
    async with Sessions(access_key=access_key, product="shop", env="prd", store=store, clock=clock) as backend:
        yield backend
