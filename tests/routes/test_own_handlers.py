"""A sign-in of one's own, such as an OAuth callback: two lines in each front end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from fastapi.responses import RedirectResponse as FastAPIRedirect
from fastapi.responses import Response as FastAPIResponse
from litestar import Litestar
from litestar import get as litestar_get
from litestar import post as litestar_post
from litestar.response import Redirect
from litestar.response import Response as LitestarResponse
from litestar.types import Scope
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ductape_asgi import ConfigurationError, CookiePolicy, DataTooLarge, DuctapeMiddleware, Sessions, new_access_key
from tests.asgi_client import call, scope_of

from .support import ACCESS, OWN, REFRESH, TAG, set_cookies

pytestmark = pytest.mark.anyio


def starlette(sessions: Sessions) -> Any:
    async def callback(request: Request) -> Response:
        response = RedirectResponse("/", 303)
        issued = await sessions.start(tag=TAG, data={"userId": "ann"}, client=request.scope)
        sessions.set_cookies(response, issued)
        return response

    async def leave(request: Request) -> Response:
        response = PlainTextResponse("bye")
        sessions.clear_cookies(response)
        return response

    return Starlette(routes=[Route("/callback", callback), Route("/leave", leave, methods=["POST"])])


def fastapi(sessions: Sessions) -> Any:
    app = FastAPI()

    @app.get("/callback")
    async def callback(request: FastAPIRequest) -> FastAPIResponse:
        response = FastAPIRedirect("/", 303)
        issued = await sessions.start(tag=TAG, data={"userId": "ann"}, client=request.scope)
        sessions.set_cookies(response, issued)
        return response

    @app.post("/leave")
    async def leave(response: FastAPIResponse) -> str:
        sessions.clear_cookies(response)
        return "bye"

    return app


def litestar(sessions: Sessions) -> Any:
    @litestar_get("/callback")
    async def callback(scope: Scope) -> Redirect:
        response = Redirect("/", status_code=303)
        issued = await sessions.start(tag=TAG, data={"userId": "ann"}, client=scope)  # type: ignore[arg-type]
        sessions.set_cookies(response, issued)
        return response

    @litestar_post("/leave")
    async def leave() -> LitestarResponse[str]:
        response = LitestarResponse("bye")
        sessions.clear_cookies(response)
        return response

    return Litestar([callback, leave], openapi_config=None)


def plain(sessions: Sessions) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/callback":
            issued = await sessions.start(tag=TAG, data={"userId": "ann"}, client=scope)
            cookies = issued.cookie_headers()
            headers = [(b"location", b"/"), (b"cache-control", b"no-store"), *cookies]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body"})
        else:
            response = PlainTextResponse("bye")
            sessions.clear_cookies(response)
            await response(scope, receive, send)

    return app


FRONT_ENDS: list[Callable[[Sessions], Any]] = [starlette, fastapi, litestar, plain]


def make(**options: Any) -> Sessions:
    return Sessions(
        **{"access_key": new_access_key(), "product": "shop", "env": "prd", "store": "memory://", **options}
    )


@pytest.mark.parametrize("front_end", FRONT_ENDS)
async def test_a_callback_signs_in_and_a_handler_signs_out(front_end: Callable[[Sessions], Any]) -> None:
    async with make() as sessions:
        app = DuctapeMiddleware(front_end(sessions), sessions=sessions, tag=TAG)
        answer = await call(app, path="/callback")
        assert answer.status == 303
        assert answer.header("cache-control") == "no-store"
        jar = set_cookies(answer)
        assert set(jar) == {ACCESS, REFRESH}
        assert (await sessions.verify(tag=TAG, token=jar[ACCESS])).identifier == "ann"
        assert (await sessions.refresh(tag=TAG, refresh_token=jar[REFRESH])).identifier == "ann"
        (info,) = (await sessions.list(tag=TAG, identifier="ann")).sessions
        assert info.client.ip == "203.0.113.9"

        cookie = (b"cookie", f"{ACCESS}={jar[ACCESS]}".encode())
        left = await call(app, method="POST", path="/leave", headers=[OWN, cookie])
        # Litestar's cookies are of http.cookies, which writes an empty value as two quotes.
        assert {name: value.strip('"') for name, value in set_cookies(left).items()} == {ACCESS: "", REFRESH: ""}
        assert [line.count(b"Max-Age=0") for name, line in left.headers if name == b"set-cookie"] == [1, 1]
        assert left.header("cache-control") == "no-store"


async def test_start_refuses_what_a_cookie_cannot_hold() -> None:
    """As large as `start` allows, the cookie is one that browsers keep; a byte more, and there is no session."""
    async with make() as sessions:
        low, high = 100, 4000
        while high - low > 1:
            middle = (low + high) // 2
            try:
                issued = await sessions.start(tag=TAG, data={"userId": "ann", "note": "x" * middle})
            except DataTooLarge as error:
                assert "4096" in str(error)  # noqa: PT017
                high = middle
            else:
                low = middle
                cookies = [value.decode().split(";")[0] for _, value in issued.cookie_headers()]
                assert all(len(pair) - 1 <= 4096 for pair in cookies)
        assert low > 1500
        count = (await sessions.list(tag=TAG, identifier="ann")).count
        with pytest.raises(DataTooLarge):
            await sessions.start(tag=TAG, data={"userId": "ann", "note": "x" * high})
        assert (await sessions.list(tag=TAG, identifier="ann")).count == count


async def test_without_cookies_there_are_none_to_set() -> None:
    async with make(cookies=None) as sessions:
        issued = await sessions.start(tag=TAG, data={"userId": "ann"})
        for attempt in (issued.cookie_headers, lambda: sessions.set_cookies(PlainTextResponse(), issued)):
            with pytest.raises(ConfigurationError, match="CookiePolicy"):
                attempt()


async def test_what_is_no_response_is_refused() -> None:
    async with make(cookies=CookiePolicy(name="shop")) as sessions:
        issued = await sessions.start(tag=TAG, data={"userId": "ann"})
        for odd in (object(), {}, scope_of()):
            with pytest.raises(TypeError, match="cookie_headers"):
                sessions.set_cookies(odd, issued)
