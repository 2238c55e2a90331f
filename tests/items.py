"""What pytest knows of a test before it runs."""

from __future__ import annotations

import pytest


def given(item: pytest.Item) -> dict[str, object]:
    """The parameters it was made with, fixtures' too."""
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
