"""A store that was emptied, or put in another's place: every session of a person is still found under one subject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import Sessions, StoreUnavailable
from ductape_asgi.models import Position
from ductape_asgi.stores.base import SecretChanged
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.stores.sqlite import SQLiteStore

from .conftest import MakeSessions, MakeStore
from .support import ANN, TAG, WatchedStore, accepted

pytestmark = pytest.mark.anyio

Replace = Callable[[], None]


@pytest.fixture
def stores() -> list[WatchedStore]:
    return []


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, stores: list[WatchedStore]) -> MakeStore:
    def make() -> WatchedStore:
        if request.param == "sqlite":
            stores.append(WatchedStore(SQLiteStore(tmp_path / "sessions.db")))
        else:
            stores.append(WatchedStore(stores[0].real if stores else MemoryStore()))
        return stores[-1]

    return make


@pytest.fixture
def replace(tmp_path: Path, stores: list[WatchedStore]) -> Replace:
    """Put an empty store in the place of the one that all workers of this test have."""

    def put() -> None:
        empty = MemoryStore()
        for store in stores:
            if isinstance(store.real, MemoryStore):
                store.real = empty
        for file in tmp_path.glob("sessions.db*"):
            file.unlink()

    return put


async def found(sessions: Sessions, identifier: str = "ann") -> int:
    return (await sessions.list(tag=TAG, identifier=identifier)).count


async def test_who_signs_in_after_closing_replacing_and_opening_is_found_by_every_worker(
    make_sessions: MakeSessions, replace: Replace
) -> None:
    here = await make_sessions()
    await here.start(tag=TAG, data=ANN)
    await here.worker.lifetime.leave()
    replace()
    issued = await here.start(tag=TAG, data=ANN)
    other = await make_sessions()
    assert await found(here) == await found(other) == 1
    assert await other.revoke_all(tag=TAG, identifier="ann") == 1
    assert await accepted(other, issued.token) == "revoked_session"
    assert await accepted(here, issued.token) == "revoked_session"


async def test_workers_that_run_meanwhile_give_a_person_one_subject(
    make_sessions: MakeSessions, replace: Replace
) -> None:
    here = await make_sessions()
    await here.start(tag=TAG, data=ANN)
    replace()
    there = await make_sessions()
    tokens = [(await sessions.start(tag=TAG, data=ANN)).token for sessions in (there, here, there, here)]
    assert await found(there) == await found(here) == 4
    assert await there.revoke_all(tag=TAG, identifier="ann") == 4
    for token in tokens:
        assert await accepted(there, token) == "revoked_session"
        assert await accepted(here, token) == "revoked_session"


@pytest.mark.parametrize("verb", ["list", "revoke_all", "update"])
async def test_a_worker_that_only_administers_finds_who_signed_in_since(
    make_sessions: MakeSessions, replace: Replace, verb: str
) -> None:
    here = await make_sessions()
    await here.start(tag=TAG, data=ANN)
    replace()
    there = await make_sessions()
    await there.start(tag=TAG, data=ANN)
    asked: dict[str, Callable[[], Any]] = {
        "list": lambda: found(here),
        "revoke_all": lambda: here.revoke_all(tag=TAG, identifier="ann"),
        "update": lambda: here.update(tag=TAG, identifier="ann", data={**ANN, "role": "admin"}),
    }
    assert await asked[verb]() == 1


async def test_the_key_is_asked_for_again_when_the_log_is_another(
    sessions: Sessions, stores: list[WatchedStore]
) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.worker.feed.catch_up()
    await sessions.start(tag=TAG, data=ANN)
    asked = stores[0].calls["claim_secret"]
    await sessions.start(tag=TAG, data=ANN)
    assert stores[0].calls["claim_secret"] == asked
    sessions.worker.feed.position = Position("another", 1)
    await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert stores[0].calls["claim_secret"] == asked + 1


async def test_a_start_that_is_refused_for_its_key_is_tried_once_more_and_no_oftener(
    sessions: Sessions, stores: list[WatchedStore]
) -> None:
    async def refused(*args: Any, **kwargs: Any) -> Any:
        raise SecretChanged

    await sessions.start(tag=TAG, data=ANN)
    (store,) = stores
    before = store.calls["create"], store.calls["claim_secret"]
    store.instead["create"] = refused
    with pytest.raises(StoreUnavailable):
        await sessions.start(tag=TAG, data=ANN)
    assert (store.calls["create"], store.calls["claim_secret"]) == (before[0] + 2, before[1] + 1)
