"""Tickets in the query and tokens among the subprotocols: opt-in, for WebSockets alone, and seen by nobody else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ductape_asgi import (
    Bearer,
    ConfigurationError,
    Cookie,
    DuctapeMiddleware,
    IssuedSession,
    Sessions,
    Subprotocol,
    TagPolicy,
    Ticket,
    new_access_key,
)
from tests.asgi_client import App, bearer, call, cookie, handshake
from tests.sessions.support import ANN, TAG

pytestmark = pytest.mark.anyio

SCRIPTS = (Bearer(), Cookie(), Ticket(), Subprotocol())
ELSEWHERE = (b"origin", b"https://evil.test")


@pytest.fixture
async def sessions() -> AsyncIterator[Sessions]:
    tags = [TagPolicy(TAG), TagPolicy("other")]
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store="memory://", tags=tags
    ) as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data=ANN)


@pytest.fixture
async def bob(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={"userId": "bob"})


@pytest.fixture
async def ticket(sessions: Sessions, issued: IssuedSession) -> str:
    return await sessions.ticket(tag=TAG, session_id=issued.session_id)


@pytest.fixture
def guarded(sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True, credentials=SCRIPTS)


def query(ticket: str, name: str = "ticket") -> bytes:
    return f"room=7&{name}={ticket}&x=".encode()


def asking(*subprotocols: str) -> dict[str, Any]:
    header = (b"sec-websocket-protocol", ", ".join(subprotocols).encode())
    return {"subprotocols": list(subprotocols), "headers": [header, (b"user-agent", b"test")]}


# Tickets.


async def test_a_ticket_opens_one_socket(guarded: DuctapeMiddleware, issued: IssuedSession, ticket: str) -> None:
    shaken = await handshake(guarded, query=query(ticket))
    assert shaken.accepted
    assert shaken.session.session_id == issued.session_id
    assert shaken.scope["user"].identity == "ann"
    second = await handshake(guarded, query=query(ticket))
    assert second.messages[0]["status"] == 401


async def test_a_ticket_needs_no_origin_of_ours(guarded: DuctapeMiddleware, ticket: str) -> None:
    assert (await handshake(guarded, query=query(ticket), headers=[ELSEWHERE])).accepted


@pytest.mark.parametrize("how", ["left out", None])
async def test_a_server_may_leave_an_empty_query_out(
    guarded: DuctapeMiddleware, issued: IssuedSession, how: str | None
) -> None:
    """ASGI, WebSocket connection scope."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        scope["query_string"] = how
        if how is not None:
            del scope["query_string"]
        await guarded(scope, receive, send)

    assert (await handshake(served, headers=[bearer(issued.token)])).accepted


async def test_without_opting_in_nothing_is_taken(sessions: Sessions, issued: IssuedSession, ticket: str) -> None:
    app = App()
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True)
    assert not (await handshake(middleware, query=query(ticket))).accepted
    assert not (await handshake(middleware, **asking("ductape.bearer", issued.token))).accepted
    assert app.scopes == []


async def test_a_ticket_is_for_websockets_alone(guarded: DuctapeMiddleware, ticket: str) -> None:
    answer = await call(guarded, query=query(ticket))
    assert answer.status == 401
    assert answer.json()["code"] == "missing_token"
    assert answer.scope["query_string"] == query(ticket)
    assert (await handshake(guarded, query=query(ticket))).accepted


@pytest.mark.parametrize("credential", [bearer, None])
async def test_a_ticket_is_taken_nowhere_else(
    guarded: DuctapeMiddleware, issued: IssuedSession, ticket: str, credential: Any
) -> None:
    if credential is not None:
        assert not (await handshake(guarded, headers=[bearer(ticket)])).accepted
        assert (await call(guarded, headers=[bearer(ticket)])).status == 401
    else:
        assert not (await handshake(guarded, **asking("ductape.bearer", ticket))).accepted
    for token in (issued.token, issued.refresh_token):
        assert not (await handshake(guarded, query=query(str(token)))).accepted
    assert (await handshake(guarded, query=query(ticket))).accepted


async def test_neither_app_nor_access_log_sees_a_ticket(
    guarded: DuctapeMiddleware, ticket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for shown in (ticket, ticket, ticket[:-1] + "_"):
        shaken = await handshake(guarded, query=query(shown))
        assert shaken.scope["query_string"] == b"room=7&x="
        assert ticket[:40] not in repr(shaken.scope) + repr(shaken.messages) + caplog.text
    assert caplog.text.count("ticket.refused") == 2


@pytest.mark.parametrize("shown", ["ticket=%s&ticket=%s", "ticket=%s&ticket=", "ticket=", "ticket=junk"])
async def test_several_tickets_or_none_are_refused(guarded: DuctapeMiddleware, ticket: str, shown: str) -> None:
    assert not (await handshake(guarded, query=shown.replace("%s", ticket).encode())).accepted
    assert (await handshake(guarded, query=query(ticket))).accepted, "it was not used up"


async def test_a_bad_ticket_falls_back_to_no_cookie(
    guarded: DuctapeMiddleware, bob: IssuedSession, ticket: str
) -> None:
    own = [cookie(bob.token), (b"origin", b"https://shop.test")]
    assert (await handshake(guarded, headers=own)).session.identifier == "bob"
    assert (await handshake(guarded, headers=own, query=query(ticket))).session.identifier == "ann"
    assert not (await handshake(guarded, headers=own, query=query(ticket))).accepted


async def test_a_header_wins_and_leaves_the_ticket_for_another_time(
    guarded: DuctapeMiddleware, bob: IssuedSession, ticket: str
) -> None:
    shaken = await handshake(guarded, headers=[bearer(bob.token)], query=query(ticket))
    assert shaken.session.identifier == "bob"
    assert shaken.scope["query_string"] == b"room=7&x="
    assert (await handshake(guarded, query=query(ticket))).session.identifier == "ann"


async def test_a_ticket_of_another_tag_opens_nothing(sessions: Sessions, ticket: str) -> None:
    other = DuctapeMiddleware(App(), sessions=sessions, tag="other", required=True, credentials=(Ticket(),))
    assert not (await handshake(other, query=query(ticket))).accepted
    both = DuctapeMiddleware(App(), sessions=sessions, tag=["other", TAG], required=True, credentials=(Ticket(),))
    assert (await handshake(both, query=query(ticket))).accepted


async def test_a_middleware_farther_in_decides_anew_by_the_same_ticket(sessions: Sessions, ticket: str) -> None:
    app: Any = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True, credentials=(Ticket(),))
    app = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=(Ticket(),), state_key="outer")
    shaken = await handshake(app, query=query(ticket))
    assert shaken.accepted
    assert shaken.scope["state"]["outer"] is shaken.scope["state"]["session"] is shaken.session is not None


