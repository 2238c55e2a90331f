"""The same sessions for scripts: tokens in JSON, then ``Authorization: Bearer``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field

from ductape_asgi import IssuedSession, Sessions
from ductape_fastapi import CurrentSession
from people import authenticate


class Credentials(BaseModel):
    user_id: str = Field(alias="userId")
    password: str


class RefreshToken(BaseModel):
    refresh_token: str = Field(alias="refreshToken")


def api_routes(sessions: Sessions, tag: str) -> APIRouter:
    routes = APIRouter(prefix="/api")

    @routes.post("/login")
    async def login(request: Request, response: Response, given: Credentials) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        person = authenticate(given.user_id, given.password)
        if person is None:
            raise HTTPException(401, "wrong name or password")
        return _tokens(await sessions.start(tag=tag, data=person.data, client=request.scope))

    @routes.post("/refresh")
    async def refresh(request: Request, response: Response, given: RefreshToken) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        return _tokens(await sessions.refresh(tag=tag, refresh_token=given.refresh_token, client=request.scope))

    @routes.post("/logout")
    async def logout(session: CurrentSession) -> Response:
        await sessions.revoke(tag=tag, session_id=session.session_id)
        return Response(status_code=204)

    @routes.get("/me")
    async def me(session: CurrentSession) -> dict[str, Any]:
        return {
            "sessionId": session.session_id,
            "identifier": session.identifier,
            "data": session.data,
            "expiresAt": _instant(session.expires_at),
        }

    return routes


def _tokens(issued: IssuedSession) -> dict[str, Any]:
    return {
        "token": issued.token,
        "refreshToken": issued.refresh_token,
        "sessionId": issued.session_id,
        "expiresAt": _instant(issued.expires_at),
        "sessionExpiresAt": _instant(issued.session_expires_at),
    }


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
