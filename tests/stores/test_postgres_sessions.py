"""`Sessions` on PostgreSQL, in two workers."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from ductape_asgi import RevokedSession, Sessions
from ductape_asgi.keys import new_access_key

TAG = "user-session"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_one_worker_does_the_other_finds(postgres_url: str) -> None:
    key = new_access_key()
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(Sessions(access_key=key, product="shop", env="prd", store=postgres_url))
            for _ in range(2)
        ]
        issued = await one.start(tag=TAG, data={"userId": "ann", "role": "admin"})
        assert (await other.verify(tag=TAG, token=issued.token)).data == {"userId": "ann", "role": "admin"}

        child = await other.refresh(tag=TAG, refresh_token=str(issued.refresh_token))
        again = await one.refresh(tag=TAG, refresh_token=str(issued.refresh_token))
        assert child.refresh_token == again.refresh_token

        assert await one.update(tag=TAG, identifier="ann", data={"userId": "ann", "role": "guest"}) == 1
        assert (await other.verify(tag=TAG, token=child.token, fresh=True)).data["role"] == "guest"

        page = await other.list(tag=TAG, identifier="ann")
        assert [session.session_id for session in page] == [issued.session_id]
        assert await other.revoke_all(tag=TAG, identifier="ann") == 1
        with pytest.raises(RevokedSession):
            await one.verify(tag=TAG, token=child.token, fresh=True)
