from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ductape_asgi import (
    ClientInfo,
    ConfigurationError,
    InvalidData,
    InvalidToken,
    MissingToken,
    RevokedSession,
    SessionLimitReached,
    Sessions,
    TagPolicy,
)

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, accepted

pytestmark = pytest.mark.anyio


async def test_start_answers_everything_a_client_needs(sessions: Sessions, clock: Clock) -> None:
    issued = await sessions.start(tag=TAG, data=ANN)
    now = datetime.fromtimestamp(clock.now, UTC)
    assert issued.identifier == "ann"
    assert issued.tag == TAG
    assert issued.refresh_token is not None
    assert issued.refresh_token.startswith("drt_")
    assert issued.expires_at == now + timedelta(seconds=900)
    assert issued.session_expires_at == now + timedelta(days=30)
    assert issued.expires_at.tzinfo is UTC


async def test_no_repr_shows_a_token_or_data(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, "secret": "hunter2"})
    session = await sessions.verify(tag=TAG, token=issued.token)
    page = await sessions.list(tag=TAG, identifier="ann")
    shown = repr([issued, session, page, sessions, sessions.keyring, await sessions.inspect(token=issued.token)])
    assert issued.token not in shown
    assert str(issued.refresh_token) not in shown
    assert "hunter2" not in shown


async def test_each_session_has_an_id_and_tokens_of_its_own(sessions: Sessions) -> None:
    issued = [await sessions.start(tag=TAG, data=ANN) for _ in range(20)]
    assert len({each.session_id for each in issued}) == 20
    assert len({each.token for each in issued}) == 20
    assert len({each.refresh_token for each in issued}) == 20


@pytest.mark.parametrize("expires_in", [90, "90", "90s", timedelta(seconds=90)])
async def test_expires_in_is_seconds_a_timedelta_or_text(sessions: Sessions, clock: Clock, expires_in: object) -> None:
    issued = await sessions.start(tag=TAG, data=ANN, expires_in=expires_in)  # type: ignore[arg-type]
    assert issued.expires_at.timestamp() == clock.now + 90


@pytest.mark.parametrize(("text", "seconds"), [("15m", 900), ("2h", 7200), ("1d", 86400)])
async def test_expires_in_takes_units(sessions: Sessions, clock: Clock, text: str, seconds: int) -> None:
    issued = await sessions.start(tag=TAG, data=ANN, expires_in=text)
    assert issued.expires_at.timestamp() == clock.now + seconds


async def test_expires_in_is_at_most_a_day(sessions: Sessions) -> None:
    await sessions.start(tag=TAG, data=ANN, expires_in=86_400)
    with pytest.raises(ConfigurationError, match="86400"):
        await sessions.start(tag=TAG, data=ANN, expires_in=86_401)


@pytest.mark.parametrize("expires_in", [0, -1, 1.5, True, "soon", "", timedelta(milliseconds=1500), float("nan")])
@pytest.mark.any_store
async def test_what_is_no_duration_is_refused_and_named(sessions: Sessions, expires_in: object) -> None:
    with pytest.raises(ConfigurationError, match="expires_in"):
        await sessions.start(tag=TAG, data=ANN, expires_in=expires_in)  # type: ignore[arg-type]


async def test_an_expires_in_beyond_the_session_ends_with_it(make_sessions: MakeSessions, clock: Clock) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, session_ttl=600)])
    issued = await sessions.start(tag=TAG, data=ANN, expires_in=3600)
    assert issued.expires_at == issued.session_expires_at
    assert issued.expires_at.timestamp() == clock.now + 600


@pytest.mark.announcing
async def test_replaces_has_ended_that_session_before_start_answers(sessions: Sessions, other_worker: Sessions) -> None:
    old = await sessions.start(tag=TAG, data=ANN)
    for worker in (sessions, other_worker):
        await worker.verify(tag=TAG, token=old.token)
    new = await sessions.start(tag=TAG, data={**ANN, "role": "admin"}, replaces=old.session_id)
    for worker in (sessions, other_worker):
        assert await accepted(worker, old.token) == "revoked_session"
        assert await accepted(worker, new.token) == "ok"
    with pytest.raises(RevokedSession):
        await sessions.refresh(tag=TAG, refresh_token=old.refresh_token)


