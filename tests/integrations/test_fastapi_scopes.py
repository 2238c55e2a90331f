"""``Security(..., scopes=[...])``: scopes are checked, wherever a route gets them from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from inspect import signature
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Security, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse

from ductape_asgi import Session, Sessions
from ductape_fastapi import (
    CurrentSession,
    current_session,
    install,
    optional_session,
    require_recent_auth,
    require_role,
    require_session,
)


async def customer(session: CurrentSession) -> str | None:
    """A dependency of the user's own, which knows nothing of scopes."""
    return session.identifier


def nothing() -> None: ...


#: How an operation comes by its scopes; the path is the name.
WAYS: dict[str, Any] = {
    "current": Security(current_session, scopes=["orders:read"]),
    "prefixed": Security(current_session, scopes=["permission:orders:read"]),
    "role": Security(current_session, scopes=["role:admin"]),
    "both": Security(current_session, scopes=["role:admin", "orders:read"]),
    "signed-in": Security(current_session, scopes=["authenticated"]),
    "optional": Security(optional_session, scopes=["orders:read"]),
    "guard": Security(require_session, scopes=["orders:read"]),
    "two-demands": Security(require_role("admin"), scopes=["orders:read"]),
    "recent": Security(require_recent_auth(300), scopes=["orders:read"]),
    "nested": Security(customer, scopes=["orders:read"]),
}

READER = {"permissions": ["orders:read"]}
ADMIN = {"role": "admin"}
BOTH = READER | ADMIN
PEOPLE: tuple[dict[str, Any], ...] = (
    {},
    READER,
    ADMIN,
    BOTH,
    {"permissions": ["role:admin"]},
    {"role": "orders:read"},
    {"permissions": ["orders"]},
    {"permissions": ["orders:read:all"]},
)
#: Who passes where.  A permission that is named like a role, or the other way round, is neither.
PASSES: dict[str, tuple[dict[str, Any], ...]] = {
    "current": (READER, BOTH),
    "prefixed": (READER, BOTH),
    "role": (ADMIN, BOTH),
    "both": (BOTH,),
    "signed-in": PEOPLE,
    "optional": (READER, BOTH),
    "guard": (READER, BOTH),
    "two-demands": (BOTH,),
    "recent": (READER, BOTH),
    "nested": (READER, BOTH),
}


@pytest.fixture
def client(sessions: Sessions) -> Iterator[TestClient]:
    app = FastAPI()
    install(app, sessions=sessions)
    for name, dependency in WAYS.items():
        app.get(f"/{name}", dependencies=[dependency])(nothing)
        router = APIRouter(prefix="/router", dependencies=[dependency])
        router.get(f"/{name}")(nothing)
        app.include_router(router)

    @app.websocket("/ws")
    async def ws(
        socket: WebSocket, session: Annotated[Session[Any], Security(current_session, scopes=["orders:read"])]
    ) -> None:
        await socket.accept()
        await socket.send_text(str(session.identifier))
        await socket.close()

    @app.get("/twice")
    async def twice(
        reader: Annotated[Session[Any], Security(current_session, scopes=["orders:read"])],
        admin: Annotated[Session[Any], Security(current_session, scopes=["role:admin"])],
    ) -> None: ...

    with TestClient(app, base_url="https://testserver") as client:
        yield client


@pytest.fixture
def headers(client: TestClient, sessions: Sessions) -> Callable[..., dict[str, str]]:
    def signed_in(**data: Any) -> dict[str, str]:
        assert client.portal is not None
        issued = client.portal.call(lambda: sessions.start(tag="user-session", data={"userId": "ann"} | data))
        return {"Authorization": f"Bearer {issued.token}"}

    return signed_in


@pytest.mark.parametrize("prefix", ["", "/router"])
@pytest.mark.parametrize("way", WAYS)
def test_who_has_the_scopes_passes_and_nobody_else(client: TestClient, headers: Any, way: str, prefix: str) -> None:
    answers = [client.get(f"{prefix}/{way}", headers=headers(**person)).status_code for person in PEOPLE]
    assert answers == [200 if person in PASSES[way] else 403 for person in PEOPLE]


@pytest.mark.parametrize("way", WAYS)
def test_without_a_session_scopes_are_refused_with_401(client: TestClient, way: str) -> None:
    answer = client.get(f"/{way}")
    assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")


def test_one_dependency_with_two_sets_of_scopes_is_checked_for_both(client: TestClient, headers: Any) -> None:
    answers = [client.get("/twice", headers=headers(**person)).status_code for person in (READER, ADMIN, BOTH)]
    assert answers == [403, 403, 200]


def test_a_refusal_for_a_scope_is_a_problem_that_says_so(client: TestClient, headers: Any) -> None:
    answer = client.get("/current", headers=headers())
    assert answer.json()["code"] == "access_denied"
    assert answer.headers["www-authenticate"] == 'Bearer realm="ductape", error="insufficient_scope"'


def test_a_socket_is_denied_for_a_scope(client: TestClient, headers: Any) -> None:
    with client.websocket_connect("/ws", headers=headers(**READER)) as socket:
        assert socket.receive_text() == "ann"
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/ws", headers=headers()):
        pass
    assert denied.value.status_code == 403


@pytest.mark.parametrize("scope", ["", "role:", "permission:"])
def test_a_scope_that_names_nothing_lets_nobody_in(sessions: Sessions, scope: str) -> None:
    app = FastAPI()
    install(app, sessions=sessions)
    app.get("/", dependencies=[Security(current_session, scopes=[scope])])(nothing)
    with TestClient(app, base_url="https://testserver") as client:
        assert client.portal is not None
        issued = client.portal.call(lambda: sessions.start(tag="user-session", data={"userId": "ann", "role": "admin"}))
        answer = client.get("/", headers={"Authorization": f"Bearer {issued.token}"})
        assert (answer.status_code, answer.json()["code"]) == (500, "configuration_error")


def test_a_guard_shows_a_framework_that_is_not_fastapi_only_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(signature(require_role("admin")).parameters) == ["connection", "security_scopes"]
    monkeypatch.delitem(sys.modules, "fastapi.security")
    assert list(signature(require_role("admin")).parameters) == ["connection"]
