"""The ways in which a session can end, each done to the session of a `Forge`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ductape_asgi import SessionError

from .forge import TAG, Forge


async def revoke(f: Forge) -> object:
    return await f.sessions.revoke(tag=TAG, session_id=f.issued.session_id)


async def revoke_all(f: Forge) -> object:
    return await f.sessions.revoke_all(tag=TAG, identifier="ann")


async def revoke_others(f: Forge) -> object:
    other = await f.sessions.start(tag=TAG, data={"userId": "ann"})
    return await f.sessions.revoke_all(tag=TAG, identifier="ann", exclude_current_session=other.session_id)


async def replace(f: Forge) -> object:
    return await f.sessions.start(tag=TAG, data={"userId": "ann"}, replaces=f.issued.session_id)


async def reuse(f: Forge) -> object:
    stolen = f.issued.refresh_token
    child = await f.sessions.refresh(tag=TAG, refresh_token=stolen)
    await f.sessions.refresh(tag=TAG, refresh_token=child.refresh_token)
    with pytest.raises(SessionError):
        await f.sessions.refresh(tag=TAG, refresh_token=stolen)
    return True


ENDINGS: dict[str, Callable[[Forge], Any]] = {
    "F4-revoke": revoke,
    "F4-revoke-all": revoke_all,
    "F4-revoke-others": revoke_others,
    "F4-replaced": replace,
    "F4-refresh-reused": reuse,
}
