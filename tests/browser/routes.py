"""Stands in for `session_routes` until they are there: the endpoints that client.js uses, by the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

import ductape_asgi
from ductape_asgi import CsrfRejected, DuctapeError, IssuedSession, MissingToken, Sessions
from ductape_asgi.cookies import read_cookie
from ductape_asgi.csrf import check_same_site
from ductape_asgi.problems import problem_response

CLIENT = Path(ductape_asgi.__file__).parent / "routes" / "static" / "client.js"
NO_STORE = {"cache-control": "no-store"}


def rfc3339(instant: Any) -> str:
    return str(instant.isoformat()).replace("+00:00", "Z")


def session_routes(sessions: Sessions, *, tag: str, authenticate: Any, mode: str) -> Any:
    async def described(token: str) -> dict[str, Any]:
        session = await sessions.verify(tag=tag, token=token)
        return {
            "sessionId": session.session_id,
            "tag": session.tag,
            "identifier": session.identifier,
            "data": session.data,
            "expiresAt": rfc3339(session.expires_at),
        }

    async def answer(issued: IssuedSession) -> Response:
        if mode == "bearer":
            return JSONResponse(
                {
                    "token": issued.token,
                    "refreshToken": issued.refresh_token,
                    "sessionId": issued.session_id,
                    "expiresAt": rfc3339(issued.expires_at),
                    "sessionExpiresAt": rfc3339(issued.session_expires_at),
                },
                headers=NO_STORE,
            )
        response = JSONResponse(await described(issued.token), headers=NO_STORE)
        sessions.set_cookies(response, issued)
        return response

    def access(request: Request) -> str | None:
        if mode == "bearer":
            return request.headers.get("authorization", "").removeprefix("Bearer ") or None
        return read_cookie(request.scope["headers"], "__Host-ductape")

    async def proof(request: Request) -> str | None:
        if mode == "bearer":
            return (await request.json()).get("refreshToken")
        return read_cookie(request.scope["headers"], "__Host-ductape-refresh")

    async def login(request: Request) -> Response:
        found = await authenticate(request)
        if found is None:
            raise MissingToken("wrong credentials")
        return await answer(await sessions.start(tag=tag, identifier=found[0], data=found[1], client=request.scope))

    async def refresh(request: Request) -> Response:
        token = await proof(request)
        if token is None:
            raise MissingToken("no refresh token")
        return await answer(await sessions.refresh(tag=tag, refresh_token=token))

    async def session(request: Request) -> Response:
        return JSONResponse(await described(access(request) or ""), headers=NO_STORE)

    async def logout(request: Request) -> Response:
        token = await proof(request)
        response = Response(status_code=204)
        if mode == "cookie":
            sessions.clear_cookies(response)
        try:
            issued = await sessions.refresh(tag=tag, refresh_token=token or "")
        except DuctapeError:
            return response
        await sessions.revoke(tag=tag, session_id=issued.session_id)
        return response

    async def client(_: Request) -> Response:
        return Response(CLIENT.read_bytes(), media_type="text/javascript")

    def answering(endpoint: Any) -> Any:
        async def answered(request: Request) -> Response:
            try:
                if request.method == "POST" and mode == "cookie":
                    check_same_site(request.scope)
                return await endpoint(request)
            except (DuctapeError, CsrfRejected) as error:
                status, headers, body = problem_response(error)
                return Response(body, status, {name.decode(): value.decode() for name, value in headers})

        return answered

    return Router(
        [
            Route("/login", answering(login), methods=["POST"]),
            Route("/refresh", answering(refresh), methods=["POST"]),
            Route("/logout", answering(logout), methods=["POST"]),
            Route("/session", answering(session)),
            Route("/client.js", client),
        ]
    )
