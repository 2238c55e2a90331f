"""Tickets: one use, thirty seconds, one session, one realm, one tag; on every store and across its workers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ductape_asgi import (
    ConfigurationError,
    DuctapeError,
    ExpiredToken,
    InvalidData,
    InvalidToken,
    IssuedSession,
    MissingToken,
    RevokedSession,
    Session,
    SessionLimitReached,
    Sessions,
    StoreUnavailable,
    TagPolicy,
    new_access_key,
)
from ductape_asgi.testing.contract.records import all_at_once
from ductape_asgi.tickets import TICKET_TTL
from tests.sessions.conftest import MakeSessions, MakeStore
from tests.sessions.support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={**ANN, "role": "admin"})


@pytest.fixture
async def session(sessions: Sessions, issued: IssuedSession) -> Session[Any]:
    return await sessions.verify(tag=TAG, token=issued.token)


async def redeem(sessions: Sessions, ticket: str, *tags: str) -> Session[Any]:
    policies = {tag: sessions.policy(tag) for tag in tags or (TAG,)}
    return await sessions.admission.redeem(sessions.context(), policies, ticket)


async def test_a_ticket_is_taken_for_its_session_in_another_worker(
    sessions: Sessions, other_worker: Sessions, session: Session[Any]
) -> None:
    taken = await redeem(other_worker, await sessions.ticket(tag=TAG, session=session), "other", TAG)
    for name in ("session_id", "tag", "identifier", "realm", "data", "roles", "expires_at", "auth_time"):
        assert getattr(taken, name) == getattr(session, name), name


async def test_a_ticket_of_a_session_id_lasts_as_long_as_a_token_issued_then(
    sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    clock.advance(100)
    taken = await redeem(sessions, await sessions.ticket(tag=TAG, session_id=issued.session_id))
    assert taken.expires_at.timestamp() == clock() + 900


async def test_of_all_who_show_one_ticket_one_is_let_in(
    sessions: Sessions, other_worker: Sessions, session: Session[Any]
) -> None:
    ticket = await sessions.ticket(tag=TAG, session=session)

    async def outcome(worker: Sessions) -> object:
        try:
            return (await redeem(worker, ticket)).session_id
        except DuctapeError as error:
            return type(error)

    def trying(worker: Sessions) -> Any:
        return lambda: outcome(worker)

    outcomes = await all_at_once([trying(worker) for worker in [sessions, other_worker] * 10])
    assert Counter(outcomes) == {session.session_id: 1, InvalidToken: 19}
    with pytest.raises(InvalidToken):
        await redeem(sessions, ticket)


async def test_a_ticket_is_good_for_thirty_seconds(sessions: Sessions, session: Session[Any], clock: Clock) -> None:
    first, second = [await sessions.ticket(tag=TAG, session=session) for _ in range(2)]
    clock.advance(TICKET_TTL - 1)
    assert (await redeem(sessions, first)).identifier == "ann"
    clock.advance(1)
    with pytest.raises(ExpiredToken):
        await redeem(sessions, second)


async def test_what_ends_the_session_makes_its_ticket_worthless(
    sessions: Sessions, other_worker: Sessions, session: Session[Any]
) -> None:
    ticket = await sessions.ticket(tag=TAG, session=session)
    await other_worker.revoke(tag=TAG, session_id=session.session_id)
    with pytest.raises(RevokedSession):
        await redeem(sessions, ticket)


async def test_a_ticket_brings_the_newest_data(sessions: Sessions, session: Session[Any]) -> None:
    ticket = await sessions.ticket(tag=TAG, session=session)
    await sessions.update(tag=TAG, identifier="ann", data={"role": "guest"})
    assert (await redeem(sessions, ticket)).roles == {"guest"}


async def test_a_ticket_does_not_outlive_the_access_token(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(leeway=0)
    issued = await sessions.start(tag=TAG, data=ANN, expires_in=10)
    ticket = await sessions.ticket(tag=TAG, session=await sessions.verify(tag=TAG, token=issued.token))
    clock.advance(10)
    with pytest.raises(ExpiredToken):
        await redeem(sessions, ticket)


async def test_a_ticket_is_for_one_tag_and_one_realm(
    sessions: Sessions, make_sessions: MakeSessions, session: Session[Any]
) -> None:
    elsewhere = await make_sessions(env="dev")
    ticket = await sessions.ticket(tag=TAG, session=session)
    with pytest.raises(InvalidToken):
        await redeem(sessions, ticket, "other", "another")
    with pytest.raises(InvalidToken):
        await redeem(elsewhere, ticket)
    assert (await redeem(sessions, ticket)).identifier == "ann"


async def test_a_changed_ticket_is_refused_without_asking_the_store(
    make_sessions: MakeSessions, make_store: MakeStore
) -> None:
    store = make_store()
    sessions = await make_sessions(store=store)
    issued = await sessions.start(tag=TAG, data=ANN)
    ticket = await sessions.ticket(tag=TAG, session_id=issued.session_id)
    asked = store.calls["rotate"], store.calls["verify"]
    for place in range(len(ticket)):
        changed = ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :]
        with pytest.raises(InvalidToken):
            await redeem(sessions, changed)
    for junk in ("dtk_", "dtk_" + "A" * 200, "dtk_" + "é" * 100, ticket + "A", ticket[:-4], "A" * 10_000):
        with pytest.raises(InvalidToken):
            await redeem(sessions, junk)
    with pytest.raises(MissingToken):
        await redeem(sessions, "")
    assert (store.calls["rotate"], store.calls["verify"]) == asked
    assert (await redeem(sessions, ticket)).identifier == "ann"


async def test_no_token_of_ours_is_taken_for_one_of_another_kind(
    sessions: Sessions, issued: IssuedSession, session: Session[Any]
) -> None:
    ticket = await sessions.ticket(tag=TAG, session=session)
    assert issued.refresh_token is not None
    for other in (issued.token, issued.refresh_token, "dtk_" + issued.refresh_token[4:]):
        with pytest.raises(InvalidToken):
            await redeem(sessions, other)
    for shown in (ticket, "drt_" + ticket[4:]):
        with pytest.raises(InvalidToken):
            await sessions.verify(tag=TAG, token=shown)
        with pytest.raises(InvalidToken):
            await sessions.refresh(tag=TAG, refresh_token=shown)


async def test_a_ticket_made_with_the_old_key_is_taken_with_the_new_one(
    make_sessions: MakeSessions, access_key: str
) -> None:
    newer = new_access_key()
    before = await make_sessions(access_key=[access_key, newer])
    after = await make_sessions(access_key=[newer, access_key])
    issued = await before.start(tag=TAG, data=ANN)
    ticket = await before.ticket(tag=TAG, session_id=issued.session_id)
    assert (await redeem(after, ticket)).identifier == "ann"


async def test_tickets_are_no_sessions_of_anybody(sessions: Sessions, session: Session[Any]) -> None:
    tickets = [await sessions.ticket(tag=TAG, session=session) for _ in range(3)]
    await redeem(sessions, tickets[0])
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 1
    assert await sessions.revoke_all(tag=TAG, identifier="ann") == 1


async def test_a_ticket_leaves_nothing_behind(make_sessions: MakeSessions, make_store: MakeStore, clock: Clock) -> None:
    sessions = await make_sessions(store=make_store())
    issued = await sessions.start(tag=TAG, data=ANN)
    used, unused = [await sessions.ticket(tag=TAG, session_id=issued.session_id) for _ in range(2)]
    await redeem(sessions, used)
    ids = [sessions.context().tickets.read([TAG], ticket).ticket_id for ticket in (used, unused)]
    clock.advance(2 * 3600)
    await sessions.purge()
    assert [await sessions.worker.guarded.verify(one, generation=-1) for one in ids] == [None, None]


async def test_taking_a_ticket_is_no_revocation_to_other_workers(sessions: Sessions, session: Session[Any]) -> None:
    before = (await sessions.worker.guarded.log_since(None)).position
    await redeem(sessions, await sessions.ticket(tag=TAG, session=session))
    assert (await sessions.worker.guarded.log_since(before)).entries == ()


async def test_what_is_no_session_gets_no_ticket(
    sessions: Sessions, make_sessions: MakeSessions, session: Session[Any]
) -> None:
    other_realm = await make_sessions(env="dev")
    for wrong in ({}, {"session": session, "session_id": session.session_id}, {"session": "text"}, {"session_id": 7}):
        with pytest.raises(InvalidData):
            await sessions.ticket(tag=TAG, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidData):
        await sessions.ticket(tag="other", session=session)
    with pytest.raises(InvalidData):
        await other_realm.ticket(tag=TAG, session=session)
    for gone in ("A" * 22, ""):
        with pytest.raises(RevokedSession):
            await sessions.ticket(tag=TAG, session_id=gone)
    with pytest.raises(RevokedSession):
        await sessions.ticket(tag="other", session_id=session.session_id)
    with pytest.raises(ConfigurationError):
        await sessions.ticket(tag=".ticket", session=session)


async def test_with_the_store_down_there_is_no_ticket_and_none_is_taken(
    make_sessions: MakeSessions, make_store: MakeStore
) -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    store: WatchedStore = make_store()
    sessions = await make_sessions(store=store)
    issued = await sessions.start(tag=TAG, data=ANN)
    ticket = await sessions.ticket(tag=TAG, session_id=issued.session_id)
    for name in ("create", "rotate"):
        store.instead[name] = down
    with pytest.raises(StoreUnavailable):
        await sessions.ticket(tag=TAG, session_id=issued.session_id)
    with pytest.raises(StoreUnavailable):
        await redeem(sessions, ticket)


async def test_a_ticket_is_shown_by_no_repr(sessions: Sessions, session: Session[Any]) -> None:
    claims = sessions.context().tickets.read([TAG], await sessions.ticket(tag=TAG, session=session))
    assert claims.ticket_id not in repr(claims)
    assert claims.session_id in repr(claims)


async def test_an_anonymous_session_has_tickets_too(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy("cart", anonymous=True)])
    issued = await sessions.start(tag="cart", data={})
    assert (await redeem(sessions, await sessions.ticket(tag="cart", session_id=issued.session_id), "cart")).data == {}


async def test_a_session_has_so_many_tickets_at_once(sessions: Sessions, clock: Clock) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    for _ in range(32):
        await sessions.ticket(tag=TAG, session_id=issued.session_id)
    with pytest.raises(SessionLimitReached):
        await sessions.ticket(tag=TAG, session_id=issued.session_id)
    other = await sessions.start(tag=TAG, data=ANN)
    await sessions.ticket(tag=TAG, session_id=other.session_id)
    clock.advance(31)
    await sessions.ticket(tag=TAG, session_id=issued.session_id)
