"""Sessions for the adapters' tests, on a real SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ductape_asgi import Sessions, TagPolicy, new_access_key


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(
        access_key=new_access_key(),
        product="shop",
        env="test",
        store=f"sqlite:///{tmp_path / 'sessions.db'}",
        tags=[TagPolicy("user-session")],
    )