async def test_replaces_works_across_tags_and_persons(sessions: Sessions) -> None:
    guest = await sessions.start(tag="guest", data={"userId": "visitor-1"})
    await sessions.start(tag=TAG, data=ANN, replaces=guest.session_id)
    assert await accepted(sessions, guest.token, tag="guest") == "revoked_session"


async def test_replaces_ends_nothing_in_another_realm(sessions: Sessions) -> None:
    elsewhere = await sessions.start(tag=TAG, data=ANN, env="dev")
    await sessions.start(tag=TAG, data=ANN, replaces=elsewhere.session_id)
    assert (await sessions.verify(tag=TAG, token=elsewhere.token, env="dev")).identifier == "ann"


async def test_replacing_a_session_that_is_no_more_is_no_error(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=ANN, replaces="long-gone-session-id-0")
    assert await accepted(sessions, issued.token) == "ok"


async def test_a_refused_start_ends_nothing(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, max_sessions=1, on_limit="reject"), TagPolicy("guest")])
    first = await sessions.start(tag=TAG, data=ANN)
    guest = await sessions.start(tag="guest", data={"userId": "visitor-1"})
    with pytest.raises(SessionLimitReached):
        await sessions.start(tag=TAG, data=ANN, replaces=guest.session_id)
    assert await accepted(sessions, first.token) == "ok"
    assert await accepted(sessions, guest.token, tag="guest") == "ok"


async def test_client_may_be_an_asgi_scope(sessions: Sessions) -> None:
    scope = {
        "type": "http",
        "client": ("203.0.113.9", 1234),
        "headers": [(b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")],
    }
    await sessions.start(tag=TAG, data=ANN, client=scope)
    (info,) = await sessions.list(tag=TAG, identifier="ann")
    assert info.client.ip == "203.0.113.9"
    assert info.client.label == "Firefox on Linux"


async def test_client_may_be_a_client_info(sessions: Sessions) -> None:
    laptop = ClientInfo(ip="198.51.100.7", user_agent="cli/1", label="Ann's laptop")
    await sessions.start(tag=TAG, data=ANN, client=laptop)
    (info,) = await sessions.list(tag=TAG, identifier="ann")
    assert info.client == laptop


async def test_a_client_of_another_kind_is_invalid_data(sessions: Sessions) -> None:
    with pytest.raises(InvalidData, match="client"):
        await sessions.start(tag=TAG, data=ANN, client="firefox")  # type: ignore[arg-type]


@pytest.mark.parametrize("token", [None, ""])
@pytest.mark.any_store
async def test_no_token_is_missing(sessions: Sessions, token: str | None) -> None:
    with pytest.raises(MissingToken):
        await sessions.verify(tag=TAG, token=token)
    with pytest.raises(MissingToken):
        await sessions.refresh(tag=TAG, refresh_token=token)
    with pytest.raises(MissingToken):
        await sessions.inspect(token=token)


@pytest.mark.parametrize("token", [b"token", 7, 0, False, ["a"], {"token": "x"}, object()])
@pytest.mark.any_store
async def test_a_token_that_is_no_str_is_invalid(sessions: Sessions, token: object) -> None:
    with pytest.raises(InvalidToken):
        await sessions.verify(tag=TAG, token=token)  # type: ignore[arg-type]
    with pytest.raises(InvalidToken):
        await sessions.refresh(tag=TAG, refresh_token=token)  # type: ignore[arg-type]
    with pytest.raises(InvalidToken):
        await sessions.inspect(token=token)  # type: ignore[arg-type]


async def test_verbs_take_keywords_only(sessions: Sessions) -> None:
    with pytest.raises(TypeError):
        await sessions.start(TAG, ANN)  # type: ignore[misc]
