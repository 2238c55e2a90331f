"""The table of `table.py`, cell by cell, against the four front ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from ductape_asgi import Bearer, BodyField, Cookie, Header, Sessions, StoreUnavailable, TagPolicy, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from tests.asgi_client import Answer, Handshake, call, handshake
from tests.sessions.support import Clock, WatchedStore

from .credentials import CREDENTIALS, TAG, Request, Tokens, issue
from .front_ends import FRONT_ENDS
from .table import DEVIATIONS, HTTP, HTTP_ROUTES, REQUIRED, SOCKET_ROUTES, SOCKETS, expected, rows

pytestmark = [
    pytest.mark.anyio,
    # Litestar 3 will want `NamedDependency[Session]`; both forms work today.
    pytest.mark.filterwarnings("ignore:.*Inferred dependency field"),
]

#: Written out, so that all four front ends are held to bytes and not to each other.
REFUSALS: dict[str, tuple[int, str, str | None]] = {
    "miss": (401, "missing_token", 'Bearer realm="ductape"'),
    "bad": (401, "invalid_token", 'Bearer realm="ductape", error="invalid_token"'),
    "step": (
        401,
        "step_up_required",
        'Bearer realm="ductape", error="insufficient_user_authentication", max_age="300"',
    ),
    "deny": (403, "access_denied", 'Bearer realm="ductape", error="insufficient_scope"'),
    "csrf": (403, "csrf_rejected", None),
    "down": (503, "store_unavailable", None),
}
TITLES = {401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}
DETAILS = {
    "missing_token": "Sign in to use this.",
    "invalid_token": "The session is not valid. Sign in again.",
    "step_up_required": "This needs a more recent sign-in.",
    "access_denied": "The session does not allow this.",
    "csrf_rejected": "The request did not come from this site.",
    "store_unavailable": "Sessions cannot be checked right now. Try again in a moment.",
}
CLOSE_CODES = {401: 4401, 403: 4403, 503: 1013}


def refusal(cell: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, all headers and the body of a refusal."""
    status, code, challenge = REFUSALS[cell]
    document = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "detail": DETAILS[code],
        "code": code,
    }
    body = json.dumps(document).encode()
    headers = {
        b"content-type": b"application/problem+json",
        b"content-length": str(len(body)).encode(),
        b"cache-control": b"no-store",
        b"vary": b"Authorization, Cookie",
    }
    if challenge is not None:
        headers[b"www-authenticate"] = challenge.encode()
    if status == 503:
        headers[b"retry-after"] = b"1"
    return status, headers, body


def cell_of(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> str:
    """Which refusal this is to the byte, or what it is instead."""
    assert len(dict(headers)) == len(headers)
    for cell in REFUSALS:
        if (status, dict(headers), body) == refusal(cell):
            return cell
    return f"{status} {headers} {body!r}"


def seen(answer: Answer) -> str:
    """The cell of an HTTP answer."""
    if answer.status == 404:
        return "404"
    if answer.status == 200:
        assert answer.header("content-type") == "application/json"
        return answer.json()["identifier"] or "-"
    return cell_of(answer.status, answer.headers, answer.body)


def seen_by_socket(shaken: Handshake) -> str:
    """The cell of a handshake on a server that can answer one with a response."""
    first, *rest = shaken.messages
    if first["type"] == "websocket.http.response.start":
        (body,) = rest
        return cell_of(first["status"], list(first["headers"]), body["body"])
    assert [message["type"] for message in shaken.messages] == ["websocket.accept", "websocket.send", "websocket.close"]
    said = rest[0].get("text") or rest[0]["bytes"]
    return json.loads(said)["identifier"] or "-"


@dataclass
class World:
    store: WatchedStore
    tokens: Tokens
    apps: dict[bool, Any]  # by whether a session is required

    def request(self, credential: str) -> Request:
        async def down(*args: Any, **kwargs: Any) -> Any:
            raise StoreUnavailable("down")

        request = CREDENTIALS[credential](self.tokens)
        if request.store_is_down:
            self.store.instead.update(verify=down, log_since=down)
        return request


@pytest.fixture(params=list(FRONT_ENDS))
def front_end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def world(front_end: str) -> AsyncIterator[World]:
    clock, store = Clock(), WatchedStore(MemoryStore())
    access_key = new_access_key()
    sessions = Sessions(
        access_key=access_key,
        product="shop",
        env="prd",
        store=store,  # type: ignore[arg-type]
        clock=clock,
        tags=[TagPolicy(TAG), TagPolicy("checkout-session")],
    )
    options: dict[str, Any] = {
        "tag": TAG,
        "credentials": (Bearer(), Header("x-session"), BodyField("session"), Cookie()),
        "allowed_origins": ["https://app.test"],
    }
    build = FRONT_ENDS[front_end]
    closed = build(sessions, required=True, exempt=["/optional", "/ws/optional"], **options)
    async with sessions:
        yield World(store, await issue(sessions, clock), {False: build(sessions, **options), True: closed})


@pytest.mark.parametrize("credential", rows(HTTP))
async def test_requests_are_answered_as_the_table_says(credential: str, front_end: str, world: World) -> None:
    request = world.request(credential)
    answers = {
        column: seen(
            await call(
                world.apps[column in REQUIRED],
                method=method,
                path=path,
                headers=request.headers,
                body=request.body,
                query=request.query,
            )
        )
        for column, (method, path) in HTTP_ROUTES.items()
    }
    assert answers == expected(front_end, rows(HTTP)[credential])


@pytest.mark.parametrize("credential", rows(SOCKETS))
async def test_handshakes_are_answered_as_the_table_says(credential: str, front_end: str, world: World) -> None:
    request = world.request(credential)
    cells = expected(front_end, rows(SOCKETS)[credential])
    given: dict[str, Any] = {"headers": request.headers, "query": request.query}
    answers = {
        column: seen_by_socket(await handshake(world.apps[column in REQUIRED], path=path, **given))
        for column, path in SOCKET_ROUTES.items()
    }
    assert answers == cells
    refused = {column: cell for column, cell in cells.items() if cell in REFUSALS}
    closed = {
        column: (
            await handshake(world.apps[column in REQUIRED], path=SOCKET_ROUTES[column], denial=False, **given)
        ).messages
        for column in refused
    }
    assert closed == {
        column: [{"type": "websocket.close", "code": CLOSE_CODES[REFUSALS[cell][0]], "reason": REFUSALS[cell][1]}]
        for column, cell in refused.items()
    }


@pytest.mark.parametrize(("table", "routes"), [(HTTP, HTTP_ROUTES), (SOCKETS, SOCKET_ROUTES)])
def test_the_table_is_whole(table: str, routes: dict[str, Any]) -> None:
    cells = rows(table)
    assert cells.keys() <= CREDENTIALS.keys()
    assert all(row.keys() == routes.keys() for row in cells.values())
    assert sum(len(row) for row in cells.values()) >= 60


def test_each_credential_has_a_row_and_each_deviation_a_reason() -> None:
    assert rows(HTTP).keys() == CREDENTIALS.keys()
    assert all(front_end in FRONT_ENDS and why for (front_end, _), (_, why) in DEVIATIONS.items())
