"""F5, F8, F10, F11 and F14: verifications under way, together, cancelled, in threads and across a fork."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from jwt.algorithms import OKPAlgorithm

from ductape_asgi import (
    DuctapeMiddleware,
    RevokedSession,
    SessionError,
    StoreUnavailable,
)

from .asgi import App, bearer, call
from .conftest import MakeForge
from .endings import revoke, revoke_all
from .forge import TAG, CountingStore, Forge, verify

pytestmark = pytest.mark.anyio


# -- F5: resurrection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"], ids="F5-revoked-{}-the-store-was-read".format)
@pytest.mark.parametrize("end", [revoke, revoke_all], ids=["one", "all"])
async def test_a_verification_in_flight_does_not_bring_a_revoked_session_back(
    make_forge: MakeForge, any_store: CountingStore, moment: str, end: Callable[[Forge], Any]
) -> None:
    forge = await make_forge(store=any_store)
    reached, go_on = anyio.Event(), anyio.Event()

    async def pause(name: str) -> None:
        if name == "verify" and not reached.is_set():
            reached.set()
            await go_on.wait()

    setattr(forge.store, moment, pause)
    outcomes: list[object] = []

    async def in_flight() -> None:
        try:
            outcomes.append(await verify(forge))
        except SessionError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight)
        await reached.wait()
        await end(forge)
        with pytest.raises(RevokedSession):  # it started after the revoke: the flight must not carry it
            await verify(forge)
        go_on.set()

    assert len(outcomes) == 1
    for _ in range(3):
        with pytest.raises(RevokedSession):
            await verify(forge)


async def test_f5_an_update_in_flight_is_not_undone_by_a_slower_verification(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, data={"userId": "ann", "role": "admin"})
    reached, go_on = anyio.Event(), anyio.Event()

    async def pause(name: str) -> None:
        if name == "verify" and not reached.is_set():
            reached.set()
            await go_on.wait()

    forge.store.after = pause

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(verify, forge)
        await reached.wait()
        await forge.sessions.update(tag=TAG, identifier="ann", data={"userId": "ann", "role": "user"})
        assert (await verify(forge)).roles == {"user"}
        go_on.set()

    assert (await verify(forge)).roles == {"user"}


async def test_f8_a_failure_of_the_store_is_not_remembered(forge: Forge) -> None:
    def fail(name: str) -> None:
        if name == "verify":
            raise StoreUnavailable("down")

    forge.store.before = fail
    with pytest.raises(StoreUnavailable):
        await verify(forge)
    forge.store.before = None

    assert (await verify(forge)).identifier == "ann"


# -- F10: thundering herd ----------------------------------------------------------------------------------------------


@pytest.fixture
def signature_checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each Ed25519 verification."""
    checks: list[int] = []
    original = OKPAlgorithm.verify

    def counted(self: Any, *args: Any) -> bool:
        checks.append(1)
        return original(self, *args)

    monkeypatch.setattr(OKPAlgorithm, "verify", counted)
    return checks


async def test_f10_a_thousand_first_uses_cost_one_signature_check_and_one_read(
    make_forge: MakeForge, any_store: CountingStore, signature_checks: list[int]
) -> None:
    forge = await make_forge(store=any_store)
    forge.store.calls.clear()
    found: list[str] = []

    async def first_use() -> None:
        found.append((await verify(forge)).session_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(first_use)

    assert found == [forge.issued.session_id] * 1000
    assert len(signature_checks) == 1
    assert forge.store.calls["verify"] == 1


async def test_f10_a_herd_through_the_middleware_costs_one_check_too(
    make_forge: MakeForge, any_store: CountingStore, signature_checks: list[int]
) -> None:
    forge = await make_forge(store=any_store)
    forge.store.calls.clear()
    middleware = DuctapeMiddleware(App(), sessions=forge.sessions, tag=TAG, required=True)
    statuses: list[int] = []

    async def request() -> None:
        statuses.append((await call(middleware, headers=[bearer(forge.token)])).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(request)

    assert statuses == [200] * 1000
    assert len(signature_checks) == 1
    assert forge.store.calls["verify"] == 1


async def test_f10_a_leader_that_is_cancelled_harms_no_follower(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store)
    reached, never = anyio.Event(), anyio.Event()

    async def hang_the_first(name: str) -> None:
        if name == "verify" and not reached.is_set():
            reached.set()
            await never.wait()

    forge.store.before = hang_the_first
    leader = anyio.CancelScope()
    found: list[str] = []

    async def lead() -> None:
        with leader:
            await verify(forge)
            pytest.fail("the leader was to be cancelled")

    async def follow() -> None:
        found.append((await verify(forge)).session_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await reached.wait()
        for _ in range(100):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()

    assert found == [forge.issued.session_id] * 100
    assert forge.store.calls["verify"] == 2


async def test_f10_followers_of_a_refused_leader_are_refused_each_with_an_error(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store)
    await revoke(forge)
    refused: list[type[Exception]] = []

    async def use() -> None:
        try:
            await verify(forge)
        except SessionError as error:
            refused.append(type(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(use)

    assert refused == [RevokedSession] * 100


# -- F11: threads ------------------------------------------------------------------------------------------------------


async def test_f11_worker_threads_verify_together_and_all_see_a_revoke(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, cache_size=8)  # small, so that the threads evict each other's entries
    issued = [await forge.sessions.start(tag=TAG, data={"userId": f"user-{n % 4}"}) for n in range(16)]

    def work() -> list[str]:
        tokens = [session.token for session in issued] * 3
        return [forge.sessions.sync.verify(tag=TAG, token=token).session_id for token in tokens]

    answers: list[list[str]] = []

    async def in_a_thread() -> None:
        answers.append(await anyio.to_thread.run_sync(work))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(in_a_thread)
    ended = await forge.sessions.revoke_all(tag=TAG, identifier="user-1")

    def verify_revoked() -> None:
        with pytest.raises(RevokedSession):
            forge.sessions.sync.verify(tag=TAG, token=issued[1].token)

    await anyio.to_thread.run_sync(verify_revoked)
    assert answers == [[session.session_id for session in issued] * 3] * 8
    assert ended == 4


# -- F14: fork ---------------------------------------------------------------------------------------------------------


def test_f14_a_child_forked_from_a_warm_parent_does_not_trust_the_parents_cache(tmp_path: Path) -> None:
    """As a server that loads the app before it forks its workers."""
    script = textwrap.dedent(
        """
        import asyncio, os, sys
        from ductape_asgi import RevokedSession, Sessions
        from ductape_asgi.keys import new_access_key

        sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store=sys.argv[1])
        tag = "user-session"

        async def warm_up():
            issued = await sessions.start(tag=tag, data={"userId": "ann"})
            await sessions.verify(tag=tag, token=issued.token)
            return issued

        async def is_refused(token):
            try:
                await sessions.verify(tag=tag, token=token)
            except RevokedSession:
                return True
            return False

        issued = asyncio.run(warm_up())
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(reading, 1)
            os._exit(0 if asyncio.run(is_refused(issued.token)) else 7)
        asyncio.run(sessions.revoke(tag=tag, session_id=issued.session_id))
        os.write(writing, b"x")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )

    run = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{tmp_path}/sessions.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
