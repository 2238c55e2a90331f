"""The same endpoints in Starlette, FastAPI, Litestar and plain ASGI, inside and outside of the middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, asgi
from litestar import get as litestar_get
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from ductape_asgi import Cookie, DuctapeMiddleware, Header, Sessions, new_access_key, session_routes
from ductape_fastapi import install
from ductape_litestar import DuctapePlugin
from tests.asgi_client import call

from .support import CROSS, TAG, Person, World, authenticate, problem, set_cookies

pytestmark = pytest.mark.anyio


async def home(request: Any) -> PlainTextResponse:
    return PlainTextResponse("home")


def starlette(world: World) -> Any:
    return Starlette(routes=[Route("/", home), Mount("/auth", app=world.routes())])


def starlette_deep(world: World) -> Any:
    inner = Mount("/v1", routes=[Mount("/auth", app=world.routes())])
    return Starlette(routes=[Mount("/auth", routes=[inner])])


def fastapi_mounted(world: World) -> Any:
    app = FastAPI()
    app.mount("/auth", world.routes())
    return app


def fastapi_included(world: World) -> Any:
    router = APIRouter()
    router.add_route("/auth/{path:path}", world.routes(prefix="/auth"))
    app = FastAPI()
    app.include_router(router)
    return app


def fastapi_installed(world: World) -> Any:
    app = FastAPI()
    install(app, sessions=world.sessions, tag=TAG, required=True, exempt=["/auth/*"])
    app.mount("/auth", world.routes())
    return app


def litestar(world: World, **options: Any) -> Any:
    routes = world.routes()

    # The plugin sees a mounted path without its mount, so that `exempt=` does not name it.
    @asgi("/auth", is_mount=True, copy_scope=True, exclude_from_auth=True)
    async def auth(scope: Scope, receive: Receive, send: Send) -> None:
        await routes(scope, receive, send)

    @litestar_get("/")
    async def root() -> str:
        return "home"

    return Litestar([auth, root], openapi_config=None, **options)


def litestar_plugged(world: World) -> Any:
    plugin = DuctapePlugin(sessions=world.sessions, tag=TAG, required=True)
    return litestar(world, plugins=[plugin])


def plain(world: World) -> Any:
    routes = world.routes(prefix="/auth")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/auth/"):
            await routes(scope, receive, send)
        else:
            await PlainTextResponse("home")(scope, receive, send)

    return app


FRONT_ENDS: dict[str, tuple[Callable[[World], Any], str]] = {
    "starlette": (starlette, "/auth"),
    "starlette-deep": (starlette_deep, "/auth/v1/auth"),
    "fastapi-mounted": (fastapi_mounted, "/auth"),
    "fastapi-included": (fastapi_included, "/auth"),
    "fastapi-installed": (fastapi_installed, "/auth"),
    "litestar": (litestar, "/auth"),
    "litestar-plugged": (litestar_plugged, "/auth"),
    "plain": (plain, "/auth"),
}


@pytest.fixture(params=FRONT_ENDS)
def front_end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["alone", "inside", "inside-required"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def person_at(world: World, front_end: str, place: str) -> Person:
    build, under = FRONT_ENDS[front_end]
    app = build(world)
    if place != "alone":
        required = place == "inside-required"
        app = DuctapeMiddleware(app, sessions=world.sessions, tag=TAG, required=required, exempt=["/auth/*"])
    return Person(app, world.mode, under)


async def test_a_whole_life_in_each_front_end(world: World, front_end: str, place: str) -> None:
    ann = person_at(world, front_end, place)
    phone = Person(ann.app, ann.mode, ann.under)
    assert problem(await ann.send("GET", "/session")) == (401, "missing_token")
    for person in (ann, phone):
        assert (await person.sign_in()).status == 200
    first = str(await ann.session_id())
    assert (await ann.send("GET", "/sessions", query=b"limit=5")).json()["count"] == 2
    world.clock.advance(hours=1)
    assert (await ann.refresh()).status == 200
    assert await ann.session_id() == first
    assert (await ann.send("DELETE", "/sessions/" + "A" * 22)).status == 404
    assert (await ann.act("POST", "/sessions/revoke-others")).json() == {"revoked": 1}
    world.clock.advance(hours=1)
    assert (await ann.act("POST", "/logout")).status == 204
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_what_is_not_there_is_a_problem_in_each_front_end(world: World, front_end: str) -> None:
    ann = person_at(world, front_end, "alone")
    assert problem(await ann.send("GET", "/nothing")) == (404, "not_found")
    refused = await ann.send("PUT", "/session")
    assert problem(refused) == (405, "method_not_allowed")
    assert refused.header("allow") == "GET, HEAD"


@pytest.mark.parametrize("front_end", ["starlette", "fastapi-mounted", "litestar"])
async def test_a_proxy_that_strips_a_prefix_of_its_own_changes_nothing(world: World, front_end: str) -> None:
    ann = person_at(world, front_end, "alone")
    assert (await ann.sign_in(root="/api")).status == 200


async def test_the_way_in_needs_an_exemption_where_a_session_is_required(world: World) -> None:
    app = DuctapeMiddleware(starlette(world), sessions=world.sessions, tag=TAG, required=True)
    answer = await Person(app, world.mode, "/auth").sign_in()
    assert problem(answer) == (401, "missing_token")


async def test_the_apps_own_paths_are_left_alone(world: World, front_end: str) -> None:
    if front_end in ("starlette", "litestar", "plain"):
        assert (await call(FRONT_ENDS[front_end][0](world), path="/")).body == b"home"


async def test_at_the_root_they_open_with_the_servers_lifespan(mode: str) -> None:
    sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://")
    routes = session_routes(sessions, tag=TAG, authenticate=authenticate, mode=mode)  # type: ignore[arg-type]
    inbox = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    outbox: list[str] = []

    async def receive() -> dict[str, str]:
        return inbox.pop()

    async def send(message: Any) -> None:
        outbox.append(message["type"])

    await routes({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert outbox == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# What the middleware around has found.


@pytest.mark.parametrize("mode", ["cookie"])
async def test_a_session_of_the_middleware_around_is_one_to_look_at(world: World) -> None:
    app = DuctapeMiddleware(
        world.routes(), sessions=world.sessions, tag=TAG, credentials=[Header("x-session"), Cookie()]
    )
    issued = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    header = [(b"x-session", issued.token.encode())]
    ann = Person(app, world.mode)
    assert (await ann.send("GET", "/session", headers=header)).json()["sessionId"] == issued.session_id
    assert problem(await ann.send("POST", "/ticket", headers=header, origin=CROSS)) == (403, "csrf_rejected")
    # What changes something is for the credentials that the routes read themselves.
    for method, path in (("POST", "/sessions/revoke-others"), ("DELETE", "/sessions/" + issued.session_id)):
        assert problem(await ann.send(method, path, headers=header)) == (401, "missing_token")


@pytest.mark.parametrize("mode", ["cookie"])
async def test_an_expired_bearer_token_does_not_fall_back_to_what_the_middleware_found(world: World) -> None:
    old = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    world.clock.advance(hours=1)
    new = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    app = DuctapeMiddleware(world.routes(), sessions=world.sessions, tag=TAG, credentials=[Header("x-session")])
    headers = [(b"authorization", f"Bearer {old.token}".encode()), (b"x-session", new.token.encode())]
    assert problem(await Person(app, world.mode).send("GET", "/session", headers=headers)) == (401, "invalid_token")


async def test_a_session_of_another_kind_or_place_is_not(world: World) -> None:
    other = await world.sessions.start(tag="checkout-session", data={"userId": "ann"})
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://") as foreign:
        theirs = await foreign.start(tag=TAG, data={"userId": "ann"})
        for sessions, tag, token in ((world.sessions, "checkout-session", other.token), (foreign, TAG, theirs.token)):
            app = DuctapeMiddleware(world.routes(), sessions=sessions, tag=tag, credentials=[Header("x-session")])
            answer = await Person(app, world.mode).send("GET", "/session", headers=[(b"x-session", token.encode())])
            assert problem(answer) == (401, "missing_token")


@pytest.mark.parametrize("mode", ["bearer"])
async def test_in_bearer_mode_a_cookie_of_the_middleware_around_signs_nobody_in(world: World) -> None:
    app = DuctapeMiddleware(world.routes(), sessions=world.sessions, tag=TAG)
    issued = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    jar = [(b"cookie", f"__Host-ductape={issued.token}".encode())]
    answer = await Person(app, world.mode).send("GET", "/session", headers=jar)
    assert problem(answer) == (401, "missing_token")
    assert set_cookies(answer) == {}
