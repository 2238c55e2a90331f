"""The Litestar plugin, through Litestar's test client and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from litestar import Litestar, Request, Response, WebSocket, get, post, websocket
from litestar.di import Provide
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient

import ductape_asgi
from ductape_asgi import AccessDenied, IssuedSession, Session, Sessions, TagPolicy
from ductape_litestar import (
    DuctapePlugin,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)


@get("/me")
async def me(session: Session) -> dict[str, Any]:
    return session.data


@get("/maybe")
async def maybe(session: Session | None) -> dict[str, Any]:
    return {"identifier": session.identifier if session else None}


@get("/sync", sync_to_thread=True)
def sync(session: Session) -> str:
    return str(session.identifier)


@get("/admin", guards=[require_role("admin")])
async def admin() -> str:
    return "admin"


@get("/staff", guards=[require_any_role("admin", "clerk")])
async def staff() -> str:
    return "staff"


@get("/writers", guards=[require_permission("write")])
async def writers() -> str:
    return "writers"


@get("/recent", guards=[require_recent_auth(300)])
async def recent() -> str:
    return "recent"


@get("/guarded", guards=[require_session])
async def guarded(request: Request[Any, Any, Any]) -> str:
    return str(request.user.identity)


async def provide_name(session: Session) -> str:
    return str(session.identifier)


@get("/named", dependencies={"name": Provide(provide_name)})
async def named(name: str, session: Session | None) -> str:
    return name


@get("/unnamed", dependencies={"name": Provide(provide_name)})
async def unnamed(session: Session | None) -> str:
    return "anybody"


@post("/login")
async def login(sessions: Sessions) -> Response[str]:
    issued = await sessions.start(tag="user-session", data={"userId": "ann"})
    response = Response("welcome")
    sessions.set_cookies(response, issued)
    return response


@websocket("/ws")
async def ws(socket: WebSocket[Any, Any, Any], session: Session) -> None:
    await socket.accept()
    await socket.send_text(str(session.identifier))
    await socket.close()


@websocket("/ws/admin", guards=[require_role("admin")])
async def ws_admin(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("admin")
    await socket.close()


# Litestar 3 will want `NamedDependency[Session]`; both forms work today.
pytestmark = pytest.mark.filterwarnings("ignore:.*Inferred dependency field")

HANDLERS = [me, maybe, sync, admin, staff, writers, recent, guarded, named, unnamed, login, ws, ws_admin]


def build(sessions: Sessions, **options: Any) -> Litestar:
    async def provide_sessions() -> Sessions:
        return sessions

    return Litestar(
        HANDLERS,
        plugins=[DuctapePlugin(sessions=sessions, tag="user-session", **options)],
        dependencies={"sessions": Provide(provide_sessions)},
        signature_types=[Sessions],
    )


@pytest.fixture
def client(sessions: Sessions) -> Iterator[TestClient[Litestar]]:
    with TestClient(build(sessions), base_url="https://testserver.local") as client:
        yield client


def start(client: TestClient[Litestar], sessions: Sessions, **data: Any) -> IssuedSession:
    """Sign ann in, in the loop of the client."""
    with client.portal() as portal:
        return portal.call(lambda: sessions.start(tag="user-session", data={"userId": "ann"} | data))


def bearer(issued: IssuedSession) -> dict[str, str]:
    return {"Authorization": f"Bearer {issued.token}"}


def test_a_handler_receives_the_session(client: TestClient[Litestar], sessions: Sessions) -> None:
    answer = client.get("/me", headers=bearer(start(client, sessions, role="user")))
    assert (answer.status_code, answer.json()) == (200, {"userId": "ann", "role": "user"})


@pytest.mark.parametrize("path", ["/me", "/sync", "/admin", "/staff", "/writers", "/recent", "/guarded", "/named"])
def test_without_a_session_the_answer_is_a_401_problem(client: TestClient[Litestar], path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "missing_token"


@pytest.mark.parametrize("path", ["/admin", "/staff", "/writers"])
def test_a_session_without_the_right_is_403(client: TestClient[Litestar], sessions: Sessions, path: str) -> None:
    answer = client.get(path, headers=bearer(start(client, sessions, role="user")))
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")


@pytest.mark.parametrize("path", ["/admin", "/staff", "/writers", "/recent", "/guarded", "/named", "/unnamed", "/sync"])
def test_a_session_with_the_right_passes(client: TestClient[Litestar], sessions: Sessions, path: str) -> None:
    issued = start(client, sessions, role="admin", permissions=["write"])
    assert client.get(path, headers=bearer(issued)).status_code == 200


def test_an_optional_session_is_none_for_anonymous_requests(client: TestClient[Litestar], sessions: Sessions) -> None:
    issued = start(client, sessions)
    assert client.get("/maybe").json() == {"identifier": None}
    assert client.get("/maybe", headers=bearer(issued)).json() == {"identifier": "ann"}


def test_a_dependency_that_is_not_used_demands_nothing(client: TestClient[Litestar]) -> None:
    assert client.get("/unnamed").status_code == 200


def test_cookies_set_by_a_handler_sign_in(client: TestClient[Litestar]) -> None:
    assert client.post("/login").status_code == 201
    assert client.get("/me").json() == {"userId": "ann"}


def test_a_websocket_receives_the_session(client: TestClient[Litestar], sessions: Sessions) -> None:
    with client.websocket_connect("/ws", headers=bearer(start(client, sessions))) as socket:
        assert socket.receive_text() == "ann"


@pytest.mark.parametrize(("path", "role"), [("/ws", None), ("/ws/admin", None), ("/ws/admin", "user")])
def test_a_websocket_without_the_right_is_refused(
    client: TestClient[Litestar], sessions: Sessions, path: str, role: str | None
) -> None:
    headers = bearer(start(client, sessions, role=role)) if role else {}
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(path, headers=headers) as socket:
        socket.receive_text()
    assert refused.value.code == (4403 if role else 4401)


def test_the_app_may_answer_our_errors_itself(sessions: Sessions) -> None:
    def denied(request: Request[Any, Any, Any], error: AccessDenied) -> Response[str]:
        return Response("admins only", status_code=403)

    app = Litestar(
        [admin],
        plugins=[DuctapePlugin(sessions=sessions, tag="user-session")],
        exception_handlers={AccessDenied: denied},
    )
    with TestClient(app, base_url="https://testserver.local") as client:
        answer = client.get("/admin", headers=bearer(start(client, sessions, role="user")))
    assert (answer.status_code, answer.text) == (403, "admins only")


def test_the_middleware_options_pass_through(sessions: Sessions) -> None:
    with TestClient(build(sessions, required=True, exempt=["/maybe"]), base_url="https://testserver.local") as client:
        assert [client.get(path).status_code for path in ("/maybe", "/unnamed")] == [200, 401]


@dataclass
class Shopper:
    user_id: str
    visits: int = 0


@get("/visits")
async def visits(session: Session[Shopper]) -> int:
    return session.data.visits


def test_typed_data_arrives_as_its_schema() -> None:
    sessions = Sessions(
        access_key=ductape_asgi.new_access_key(),
        product="shop",
        env="test",
        store="memory://",
        tags=[TagPolicy("user-session", selector="user_id", schema=Shopper)],
    )
    with TestClient(Litestar([visits], plugins=[DuctapePlugin(sessions=sessions)])) as client:
        assert client.get("/visits", headers=bearer(start(client, sessions, user_id="ann", visits=3))).json() == 3


def test_the_sessions_are_open_while_the_app_runs(sessions: Sessions) -> None:
    with TestClient(build(sessions), base_url="https://testserver.local") as client:
        issued = start(client, sessions)
    with TestClient(build(sessions), base_url="https://testserver.local") as client:
        assert client.get("/me", headers=bearer(issued)).status_code == 200


def test_the_guards_are_the_ones_of_the_core() -> None:
    assert require_role("admin") == ductape_asgi.require_role("admin")
    assert require_session is ductape_asgi.require_session
