# ruff: noqa: S101 - tests assert
"""Tests of `listen`: that hints come, and that waiting for them can be ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from ...stores.base import SessionStore
from .records import ANN, NOW, REALM, TAG, create, new_record, position, refresh, start, start_limited

#: A hint may be lost; of so many steps in a row, one at least is told of.
_ATTEMPTS = 20
_PATIENCE = 1.0
#: How long the connection may take that hints come by.  One that takes longer costs attempts, and no more.
_CONNECTING = 0.2


class _Listener:
    """Somebody who listens.  `returned`: the store has no push."""

    def __init__(self) -> None:
        self.returned = False
        self._woken = anyio.Event()
        self._changed = anyio.Event()

    def wake(self) -> None:
        self._woken.set()
        self._changed.set()

    async def run(self, store: SessionStore) -> None:
        await _listen(store, self.wake)
        self.returned = True
        self._changed.set()

    async def hears_of(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do `step` until it is told of; at once where nobody is told anything."""
        await self.hears(_CONNECTING)  # of the connection itself, if that is told
        for _ in range(_ATTEMPTS):
            await step()
            if self.returned or await self.hears():
                return
        pytest.fail(f"no wake-up came for {_ATTEMPTS} steps in a row")

    async def hears(self, within: float = _PATIENCE) -> bool:
        """Whether a wake-up comes soon; the next question is about the next one."""
        with anyio.move_on_after(within):
            await self._changed.wait()
        heard = self._woken.is_set()
        if not self.returned:
            self._woken, self._changed = anyio.Event(), anyio.Event()
        return heard


async def _listen(store: SessionStore, wake: Callable[[], None]) -> None:
    """`listen`, which may be left out."""
    listen = getattr(store, "listen", None)
    if listen is not None:
        await listen(wake)


@asynccontextmanager
async def _listening(store: SessionStore) -> AsyncIterator[_Listener]:
    listener = _Listener()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.run, store)
        yield listener
        tasks.cancel_scope.cancel()


async def _revoke(store: SessionStore) -> None:
    record = await start(store)
    await store.revoke(REALM, TAG, record.session_id, now=NOW)


async def _revoke_all(store: SessionStore) -> None:
    await start(store)
    await store.revoke_all(REALM, TAG, ANN, spare=None, now=NOW)


async def _update_one(store: SessionStore) -> None:
    record = await start(store)
    await store.update(REALM, TAG, subject=None, session_id=record.session_id, data=b"new", now=NOW)


async def _update_person(store: SessionStore) -> None:
    await start(store)
    await store.update(REALM, TAG, subject=ANN, session_id=None, data=b"new", now=NOW)


async def _replace(store: SessionStore) -> None:
    record = await start(store)
    await create(store, new_record(store), replaces=record.session_id)


async def _evict(store: SessionStore) -> None:
    await start(store)
    await start_limited(store, 1)


async def _reuse(store: SessionStore) -> None:
    record = await start(store)
    for generation in (0, 1, 2):
        await refresh(store, record.session_id, generation)
    assert (await refresh(store, record.session_id, 0)).outcome == "reused"


_STEPS: dict[str, Callable[[SessionStore], Awaitable[None]]] = {
    "revoke": _revoke,
    "revoke_all": _revoke_all,
    "update of a session": _update_one,
    "update of a person": _update_person,
    "replacing": _replace,
    "evicting": _evict,
    "reuse": _reuse,
}


class ListeningContract:
    """`listen`.  Where a second way into the same store can be made, override `other_handle` with it."""

    @pytest.fixture
    def other_handle(self, store: SessionStore) -> Any:
        """Whoever does what the first is told of: a second worker on the same store, opened, if there can be one."""
        return store

    @pytest.mark.parametrize("step", list(_STEPS))
    async def test_who_listens_is_woken_by_each_kind_of_logged_step(
        self, store: SessionStore, other_handle: SessionStore, step: str
    ) -> None:
        before = await position(store)
        async with _listening(store) as listener:
            await listener.hears_of(partial(_STEPS[step], other_handle))
        # Woken or not, the log has it.
        page = await store.log_since(before)
        assert page.position.sequence > before.sequence
        assert len(page.entries) == page.position.sequence - before.sequence

    async def test_listening_returns_at_once_or_goes_on_until_it_is_cancelled(self, store: SessionStore) -> None:
        listener = _Listener()
        with anyio.move_on_after(0.2) as moved:
            await listener.run(store)
        assert moved.cancelled_caught is not listener.returned

    async def test_listening_that_was_cancelled_spoils_nothing(
        self, store: SessionStore, other_handle: SessionStore
    ) -> None:
        for _ in range(5):
            with anyio.move_on_after(0.02):
                await _listen(store, lambda: None)
            await _revoke(store)
        async with _listening(store) as listener:
            await listener.hears_of(partial(_revoke, other_handle))
        here = await position(store)
        assert (await store.log_since(here)).complete

    async def test_many_may_listen_and_one_that_leaves_disturbs_no_other(
        self, store: SessionStore, other_handle: SessionStore
    ) -> None:
        async with _listening(store) as staying:
            async with _listening(store) as leaving:
                await leaving.hears_of(partial(_revoke, other_handle))
            await staying.hears_of(partial(_revoke, other_handle))
            assert staying.returned is leaving.returned

    async def test_who_listens_after_closing_and_opening_is_woken(self, store: SessionStore) -> None:
        async with _listening(store) as listener:
            await listener.hears(_CONNECTING)
        await store.close()
        await store.open()
        async with _listening(store) as listener:
            await listener.hears_of(partial(_revoke, store))
