"""A FastAPI app with sign-in and a protected page, the page of one's devices, and the one for operators.

Browsers use cookies, scripts use ``Authorization: Bearer`` under ``/api``; both are the same sessions.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Form, Request, WebSocket
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from ductape_asgi import (
    CookiePolicy,
    LoginAttempt,
    SessionError,
    Sessions,
    TagPolicy,
    Throttle,
    operators_page,
    require_role,
    session_routes,
)
from ductape_asgi.csrf import check_same_site
from ductape_fastapi import CurrentSession, OptionalSession, install, require_session
from key import access_key
from pages import error_page, local_path, page, wants_page
from people import authenticate, find_person

HERE = Path(__file__).parent
TAG = "user-session"
NAME = "ductape demo"


def create_app(folder: Path = Path(".ductape-demo")) -> FastAPI:
    """The demo, with its key and its sessions in `folder`."""
    sessions = Sessions(
        access_key=access_key(folder),
        product="demo",
        env="dev",
        store=f"sqlite:///{folder / 'sessions.db'}",
        tags=[TagPolicy(TAG, expires_in="15m", session_ttl="30d", max_sessions=10)],
        # Plain http on this machine only, where Safari keeps no Secure cookie.  Leave it out everywhere else.
        cookies=CookiePolicy(secure=False),
    )
    # FastAPI's own pages load their scripts from elsewhere, and stay white where there is no internet.
    app = FastAPI(title="ductape-asgi demo", docs_url=None, redoc_url=None)
    install(app, sessions=sessions, tag=TAG)
    app.mount("/auth", session_routes(sessions, TAG, login_url="/sign-in", home_url="/private", app_name=NAME))
    app.mount("/api", session_routes(sessions, TAG, authenticate, mode="bearer"))
    app.mount(
        "/operators",
        operators_page(sessions, require_role("admin"), app_name=NAME, login_url="/sign-in", home_url="/private"),
    )
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    _add_sign_in(app, sessions)
    _add_pages(app)
    _answer_people_with_pages(app)
    return app


def _add_sign_in(app: FastAPI, sessions: Sessions) -> None:
    # As `session_routes` has one for its own sign-in: nobody tries passwords by the thousand.
    throttle = Throttle()

    @app.get("/sign-in")
    async def form(request: Request, session: OptionalSession, then: str = "") -> Response:
        if session:
            return _see_other(local_path(then))
        return page(request, "sign_in.html", problem="", then=local_path(then))

    @app.post("/sign-in")
    async def sign_in(
        request: Request,
        session: OptionalSession,
        user_id: Annotated[str, Form()],
        password: Annotated[str, Form()],
        then: Annotated[str, Form()] = "",
    ) -> Response:
        # No cookie has authenticated this request yet, so the middleware has nothing to protect: without this
        # line another site could sign a visitor in as somebody else.
        check_same_site(request.scope)
        attempt = LoginAttempt(request.client.host if request.client else None, user_id, time.time())
        wait = await throttle.admit(attempt)
        if wait is not None:
            return _try_later(request, math.ceil(wait), then)
        person = find_person(user_id, password)
        if person is None:
            problem = "Wrong name or password."
            return page(request, "sign_in.html", status=401, problem=problem, then=local_path(then))
        await throttle.succeeded(attempt)
        before = session.session_id if session else None
        issued = await sessions.start(tag=TAG, data=person.data, client=request.scope, replaces=before)
        response = _see_other(local_path(then))
        sessions.set_cookies(response, issued)
        return response


def _try_later(request: Request, wait: int, then: str) -> Response:
    problem = f"Too many sign-ins failed. Try again in {wait} seconds."
    response = page(request, "sign_in.html", status=429, problem=problem, then=local_path(then))
    response.headers["Retry-After"] = str(wait)
    return response


def _add_pages(app: FastAPI) -> None:
    @app.get("/")
    async def home(request: Request) -> Response:
        return page(request, "home.html")

    @app.get("/private")
    async def private(request: Request, session: CurrentSession) -> Response:
        return page(request, "private.html", data=session.data)

    @app.websocket("/live", dependencies=[Depends(require_session)])
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        async for _ in socket.iter_text():  # ends when the session does
            pass


def _answer_people_with_pages(app: FastAPI) -> None:
    """People get pages; what is raised on, for programs, the middleware answers as problem+json."""

    @app.exception_handler(SessionError)
    async def sign_in_first(request: Request, error: SessionError) -> Response:
        if not wants_page(request) or request.method != "GET":
            raise error
        return _see_other(f"/sign-in?{urlencode({'then': request.scope['path']})}")

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        if not wants_page(request):
            return await http_exception_handler(request, error)
        return error_page(request, error.status_code, error.headers)


def _see_other(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)
