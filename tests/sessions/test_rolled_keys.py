"""Access keys rolled over workers of one process, and what each algorithm makes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from ductape_asgi import InvalidToken, IssuedSession, Sessions, StoreUnavailable, new_access_key

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, accepted

pytestmark = pytest.mark.anyio

OLD, NEW = new_access_key(), new_access_key()


@pytest.fixture
def rolled(make_sessions: MakeSessions) -> Any:
    async def make(*keys: str, **options: Any) -> Sessions:
        return await make_sessions(access_key=list(keys), **options)

    return make


async def refreshed(sessions: Sessions, issued: IssuedSession) -> IssuedSession:
    return await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)


async def test_nobody_is_signed_out_on_the_way(rolled: Any) -> None:
    steps = [await rolled(*keys) for keys in ([OLD], [OLD, NEW], [NEW, OLD])]
    issued = [await sessions.start(tag=TAG, data=ANN) for sessions in steps]
    for later in range(3):
        for earlier in range(later + 1):
            assert await accepted(steps[later], issued[earlier].token) == "ok"
    # Steps next to each other serve at the same time.
    assert await accepted(steps[0], issued[1].token) == "ok"
    assert await accepted(steps[1], issued[2].token) == "ok"


async def test_list_and_revoke_all_are_complete_at_each_step(rolled: Any) -> None:
    steps = [await rolled(*keys) for keys in ([OLD], [OLD, NEW], [NEW, OLD])]
    issued = [await sessions.start(tag=TAG, data=ANN) for sessions in steps]
    newest_first = [each.session_id for each in reversed(issued)]
    for sessions in steps:
        assert [info.session_id for info in await sessions.list(tag=TAG, identifier="ann")] == newest_first
    assert await steps[0].revoke_all(tag=TAG, identifier="ann") == 3
    for each in issued:
        assert await accepted(steps[2], each.token) == "revoked_session"


async def test_the_pseudonym_stays_the_same_through_all_steps(rolled: Any) -> None:
    subjects = set()
    for keys in ([OLD], [OLD, NEW], [NEW, OLD], [NEW]):
        sessions = await rolled(*keys)
        issued = await sessions.start(tag=TAG, data=ANN)
        subjects.add((await sessions.inspect(token=issued.token)).subject)
    assert len(subjects) == 1


async def test_a_key_taken_out_ends_what_only_it_had_made(rolled: Any) -> None:
    issued = await (await rolled(OLD)).start(tag=TAG, data=ANN)
    both = await rolled(NEW, OLD)
    assert await accepted(both, issued.token) == "ok"
    later = await both.start(tag=TAG, data=ANN)
    last = await rolled(NEW)
    assert await accepted(last, issued.token) == "invalid_token"
    with pytest.raises(InvalidToken):
        await refreshed(last, issued)
    assert await accepted(last, later.token) == "ok"
    await refreshed(last, later)


async def test_a_session_refreshed_under_the_new_key_survives_the_old_one(rolled: Any) -> None:
    issued = await (await rolled(OLD)).start(tag=TAG, data={**ANN, "role": "admin"}, client=None)
    issued = await refreshed(await rolled(NEW, OLD), issued)
    last = await rolled(NEW)
    session = await last.verify(tag=TAG, token=issued.token)
    assert (session.identifier, session.roles) == ("ann", {"admin"})
    assert await last.update(tag=TAG, session_id=issued.session_id, data={**ANN, "role": "user"}) == 1
    assert (await last.verify(tag=TAG, token=issued.token)).roles == {"user"}
    issued = await refreshed(last, issued)
    assert (await last.verify(tag=TAG, token=issued.token)).roles == {"user"}
    await last.revoke(tag=TAG, session_id=issued.session_id)
    assert await accepted(last, issued.token) == "revoked_session"


async def test_a_session_that_was_only_ever_refreshed_under_both_keys_is_still_listed(rolled: Any) -> None:
    """The new key must know the pseudonyms even where nobody signed in while both were there."""
    issued = await (await rolled(OLD)).start(tag=TAG, data=ANN)
    issued = await refreshed(await rolled(NEW, OLD), issued)
    last = await rolled(NEW)
    assert [info.session_id for info in await last.list(tag=TAG, identifier="ann")] == [issued.session_id]
    assert await last.revoke_all(tag=TAG, identifier="ann") == 1
    assert await accepted(last, issued.token) == "revoked_session"


async def test_clients_survive_the_old_key_with_their_session(rolled: Any) -> None:
    scope = {"type": "http", "client": ("203.0.113.9", 1), "headers": [(b"user-agent", b"cli/2")]}
    issued = await (await rolled(OLD)).start(tag=TAG, data=ANN, client=scope)
    both = await rolled(NEW, OLD)
    await both.list(tag=TAG, identifier="ann")
    await refreshed(both, issued)
    (info,) = await (await rolled(NEW)).list(tag=TAG, identifier="ann")
    assert (info.client.ip, info.client.user_agent) == ("203.0.113.9", "cli/2")


async def test_a_refresh_retried_with_another_first_key_gets_the_same_child(rolled: Any) -> None:
    workers = [await rolled(OLD, NEW), await rolled(NEW, OLD)]
    parent = await workers[0].start(tag=TAG, data=ANN)
    for _ in range(4):
        children: list[IssuedSession] = []

        async def refresh(sessions: Sessions, of: IssuedSession, into: list[IssuedSession]) -> None:
            into.append(await refreshed(sessions, of))

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(refresh, workers[number % 2], parent, children)
        assert len({child.refresh_token for child in children}) == 1
        for child in children:
            assert [await accepted(worker, child.token) for worker in workers] == ["ok", "ok"]
        parent = children[0]


async def test_a_retry_reaches_a_worker_that_does_not_have_the_new_key_yet(rolled: Any, clock: Clock) -> None:
    """Between ``[old]`` and ``[old, new]`` both first keys are the old one, so nothing of the new one is seen."""
    workers = [await rolled(OLD), await rolled(OLD, NEW)]
    parent = await workers[1].start(tag=TAG, data=ANN)
    child = await refreshed(workers[1], parent)
    assert (await refreshed(workers[0], parent)).refresh_token == child.refresh_token
    clock.advance(100)
    assert (await refreshed(workers[0], parent)).refresh_token == child.refresh_token


async def test_reuse_is_caught_across_keys(rolled: Any) -> None:
    before, after = await rolled(OLD, NEW), await rolled(NEW, OLD)
    parent = await before.start(tag=TAG, data=ANN)
    child = await refreshed(after, parent)
    await refreshed(after, child)
    with pytest.raises(Exception, match="already used"):
        await refreshed(before, parent)
    assert await accepted(after, child.token) == "revoked_session"


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "ES256", "HS256"])
async def test_each_algorithm_has_the_whole_life_of_a_session(rolled: Any, algorithm: str) -> None:
    workers = [await rolled(OLD, NEW, algorithm=algorithm), await rolled(NEW, OLD, algorithm=algorithm)]
    issued = await workers[0].start(tag=TAG, data=ANN)
    assert workers[0].keyring.active.alg == algorithm
    for turn in range(3):
        for worker in workers:
            assert await accepted(worker, issued.token) == "ok"
        issued = await refreshed(workers[turn % 2], issued)
    await workers[0].revoke(tag=TAG, session_id=issued.session_id)
    assert await accepted(workers[1], issued.token) == "revoked_session"


async def test_a_token_of_another_algorithm_of_the_same_key_is_invalid(rolled: Any) -> None:
    """One key has one algorithm; a fleet that changes it changes the access key too."""
    workers = {name: await rolled(OLD, algorithm=name) for name in ("EdDSA", "Ed25519", "ES256", "HS256")}
    for name, sessions in workers.items():
        issued = await sessions.start(tag=TAG, data=ANN)
        answers = {other: await accepted(each, issued.token) for other, each in workers.items()}
        assert answers == {other: "ok" if other == name else "invalid_token" for other in workers}


@pytest.mark.any_store
@pytest.mark.parametrize("damage", [b"", bytes(100), "text"])
async def test_secrets_that_are_damaged_in_the_store_sign_nobody_out(rolled: Any, damage: Any) -> None:
    """A refusal of the refresh token would have its cookie taken away."""

    async def damaged(realm: str, offers: Any) -> dict[str, Any]:
        return dict.fromkeys(offers, damage)

    before, after = await rolled(OLD), await rolled(OLD)
    issued = await before.start(tag=TAG, data=ANN)
    after.worker.store.instead["claim_secret"] = damaged
    for call in (refreshed(after, issued), after.revoke_all(tag=TAG, identifier="ann")):
        with pytest.raises(StoreUnavailable, match="damaged"):
            await call
    del after.worker.store.instead["claim_secret"]
    assert (await refreshed(after, issued)).session_id == issued.session_id


@pytest.mark.any_store
async def test_of_several_keys_one_whole_copy_of_a_secret_is_enough(rolled: Any) -> None:
    before, after = await rolled(NEW, OLD), await rolled(NEW, OLD)
    issued = await before.start(tag=TAG, data=ANN)
    store = after.worker.store
    whole = store.real.claim_secret

    async def damaged(realm: str, offers: Any) -> dict[str, bytes]:
        kept = await whole(realm, offers)
        return {name: b"" if name == next(iter(offers)) else secret for name, secret in kept.items()}

    store.instead["claim_secret"] = damaged
    assert await after.revoke_all(tag=TAG, identifier="ann") == 1
    assert await accepted(before, issued.token) == "revoked_session"
