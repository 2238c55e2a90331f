"""The FastAPI adapter, through Starlette's test client and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

import ductape_asgi
from ductape_asgi import ConfigurationError, DuctapeMiddleware, IssuedSession, Session, Sessions, TagPolicy
from ductape_fastapi import (
    CurrentSession,
    OptionalSession,
    current_session,
    install,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)


def add_routes(app: FastAPI) -> None:
    @app.get("/me")
    async def me(session: CurrentSession) -> dict[str, Any]:
        return session.data

    @app.get("/maybe")
    async def maybe(session: OptionalSession) -> dict[str, Any]:
        return {"identifier": session.identifier if session else None}

    @app.get("/sync")
    def sync(session: CurrentSession) -> str:
        return str(session.identifier)

    @app.get("/admin")
    async def admin(session: Annotated[Session[Any], Depends(require_role("admin"))]) -> str:
        return session.session_id

    @app.get("/staff", dependencies=[Depends(require_any_role("admin", "clerk"))])
    async def staff() -> str:
        return "staff"

    @app.get("/writers", dependencies=[Depends(require_permission("write"))])
    async def writers() -> str:
        return "writers"

    @app.get("/recent", dependencies=[Depends(require_recent_auth(300))])
    async def recent() -> str:
        return "recent"

    router = APIRouter(prefix="/router", dependencies=[Depends(require_session)])

    @router.get("/me")
    async def router_me(session: CurrentSession) -> str:
        return str(session.identifier)

    app.include_router(router)

    @app.websocket("/ws")
    async def ws(socket: WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        await socket.send_text(str(session.identifier))
        await socket.close()

    @app.websocket("/ws/admin")
    async def ws_admin(socket: WebSocket, session: Annotated[Session[Any], Depends(require_role("admin"))]) -> None:
        await socket.accept()
        await socket.send_text(str(session.identifier))
        await socket.close()


@pytest.fixture
def app(sessions: Sessions) -> FastAPI:
    app = FastAPI()
    install(app, sessions=sessions, tag="user-session")
    add_routes(app)
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="https://testserver") as client:
        yield client


def start(client: TestClient, sessions: Sessions, **data: Any) -> IssuedSession:
    """Sign ann in, in the loop of the client."""
    assert client.portal is not None
    return client.portal.call(lambda: sessions.start(tag="user-session", data={"userId": "ann"} | data))


def bearer(issued: IssuedSession) -> dict[str, str]:
    return {"Authorization": f"Bearer {issued.token}"}


def test_a_handler_receives_the_session(client: TestClient, sessions: Sessions) -> None:
    answer = client.get("/me", headers=bearer(start(client, sessions, role="user")))
    assert (answer.status_code, answer.json()) == (200, {"userId": "ann", "role": "user"})


@pytest.mark.parametrize("path", ["/me", "/sync", "/admin", "/staff", "/writers", "/recent", "/router/me"])
def test_without_a_session_the_answer_is_a_401_problem(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "missing_token"


def test_a_refused_token_is_a_401_that_says_no_more(client: TestClient) -> None:
    answer = client.get("/me", headers={"Authorization": "Bearer junk"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("path", ["/admin", "/staff", "/writers"])
def test_a_session_without_the_right_is_403(client: TestClient, sessions: Sessions, path: str) -> None:
    answer = client.get(path, headers=bearer(start(client, sessions, role="user")))
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


@pytest.mark.parametrize("path", ["/admin", "/staff", "/writers", "/recent", "/router/me", "/sync"])
def test_a_session_with_the_right_passes(client: TestClient, sessions: Sessions, path: str) -> None:
    issued = start(client, sessions, role="admin", permissions=["write"])
    assert client.get(path, headers=bearer(issued)).status_code == 200


def test_a_guard_as_a_dependency_answers_the_session(client: TestClient, sessions: Sessions) -> None:
    issued = start(client, sessions, role="admin")
    assert client.get("/admin", headers=bearer(issued)).json() == issued.session_id


def test_an_optional_session_is_none_for_anonymous_requests(client: TestClient, sessions: Sessions) -> None:
    issued = start(client, sessions)
    assert client.get("/maybe").json() == {"identifier": None}
    assert client.get("/maybe", headers=bearer(issued)).json() == {"identifier": "ann"}


def test_a_websocket_receives_the_session(client: TestClient, sessions: Sessions) -> None:
    with client.websocket_connect("/ws", headers=bearer(start(client, sessions))) as socket:
        assert socket.receive_text() == "ann"


@pytest.mark.parametrize("path", ["/ws", "/ws/admin"])
def test_a_websocket_without_a_session_is_denied_with_401(client: TestClient, path: str) -> None:
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(path):
        pass
    assert denied.value.status_code == 401


def test_a_websocket_without_the_role_is_denied_with_403(client: TestClient, sessions: Sessions) -> None:
    headers = bearer(start(client, sessions, role="user"))
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/ws/admin", headers=headers):
        pass
    assert denied.value.status_code == 403


def test_add_middleware_alone_is_enough_for_the_guards(sessions: Sessions) -> None:
    app = FastAPI()
    app.add_middleware(DuctapeMiddleware, sessions=sessions, tag="user-session")
    add_routes(app)
    with TestClient(app, base_url="https://testserver") as client:
        headers = bearer(start(client, sessions, role="user"))
        assert [client.get("/admin").status_code, client.get("/admin", headers=headers).status_code] == [401, 403]


@pytest.mark.parametrize("path", ["/me", "/maybe", "/admin"])
def test_without_the_middleware_the_error_says_what_to_add(path: str) -> None:
    app = FastAPI()
    add_routes(app)
    with TestClient(app) as client, pytest.raises(ConfigurationError, match="install"):
        client.get(path)


def test_the_middleware_options_pass_through(sessions: Sessions) -> None:
    app = FastAPI()
    install(app, sessions=sessions, tag="user-session", required=True, exempt=["/maybe"])
    add_routes(app)
    with TestClient(app, base_url="https://testserver") as client:
        assert [client.get(path).status_code for path in ("/maybe", "/nowhere")] == [200, 401]


def test_a_mounted_app_sees_the_session_of_the_outer_one(app: FastAPI, sessions: Sessions) -> None:
    inner = FastAPI()
    add_routes(inner)
    app.mount("/inner", inner)
    with TestClient(app, base_url="https://testserver") as client:
        headers = bearer(start(client, sessions))
        assert client.get("/inner/me", headers=headers).json() == {"userId": "ann"}
        assert client.get("/inner/maybe").json() == {"identifier": None}


def test_an_error_page_of_the_app_is_left_alone_for_an_anonymous_visitor(app: FastAPI, sessions: Sessions) -> None:
    @app.get("/broken")
    async def broken(session: OptionalSession) -> JSONResponse:
        return JSONResponse({"error": "the database is down"}, 500)

    with TestClient(app, base_url="https://testserver") as client:
        assert client.get("/broken").status_code == 500


def test_a_guard_of_a_mounted_app_is_answered_as_everywhere_else(app: FastAPI, sessions: Sessions) -> None:
    """The mounted app makes a page of status 500 of an error it does not know, before the error reaches us."""
    inner = FastAPI()
    add_routes(inner)

    @inner.get("/admin", dependencies=[Depends(require_role("admin"))])
    async def admin() -> None: ...

    app.mount("/inner", inner)
    with TestClient(app, base_url="https://testserver") as client:
        anonymous = client.get("/inner/me")
        assert (anonymous.status_code, anonymous.json()["code"]) == (401, "missing_token")
        for _ in range(2):  # a miss, then a hit
            denied = client.get("/inner/admin", headers=bearer(start(client, sessions)))
            assert (denied.status_code, denied.json()["code"]) == (403, "access_denied")
            assert denied.headers["content-type"] == "application/problem+json"


def test_guards_add_nothing_to_the_parameters_of_an_operation(app: FastAPI) -> None:
    operations = [operation for path in app.openapi()["paths"].values() for operation in path.values()]
    assert [operation.get("parameters", []) for operation in operations] == [[] for _ in operations]


@dataclass
class Shopper:
    user_id: str
    visits: int = 0


def test_typed_data_arrives_as_its_schema() -> None:
    sessions = Sessions(
        access_key=ductape_asgi.new_access_key(),
        product="shop",
        env="test",
        store="memory://",
        tags=[TagPolicy("user-session", selector="user_id", schema=Shopper)],
    )
    app = FastAPI()
    install(app, sessions=sessions)

    @app.get("/visits")
    async def visits(session: Annotated[Session[Shopper], Depends(current_session)]) -> int:
        return session.data.visits

    with TestClient(app, base_url="https://testserver") as client:
        assert client.get("/visits", headers=bearer(start(client, sessions, user_id="ann", visits=3))).json() == 3


def test_a_client_without_lifespan_works_as_well(app: FastAPI, sessions: Sessions) -> None:
    issued = asyncio.run(sessions.start(tag="user-session", data={"userId": "ann"}))
    client = TestClient(app, base_url="https://testserver")
    assert client.get("/me", headers=bearer(issued)).json() == {"userId": "ann"}


def test_the_guards_are_the_ones_of_the_core() -> None:
    assert require_role("admin") == ductape_asgi.require_role("admin")
    assert require_session is ductape_asgi.require_session


def test_a_socket_closed_by_the_handler_ends_normally(client: TestClient, sessions: Sessions) -> None:
    with client.websocket_connect("/ws", headers=bearer(start(client, sessions))) as socket:
        socket.receive_text()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 1000


def test_an_override_by_an_equal_guard_stands_in_for_it(app: FastAPI, client: TestClient, sessions: Sessions) -> None:
    stranger = start(client, sessions, role="user")
    assert client.get("/admin", headers=bearer(stranger)).status_code == 403

    def anybody(session: CurrentSession) -> Session[Any]:
        return session

    app.dependency_overrides[require_role("admin")] = anybody
    assert client.get("/admin", headers=bearer(stranger)).json() == stranger.session_id
    assert client.get("/staff", headers=bearer(stranger)).status_code == 403
    app.dependency_overrides.clear()
    assert client.get("/admin", headers=bearer(stranger)).status_code == 403


def test_options_that_do_not_fit_are_told_when_they_are_written(sessions: Sessions) -> None:
    with pytest.raises(ConfigurationError, match="exempt"):
        install(FastAPI(), sessions=sessions, exempt=["health"])


def routed(app: FastAPI, place: Any) -> None:
    app.get("/misplaced")(place)


def included(app: FastAPI, place: Any) -> None:
    router = APIRouter()
    router.get("/misplaced")(place)
    app.include_router(router)


def mounted(app: FastAPI, place: Any) -> None:
    inner = FastAPI()
    inner.get("/misplaced")(place)
    app.mount("/inner", inner)


def on_a_socket(app: FastAPI, place: Any) -> None:
    app.websocket("/misplaced")(place)


def in_a_dependency(app: FastAPI, place: Any) -> None:
    app.get("/misplaced", dependencies=[Depends(place)])(lambda: "let in")


ADMINS = require_role("admin")


def without_depends(session: Any = ADMINS) -> str:
    return "let in"


def after_a_session(session: CurrentSession = ADMINS) -> str:  # type: ignore[assignment]
    return "let in"


@pytest.mark.parametrize("place", [without_depends, after_a_session], ids=lambda place: place.__name__)
@pytest.mark.parametrize("put", [routed, included, mounted, on_a_socket, in_a_dependency], ids=lambda put: put.__name__)
def test_a_guard_that_would_never_be_asked_fails_the_start_up(
    app: FastAPI, sessions: Sessions, put: Any, place: Any
) -> None:
    """A parameter whose default is a guard, without `Depends`, is read from the query: everybody would be let in."""
    issued = asyncio.run(sessions.start(tag="user-session", data={"userId": "ann", "role": "user"}))
    put(app, place)
    with pytest.raises(ConfigurationError, match="Depends"):
        TestClient(app).__enter__()
    served = TestClient(app, base_url="https://testserver")  # without a lifespan
    assert [served.get(path, headers=bearer(issued)).status_code for path in ("/misplaced", "/me")] == [500, 500]
