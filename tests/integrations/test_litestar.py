"""The Litestar plugin, through Litestar's test client and a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from litestar import Controller, Litestar, Request, Response, WebSocket, asgi, get, post, websocket
from litestar.di import Provide
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware import ASGIMiddleware
from litestar.testing import TestClient
from litestar.types import Receive, Scope, Send
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient as StarletteClient

import ductape_asgi
from ductape_asgi import (
    AccessDenied,
    ConfigurationError,
    DuctapeMiddleware,
    IssuedSession,
    Session,
    Sessions,
    StoreUnavailable,
    TagPolicy,
)
from ductape_asgi.stores.memory import MemoryStore
from ductape_litestar import (
    DuctapePlugin,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)
from tests.sessions.support import WatchedStore


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


def given(sessions: Sessions) -> dict[str, Provide]:
    async def provide_sessions() -> Sessions:
        return sessions

    return {"sessions": Provide(provide_sessions)}


def build(sessions: Sessions, **options: Any) -> Litestar:
    return Litestar(
        HANDLERS,
        plugins=[DuctapePlugin(sessions=sessions, tag="user-session", **options)],
        dependencies=given(sessions),
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


@get("/open")
async def opened() -> str:
    return "open"


@get("/excluded", exclude_from_auth=True)
async def excluded(session: Session | None) -> dict[str, Any]:
    return {"identifier": session.identifier if session else None}


@get("/excluded-admin", exclude_from_auth=True, guards=[require_role("admin")])
async def excluded_admin() -> str:
    return "admin"


@websocket("/ws/excluded", exclude_from_auth=True)
async def ws_excluded(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("anybody")
    await socket.close()


@pytest.fixture
def closed(sessions: Sessions) -> Iterator[TestClient[Litestar]]:
    """An app with ``required=True``, and handlers that are excluded from it."""
    app = Litestar(
        [opened, excluded, excluded_admin, ws, ws_excluded], plugins=[DuctapePlugin(sessions=sessions, required=True)]
    )
    with TestClient(app, base_url="https://testserver.local") as client:
        yield client


def test_an_excluded_handler_is_open_and_sees_a_session_that_comes(
    closed: TestClient[Litestar], sessions: Sessions
) -> None:
    assert closed.get("/open").status_code == 401
    assert closed.get("/excluded").json() == {"identifier": None}
    assert closed.get("/excluded", headers=bearer(start(closed, sessions))).json() == {"identifier": "ann"}
    assert closed.get("/excluded", headers={"Authorization": "Bearer junk"}).json() == {"identifier": None}


def test_a_guard_of_an_excluded_handler_stands(closed: TestClient[Litestar], sessions: Sessions) -> None:
    assert closed.get("/excluded-admin").status_code == 401
    assert closed.get("/excluded-admin", headers=bearer(start(closed, sessions, role="user"))).status_code == 403
    assert closed.get("/excluded-admin", headers=bearer(start(closed, sessions, role="admin"))).status_code == 200


def test_an_excluded_handler_runs_while_the_store_is_down() -> None:
    async def down(*args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailable("down")

    store: Any = WatchedStore(MemoryStore())
    sessions = Sessions(access_key=ductape_asgi.new_access_key(), product="shop", env="test", store=store)
    app = Litestar([opened, excluded], plugins=[DuctapePlugin(sessions=sessions, tag="user-session", required=True)])
    with TestClient(app, base_url="https://testserver.local") as client:
        headers = bearer(start(client, sessions))
        store.instead.update(verify=down, log_since=down)
        assert client.get("/open", headers=headers).status_code == 503
        assert client.get("/excluded", headers=headers).json() == {"identifier": None}


@pytest.mark.parametrize("debug", [False, True])
def test_a_guard_without_the_plugin_lets_nobody_in(debug: bool) -> None:
    with TestClient(Litestar([admin], debug=debug), base_url="https://testserver.local") as client:
        answer = client.get("/admin")
    assert answer.status_code == 500
    assert ("DuctapePlugin" in answer.text) == debug  # which is what to add, and nobody's business but the developer's


def test_an_excluded_websocket_is_open(closed: TestClient[Litestar]) -> None:
    with closed.websocket_connect("/ws/excluded") as socket:
        assert socket.receive_text() == "anybody"
    with pytest.raises(WebSocketDisconnect) as refused, closed.websocket_connect("/ws") as socket:
        socket.receive_text()
    assert refused.value.code == 4401


def test_a_cookie_from_another_site_is_refused_on_an_excluded_handler_too(sessions: Sessions) -> None:
    @post("/hook", exclude_from_auth=True)
    async def hook() -> None: ...

    with TestClient(
        Litestar([hook, login], plugins=[DuctapePlugin(sessions=sessions)], dependencies=given(sessions)),
        base_url="https://testserver.local",
    ) as client:
        client.post("/login")
        assert client.post("/hook", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 201
        assert client.post("/hook", headers={"Sec-Fetch-Site": "cross-site"}).json()["code"] == "csrf_rejected"


def test_the_key_that_excludes_may_be_another(sessions: Sessions) -> None:
    @get("/mine", open_to_all=True)
    async def mine() -> None: ...

    plugin = DuctapePlugin(sessions=sessions, required=True, exclude_opt_key="open_to_all")
    with TestClient(Litestar([mine, excluded], plugins=[plugin]), base_url="https://testserver.local") as client:
        assert [client.get(path).status_code for path in ("/mine", "/excluded")] == [200, 401]


def test_the_plugin_brings_a_middleware_that_litestar_3_takes(sessions: Sessions) -> None:
    (first, *others) = build(sessions).middleware
    assert isinstance(first, ASGIMiddleware)
    assert not others


def test_the_sessions_are_open_before_the_apps_own_lifespan_and_until_after_it(sessions: Sessions) -> None:
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        seen.append(sessions.worker.lifetime.is_open())
        yield
        seen.append(sessions.worker.lifetime.is_open())

    async def on_startup() -> None:
        seen.append(sessions.worker.lifetime.is_open())

    plugins = [DuctapePlugin(sessions=sessions)]
    with TestClient(Litestar([opened], plugins=plugins, lifespan=[lifespan], on_startup=[on_startup])):
        pass
    assert seen == [True, True, True]
    assert sessions.worker.lifetime.token is None


def test_all_handlers_are_behind_one_middleware(sessions: Sessions) -> None:
    """Litestar puts it around each handler; what is cached for one is cached for all only if there is one."""
    seen: list[object] = []

    @get("/one")
    async def one(scope: Scope) -> None:
        seen.append(scope["ductape.options"])  # type: ignore[typeddict-item]

    @get("/two")
    async def two(scope: Scope) -> None:
        seen.append(scope["ductape.options"])  # type: ignore[typeddict-item]

    app = Litestar([one, two], plugins=[DuctapePlugin(sessions=sessions)])
    with TestClient(app, base_url="https://testserver.local") as client:
        headers = bearer(start(client, sessions))
        for path in ("/one", "/two", "/one"):
            assert client.get(path, headers=headers).status_code == 200
    assert seen[0] is seen[1] is seen[2]


def test_a_dependency_of_the_apps_own_called_session_stays(sessions: Sessions) -> None:
    async def database() -> str:
        return "a database session"

    @get("/database")
    async def handler(session: str) -> str:
        return session

    app = Litestar([handler], plugins=[DuctapePlugin(sessions=sessions)], dependencies={"session": Provide(database)})
    with TestClient(app, base_url="https://testserver.local") as client:
        assert client.get("/database").text == "a database session"
    document = app.openapi_schema.to_schema()
    assert "security" not in document["paths"]["/database"]["get"]


def test_a_websocket_of_a_controller_with_guards_is_refused(sessions: Sessions) -> None:
    class Live(Controller):
        path = "/live"
        guards = (require_role("admin"),)

        @websocket("/feed")
        async def feed(self, socket: WebSocket[Any, Any, Any]) -> None:
            await socket.accept()

        @get("/page")
        async def page(self) -> None: ...

    app = Litestar([Live], plugins=[DuctapePlugin(sessions=sessions)])
    assert app.openapi_schema.to_schema()["paths"]["/live/page"]["get"]["security"] == [
        {"sessionBearer": ["role:admin"]},
        {"sessionCookie": ["role:admin"]},
    ]
    with TestClient(app, base_url="https://testserver.local") as client:
        headers = bearer(start(client, sessions, role="user"))
        assert client.get("/live/page", headers=headers).status_code == 403
        with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/live/feed", headers=headers):
            pass
    assert refused.value.code == 4403


def test_options_that_do_not_fit_are_told_when_the_plugin_is_built(sessions: Sessions) -> None:
    with pytest.raises(ConfigurationError, match="exempt"):
        DuctapePlugin(sessions=sessions, exempt=["health"])
    with pytest.raises(TypeError, match="requird"):
        DuctapePlugin(sessions=sessions, requird=True)  # type: ignore[call-arg]


def test_the_answer_to_an_error_that_is_not_ours_is_litestars(client: TestClient[Litestar]) -> None:
    assert client.get("/nowhere").json() == {"status_code": 404, "detail": "Not Found"}
    assert client.post("/me").status_code == 405


@asgi("/auth", is_mount=True, copy_scope=True)
async def mounted_auth(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("auth")(scope, receive, send)  # type: ignore[arg-type]


@asgi("/inside", is_mount=True, copy_scope=True)
async def mounted_inside(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("inside")(scope, receive, send)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/auth/app/me", "/auth/appme", "/auth/x/app/me"])
def test_a_root_path_amid_an_exempt_path_leads_to_no_other_handler(sessions: Sessions, path: str) -> None:
    """Litestar cuts off all that stands before it, too."""

    @get("/me")
    async def anybody() -> str:
        return "me"

    app = DuctapeMiddleware(
        Litestar([anybody]), sessions=sessions, tag="user-session", required=True, exempt=["/auth/*"]
    )
    with StarletteClient(app, root_path="/app") as client:
        assert client.get("/auth/none").status_code == 404  # exempt
        assert client.get(path).status_code == 401


def test_paths_of_mounted_apps_are_exempt_by_their_whole_path(sessions: Sessions) -> None:
    plugin = DuctapePlugin(sessions=sessions, required=True, exempt=["/auth/*"])
    with TestClient(Litestar([mounted_auth, mounted_inside], plugins=[plugin])) as client:
        assert client.get("/auth/login").text == "auth"
        assert client.get("/auth/caf%C3%A9?x=/").text == "auth"
        for path in ("/inside/auth/login", "/inside/auth", "/auth/../inside/", "/auth/%2e%2e/inside", "/inside?/auth/"):
            assert client.get(path).status_code == 401, path
        assert client.get("/inside/auth/x", headers=bearer(start(client, sessions))).text == "inside"
