"""The tests here run without the `conftest.py` above them, which needs what their environment does not have."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The loop of FastMCP's client."""
    return "asyncio"
