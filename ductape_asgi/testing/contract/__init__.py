"""The contract of a store as a test class.  Each file beside this one holds a store to some of the verbs."""

from __future__ import annotations

import pytest

from .creating import CreatingContract
from .ending import EndingContract
from .listening import ListeningContract
from .listing import ListingContract
from .log import LogContract
from .racing import RacingContract
from .refreshing import RefreshingContract
from .surveying import SurveyingContract


class StoreContract(
    CreatingContract,
    RefreshingContract,
    EndingContract,
    ListingContract,
    LogContract,
    ListeningContract,
    RacingContract,
    SurveyingContract,
):
    """Holds a store to every promise of `ductape_asgi.stores.base.SessionStore`.

    Subclass it in your tests, with a fixture ``store`` that yields an empty store, opened, and closes it
    again.  The tests are coroutines and run under anyio's pytest plugin, on every backend that its
    ``anyio_backend`` fixture names (asyncio and trio, unless you say otherwise)::

        import pytest
        from ductape_asgi.testing import StoreContract

        class TestMyStore(StoreContract):
            @pytest.fixture
            async def store(self, tmp_path):
                store = MyStore(tmp_path / "sessions")
                await store.open()
                yield store
                await store.close()

    Where two workers can have one store, add a fixture ``other_handle`` that yields a second one, opened: what it
    does is what the first has to hear of.

    `census` and `people`, by which `Sessions` counts for operators, are held to their promises where the store has
    them; their tests are skipped where it has neither.

    For assertions with details, put ``pytest.register_assert_rewrite("ductape_asgi.testing")`` into your
    ``conftest.py``, above the first import of this module.
    """

    pytestmark = pytest.mark.anyio


__all__ = ["StoreContract"]
