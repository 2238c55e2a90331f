"""A row that somebody else has written to is an error of ours, and stands in nobody's way out."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ductape_asgi import ClientInfo, IssuedSession, RevokedSession, Sessions, StoreUnavailable, new_access_key
from ductape_asgi.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

TAG = "user-session"
ANN = {"userId": "ann"}
DAMAGE = [
    "ends_at = 'x'",
    "ends_at = 1e30",
    f"ends_at = {2**62}",
    "ends_at = -9e18",
    "created_at = 1e30",
    "created_at = 9e999",
    "last_seen_at = 'x'",
    "auth_time = x'00'",
    "idle_ttl = 'x'",
    "generation = 1.5",
    "seen_generation = 'x'",
    "version = 'x'",
    "expires_in = 'x'",
    f"expires_in = {2**62}",
    "identity = 5",
    "client = 'text'",
    "data = 'text'",
    "refresh_key = x'00'",
    "subject = x'00'",
]


@pytest.fixture
def make_sessions(path: Path) -> Callable[[], Sessions]:
    access_key = new_access_key()
    return lambda: Sessions(access_key=access_key, product="shop", env="prd", store=SQLiteStore(path))


@pytest.fixture
async def sessions(make_sessions: Callable[[], Sessions]) -> AsyncIterator[Sessions]:
    async with make_sessions() as sessions:
        yield sessions


@pytest.fixture
async def damaged(sessions: Sessions, path: Path, damage: str) -> IssuedSession:
    issued = await sessions.start(tag=TAG, data=ANN, client=ClientInfo(label="phone"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE sessions SET {damage}")
    return issued


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_session_is_unavailable_and_the_log_says_where(
    sessions: Sessions, damaged: IssuedSession, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for call in (
        lambda: sessions.verify(tag=TAG, token=damaged.token),
        lambda: sessions.refresh(tag=TAG, refresh_token=damaged.refresh_token),
        lambda: sessions.update(tag=TAG, session_id=damaged.session_id, data=ANN),
    ):
        caplog.clear()
        with caplog.at_level(logging.ERROR), pytest.raises(StoreUnavailable, match="damaged"):
            await call()
        assert damage.split(" = ")[0] in caplog.text
        assert damaged.session_id not in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM log_head",
        "UPDATE log_head SET sequence = 'x'",
        "UPDATE log_head SET sequence = -5",
        "UPDATE log_head SET sequence = 9223372036854775807",
        "UPDATE log_head SET epoch = x'ff'",
    ],
)
async def test_a_log_that_does_not_say_where_it_stands_begins_anew(
    sessions: Sessions, make_sessions: Callable[[], Sessions], path: Path, damage: str
) -> None:
    async with make_sessions() as other:
        issued = await sessions.start(tag=TAG, data=ANN)
        await other.verify(tag=TAG, token=issued.token)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(damage)
        with anyio.fail_after(10):
            other.worker.feed.distrust()
            while not (await other.health()).ok:
                await anyio.sleep(0.01)
        assert await other.verify(tag=TAG, token=issued.token)
        assert await sessions.revoke(tag=TAG, session_id=issued.session_id)
        with pytest.raises(RevokedSession):
            await other.verify(tag=TAG, token=issued.token)


OUT_OF_SIGHT = {"ends_at = -9e18", "subject = x'00'"}  # its time is over; nobody's


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("damage", [damage for damage in DAMAGE if damage not in OUT_OF_SIGHT])
async def test_a_list_with_a_damaged_session_is_unavailable(sessions: Sessions) -> None:
    with pytest.raises(StoreUnavailable, match="damaged"):
        await sessions.list(tag=TAG, identifier="ann")


@pytest.mark.parametrize(
    ("way", "damage"),
    [(way, damage) for way in ("revoke", "replaces") for damage in DAMAGE]
    + [("revoke_all", damage) for damage in DAMAGE if not damage.startswith("subject")],
)
async def test_a_damaged_session_can_be_ended(sessions: Sessions, damaged: IssuedSession, path: Path, way: str) -> None:
    if way == "revoke":
        await sessions.revoke(tag=TAG, session_id=damaged.session_id)
    elif way == "revoke_all":
        await sessions.revoke_all(tag=TAG, identifier="ann")
    else:
        await sessions.start(tag=TAG, data={"userId": "bob"}, replaces=damaged.session_id)
    with closing(sqlite3.connect(path)) as connection:
        left = connection.execute("SELECT count(*) FROM sessions WHERE session_id = ?", (damaged.session_id,))
        assert left.fetchone() == (0,)
    with pytest.raises(RevokedSession):
        await sessions.verify(tag=TAG, token=damaged.token)
