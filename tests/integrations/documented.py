"""Apps with an operation of each kind, whose OpenAPI documents are compared with what is checked in."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from litestar import Litestar, Router, get, post
from litestar import WebSocket as LitestarWebSocket
from litestar import websocket as litestar_websocket
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath

from ductape_asgi import Bearer, Cookie, Header, Session, Sessions
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
from ductape_litestar import DuctapePlugin

ALL = (Bearer(), Header("x-session"), Cookie())

# FastAPI


async def customer(session: CurrentSession) -> str | None:
    return session.identifier


def fastapi(sessions: Sessions) -> FastAPI:
    app = FastAPI(title="Shop", version="1")
    router = APIRouter(prefix="/router", dependencies=[Depends(require_role("admin"))])

    @app.get("/open")
    async def opened() -> None: ...

    @app.post("/optional")
    async def optional(session: OptionalSession) -> None: ...

    @app.get("/optional")
    async def read_optional(session: OptionalSession) -> None: ...

    @app.get("/session/{item}")
    async def current(item: int, session: CurrentSession) -> None: ...

    install(app, sessions=sessions, tag="user-session")  # what comes before and what comes after is told alike

    @app.get("/customer")
    async def nested(name: Annotated[str, Depends(customer)]) -> None: ...

    @app.get("/role")
    async def role(session: Annotated[Session[Any], Depends(require_role("admin"))]) -> None: ...

    @app.get("/any-role", dependencies=[Depends(require_any_role("admin", "clerk"))])
    async def any_role() -> None: ...

    @app.delete("/permissions", dependencies=[Depends(require_permission("read", "write"))])
    async def permissions() -> None: ...

    @app.get("/recent", dependencies=[Depends(require_recent_auth(300)), Depends(require_recent_auth(60))])
    async def recent() -> None: ...

    @app.get("/scopes")
    async def scopes(session: Annotated[Session[Any], Security(current_session, scopes=["orders:read"])]) -> None: ...

    @app.get("/own", responses={401: {"description": "My own words."}})
    async def own(session: CurrentSession) -> None: ...

    @app.get("/hidden", include_in_schema=False, dependencies=[Depends(require_session)])
    async def hidden() -> None: ...

    @app.websocket("/ws")
    async def ws(socket: WebSocket, session: CurrentSession) -> None: ...

    @router.get("/plain")
    async def plain() -> None: ...

    @router.get("/scopes", dependencies=[Security(require_any_role("a", "b"), scopes=["orders:read"])])
    async def router_scopes() -> None: ...

    app.include_router(router)
    return app


def fastapi_required(sessions: Sessions) -> FastAPI:
    app = FastAPI(title="Closed shop", version="1")
    install(app, sessions=sessions, tag="user-session", required=True, exempt=["/auth/*"], credentials=ALL)

    @app.get("/plain")
    async def plain() -> None: ...

    @app.post("/auth/login")
    async def login() -> None: ...

    @app.get("/auth/me")
    async def me(session: CurrentSession) -> None: ...

    return app


# Litestar


async def provide_customer(session: Session) -> str | None:
    return session.identifier


@get("/open")
async def opened() -> None: ...


@post("/optional")
async def optional(session: Session | None) -> None: ...


@get("/optional")
async def read_optional(session: Session | None) -> None: ...


@get("/session/{item:int}")
async def current(item: FromPath[int], session: Session) -> None: ...


@get("/customer", dependencies={"customer": Provide(provide_customer)})
async def nested(customer: str) -> None: ...


@get("/role", guards=[require_role("admin")])
async def role() -> None: ...


@get("/any-role", guards=[require_any_role("admin", "clerk")])
async def any_role() -> None: ...


@post("/permissions", guards=[require_permission("read", "write")])
async def permissions(session: Session) -> None: ...


@get("/recent", guards=[require_recent_auth(300)])
async def recent() -> None: ...


@get("/own", responses={401: ResponseSpec(None, description="My own words.")}, guards=[require_session])
async def own() -> None: ...


@get("/own-security", security=[{"key": []}], guards=[require_session])
async def own_security() -> None: ...


@get("/hidden", include_in_schema=False, guards=[require_session])
async def hidden() -> None: ...


@litestar_websocket("/ws", guards=[require_session])
async def ws(socket: LitestarWebSocket) -> None: ...


@get("/plain")
async def plain() -> None: ...


@get("/write", guards=[require_permission("write")])
async def write() -> None: ...


@get("/excluded", exclude_from_auth=True)
async def excluded() -> None: ...


@get("/excluded-guarded", exclude_from_auth=True, guards=[require_session])
async def excluded_guarded() -> None: ...


@post("/auth/login")
async def login() -> None: ...


def litestar(sessions: Sessions) -> Litestar:
    return Litestar(
        [
            *(opened, optional, read_optional, current, nested, role, any_role, permissions, recent),
            *(own, own_security, hidden, ws),
            Router("/router", route_handlers=[plain, write], guards=[require_role("admin")]),
        ],
        plugins=[DuctapePlugin(sessions=sessions, tag="user-session")],
        openapi_config=OpenAPIConfig(
            title="Shop",
            version="1",
            components=Components(
                security_schemes={"key": SecurityScheme("apiKey", name="x-key", security_scheme_in="header")}
            ),
        ),
    )


def litestar_required(sessions: Sessions) -> Litestar:
    return Litestar(
        [plain, login, excluded, excluded_guarded],
        plugins=[
            DuctapePlugin(sessions=sessions, tag="user-session", required=True, exempt=["/auth/*"], credentials=ALL)
        ],
        openapi_config=OpenAPIConfig(title="Closed shop", version="1"),
    )


DOCUMENTED = {
    "fastapi": (fastapi, "/openapi.json"),
    "fastapi-required": (fastapi_required, "/openapi.json"),
    "litestar": (litestar, "/schema/openapi.json"),
    "litestar-required": (litestar_required, "/schema/openapi.json"),
}
