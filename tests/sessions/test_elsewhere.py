"""What one worker ends or changes, the others refuse or see: at once or nearly so, as their store can tell them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from ductape_asgi import IssuedSession, RefreshReused, Sessions, TagPolicy

from .conftest import MakeSessions
from .support import ANN, TAG, accepted, until

pytestmark = pytest.mark.anyio


async def _revoke(sessions: Sessions, issued: IssuedSession) -> None:
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id)


async def _revoke_all(sessions: Sessions, issued: IssuedSession) -> None:
    assert await sessions.revoke_all(tag=TAG, identifier="ann") == 1


async def _replace(sessions: Sessions, issued: IssuedSession) -> None:
    await sessions.start(tag=TAG, data=ANN, replaces=issued.session_id)


async def _reuse(sessions: Sessions, issued: IssuedSession) -> None:
    child = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    await sessions.refresh(tag=TAG, refresh_token=child.refresh_token)
    with pytest.raises(RefreshReused):
        await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)


@pytest.mark.parametrize("end", [_revoke, _revoke_all, _replace, _reuse])
async def test_a_cached_session_that_another_worker_ended_is_refused(
    sessions: Sessions, other_worker: Sessions, end: Callable[[Sessions, IssuedSession], Awaitable[None]]
) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    assert await accepted(other_worker, issued.token) == "ok"
    await end(sessions, issued)
    assert await accepted(sessions, issued.token) == "revoked_session"
    await until(partial(_refused, other_worker, issued))


async def test_a_cached_session_that_another_worker_evicted_is_refused(make_sessions: MakeSessions) -> None:
    tags = [TagPolicy(TAG, max_sessions=1)]
    one, other = await make_sessions(tags=tags), await make_sessions(tags=tags)
    issued = await one.start(tag=TAG, data=ANN)
    assert await accepted(other, issued.token) == "ok"
    await one.start(tag=TAG, data=ANN)
    await until(partial(_refused, other, issued))


async def test_data_that_another_worker_replaced_is_seen(sessions: Sessions, other_worker: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, "role": "admin"})
    assert (await other_worker.verify(tag=TAG, token=issued.token)).roles == {"admin"}
    await sessions.update(tag=TAG, identifier="ann", data={**ANN, "role": "user"})

    async def demoted() -> bool:
        return (await other_worker.verify(tag=TAG, token=issued.token)).roles == {"user"}

    await until(demoted)


async def _refused(sessions: Sessions, issued: IssuedSession) -> bool:
    return await accepted(sessions, issued.token) == "revoked_session"
