"""`DuctapeMiddleware` as one of Litestar's own."""

from __future__ import annotations

from typing import Any, Unpack, cast
from urllib.parse import unquote

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from ductape_asgi import DuctapeMiddleware, MiddlewareOptions, Sessions

_NEXT = "ductape.litestar.next"
_PATH = "ductape.path"


class SessionMiddleware(ASGIMiddleware):
    """One `DuctapeMiddleware` for all routes, and one that demands nothing for the handlers that say so.

    Litestar puts a middleware around each handler.  One that is shared has its answers cached for all of them.
    """

    def __init__(self, sessions: Sessions, exclude_opt_key: str, **options: Unpack[MiddlewareOptions]) -> None:
        self._demanding = DuctapeMiddleware(_hand_on, sessions=sessions, **options)
        lenient: MiddlewareOptions = {**options, "required": False, "exempt": ["/*"]}
        self._lenient = DuctapeMiddleware(_hand_on, sessions=sessions, **lenient)
        self._exclude_opt_key = exclude_opt_key
        self.options = self._demanding.options

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        excluded = scope["route_handler"].opt.get(self._exclude_opt_key)
        middleware = self._lenient if excluded else self._demanding
        raw = cast("dict[str, Any]", scope)
        raw[_NEXT] = next_app
        if getattr(scope["route_handler"], "is_mount", False):
            # What is left of a mounted app's path says nothing of where the app is, and what is exempt is whole paths.
            raw[_PATH] = unquote(raw.get("raw_path", b"").partition(b"?")[0].decode("latin-1"))
        await middleware(raw, cast("Any", receive), cast("Any", send))


async def _hand_on(scope: Any, receive: Any, send: Any) -> None:
    await scope[_NEXT](scope, receive, send)
