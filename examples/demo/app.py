"""A FastAPI app with sign-in, a protected page, an admin page, and a list of signed-in devices.

Browsers use cookies, scripts use ``Authorization: Bearer`` under ``/api``; both are the same sessions.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Form, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from api import api_routes
from ductape_asgi import (
    AccessDenied,
    CookiePolicy,
    ExpiredToken,
    IssuedSession,
    Session,
    SessionError,
    Sessions,
    TagPolicy,
)
from ductape_asgi.csrf import check_same_site
from ductape_fastapi import CurrentSession, OptionalSession, install, require_role
from key import access_key
from pages import error_page, local_path, page
from people import authenticate

HERE = Path(__file__).parent
TAG = "user-session"


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
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.include_router(api_routes(sessions, TAG))
    _answer_errors_with_pages(app, sessions)
    _add_sign_in(app, sessions)
    _add_pages(app)
    _add_devices(app, sessions)
    return app


def _add_sign_in(app: FastAPI, sessions: Sessions) -> None:
    @app.get("/sign-in")
    async def form(request: Request, session: OptionalSession, then: str = "") -> Response:
        if session:
            return _see_other(local_path(then))
        return await _renewed(request, sessions) or page(request, "sign_in.html", failed=False, then=local_path(then))

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
        person = authenticate(user_id, password)
        if person is None:
            return page(request, "sign_in.html", status=401, failed=True, then=local_path(then))
        issued = await sessions.start(
            tag=TAG,
            data=person.data,
            client=request.scope,
            replaces=session.session_id if session else None,
        )
        response = _see_other(local_path(then))
        sessions.set_cookies(response, issued)
        return response

    @app.post("/sign-out")
    async def sign_out(request: Request, session: OptionalSession) -> Response:
        check_same_site(request.scope)  # the access cookie may have expired: see above
        with suppress(SessionError):  # it was over already
            session_id = session.session_id if session else (await _refreshed(request, sessions)).session_id
            await sessions.revoke(tag=TAG, session_id=session_id)
        response = _see_other("/")
        sessions.clear_cookies(response)
        return response


def _add_pages(app: FastAPI) -> None:
    @app.get("/")
    async def home(request: Request) -> Response:
        return page(request, "home.html")

    @app.get("/private")
    async def private(request: Request, session: CurrentSession) -> Response:
        return page(request, "private.html", data=session.data)

    @app.get("/admin")
    async def admin(request: Request, session: Annotated[Session[Any], Depends(require_role("admin"))]) -> Response:
        return page(request, "admin.html", data=session.data)


def _add_devices(app: FastAPI, sessions: Sessions) -> None:
    @app.get("/sessions")
    async def devices(request: Request, session: CurrentSession) -> Response:
        live = await sessions.list(tag=TAG, identifier=_identifier(session))
        return page(request, "sessions.html", live=live)

    @app.post("/sessions/{session_id}/revoke")
    async def revoke_one(request: Request, session: CurrentSession, session_id: str) -> Response:
        live = await sessions.list(tag=TAG, identifier=_identifier(session))
        # A session of somebody else looks just like one that does not exist.
        if session_id not in {info.session_id for info in live}:
            return error_page(request, 404, "You have no such session.")
        await sessions.revoke(tag=TAG, session_id=session_id)
        return _see_other("/sessions")

    @app.post("/sessions/revoke-others")
    async def revoke_others(session: CurrentSession) -> Response:
        await sessions.revoke_all(tag=TAG, identifier=_identifier(session), exclude_current_session=session.session_id)
        return _see_other("/sessions")


def _answer_errors_with_pages(app: FastAPI, sessions: Sessions) -> None:
    """People get pages; what is raised on under ``/api`` the middleware answers as problem+json."""

    @app.exception_handler(SessionError)
    async def sign_in_first(request: Request, error: SessionError) -> Response:
        if request.url.path.startswith("/api/"):
            raise error
        back = f"?{urlencode({'then': request.scope['path']})}" if request.method == "GET" else ""
        return await _renewed(request, sessions) or _see_other(f"/sign-in{back}")

    @app.exception_handler(AccessDenied)
    async def denied(request: Request, error: AccessDenied) -> Response:
        if request.url.path.startswith("/api/"):
            raise error
        return error_page(request, 403, "This page is for admins only.")

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/api/"):
            return await http_exception_handler(request, error)
        return error_page(request, error.status_code, "There is nothing at this address.", error.headers)


async def _renewed(request: Request, sessions: Sessions) -> Response | None:
    """The same page again with fresh cookies, where the access token is over and the session is not."""
    # Where the access cookie was refused for another reason than its age, a new one would be too, for ever.
    if request.method != "GET" or not isinstance(request.scope.get("ductape.error"), ExpiredToken | None):
        return None
    try:
        issued = await _refreshed(request, sessions)
    except SessionError:
        return None
    response = _see_other(request.scope["path"])
    sessions.set_cookies(response, issued)
    return response


async def _refreshed(request: Request, sessions: Sessions) -> IssuedSession:
    token = request.cookies.get(sessions.cookies.refresh_name) if sessions.cookies else None
    return await sessions.refresh(tag=TAG, refresh_token=token, client=request.scope)


def _identifier(session: Session[Any]) -> str:
    return str(session.identifier)


def _see_other(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)
