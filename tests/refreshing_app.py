"""An app behind `auto_refresh` for real servers; its settings come from the environment.  Run by a server."""

from __future__ import annotations

from typing import Any

from ductape_asgi import CookiePolicy, DuctapeMiddleware, Sessions, TagPolicy

TAG = "user-session"
COOKIES = CookiePolicy(secure=False, csrf_token=True)


async def whose(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body = scope["ductape.session"].identifier.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def sessions_from_env(**options: Any) -> Sessions:
    return Sessions.from_env(cookies=COOKIES, tags=[TagPolicy(TAG)], **options)


def create() -> DuctapeMiddleware:
    return DuctapeMiddleware(whose, sessions=sessions_from_env(), tag=TAG, required=True)