async def test_a_middleware_farther_in_takes_the_ticket_that_was_not_for_the_outer_one(
    sessions: Sessions, ticket: str
) -> None:
    app: Any = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True, credentials=(Ticket(),))
    app = DuctapeMiddleware(app, sessions=sessions, tag="other", credentials=(Ticket(),))
    assert (await handshake(app, query=query(ticket))).session.identifier == "ann"


async def test_the_parameter_has_the_name_that_it_was_given(sessions: Sessions, ticket: str) -> None:
    named = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True, credentials=(Ticket("t"),))
    assert not (await handshake(named, query=query(ticket))).accepted
    assert (await handshake(named, query=query(ticket, "t"))).accepted
    for wrong in ("", "a b", "t=", 5):
        with pytest.raises(ConfigurationError, match="query parameter"):
            Ticket(wrong)  # type: ignore[arg-type]


async def test_tickets_make_no_request_slower(
    sessions: Sessions, issued: IssuedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them among the credentials, a request with a header or a cookie is a hit as ever."""
    middleware = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, credentials=SCRIPTS)
    for credential in (bearer(issued.token), cookie(issued.token)):
        sessions.worker.cache.clear()
        first = await call(middleware, headers=[credential])
        with monkeypatch.context() as patch:
            patch.setattr(middleware, "_other", None)  # what is no hit would need it
            second = await call(middleware, headers=[credential])
        assert second.session is first.session


# Tokens among the subprotocols.


async def test_a_token_among_the_subprotocols_is_answered_with_a_name(
    guarded: DuctapeMiddleware, issued: IssuedSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shaken = await handshake(guarded, **asking("ductape.bearer", issued.token))
    assert shaken.messages == [{"type": "websocket.accept", "subprotocol": "ductape.bearer"}]
    assert shaken.session.identifier == "ann"
    assert shaken.scope["subprotocols"] == []
    assert shaken.scope["headers"] == [(b"host", b"shop.test"), (b"user-agent", b"test")]
    assert issued.token[-40:] not in repr(shaken.scope) + repr(shaken.messages) + caplog.text


async def test_the_app_chooses_among_the_others(sessions: Sessions, issued: IssuedSession) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1]})

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=SCRIPTS)
    shaken = await handshake(middleware, **asking("chat.v1", "ductape.bearer", issued.token, "chat.v2"))
    assert shaken.messages[0]["subprotocol"] == "chat.v2"
    assert shaken.scope["subprotocols"] == ["chat.v1", "chat.v2"]
    assert (b"sec-websocket-protocol", b"chat.v1, chat.v2") in shaken.scope["headers"]


async def test_the_token_itself_is_never_answered(sessions: Sessions, issued: IssuedSession) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": issued.token})

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=SCRIPTS)
    shaken = await handshake(middleware, **asking("ductape.bearer", issued.token))
    assert shaken.messages[0]["subprotocol"] == "ductape.bearer"


@pytest.mark.parametrize(
    "asked",
    [
        ["ductape.bearer"],
        ["%s", "ductape.bearer"],
        ["ductape.bearer", "%s", "ductape.bearer", "%s"],
        ["ductape.bearer", "bad"],
        ["%s"],
        ["Ductape.Bearer", "%s"],
    ],
)
async def test_what_is_not_one_mark_and_one_token_is_refused(
    guarded: DuctapeMiddleware, issued: IssuedSession, asked: list[str]
) -> None:
    asked = [name.replace("%s", issued.token) for name in asked]
    assert not (await handshake(guarded, **asking(*asked))).accepted


async def test_a_header_wins_over_a_subprotocol_and_a_subprotocol_over_a_cookie(
    guarded: DuctapeMiddleware, issued: IssuedSession, bob: IssuedSession
) -> None:
    asked = asking("ductape.bearer", issued.token)
    for other, expected in ((bearer(bob.token), "bob"), (cookie(bob.token), "ann")):
        given = {**asked, "headers": [*asked["headers"], other]}
        shaken = await handshake(guarded, **given)
        assert shaken.session.identifier == expected
        assert shaken.messages[0]["subprotocol"] == "ductape.bearer"


async def test_a_server_that_names_no_subprotocols_is_served_too(guarded: DuctapeMiddleware, ticket: str) -> None:
    assert (await handshake(guarded, query=query(ticket), subprotocols=None)).accepted
