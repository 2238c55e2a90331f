"""ductape-asgi in Litestar: a plugin that verifies sessions and injects them.

```python
@get("/admin", guards=[require_role("admin")])
async def admin(session: Session) -> dict[str, Any]:
    return session.data


app = Litestar([admin], plugins=[DuctapePlugin(sessions=sessions, tag="user-session")])
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

from ductape_asgi import (
    DuctapeError,
    MiddlewareOptions,
    Session,
    Sessions,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)
from ductape_asgi.openapi import SessionDocs

try:
    from litestar import Litestar, Request, Response
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('ductape_litestar needs Litestar: pip install "ductape-asgi[litestar]"') from error

from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.plugins import InitPlugin
from litestar.plugins.base import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import Scope

from ._injection import provide_session
from ._middleware import SessionMiddleware
from ._openapi import describe, name_schemes

__all__ = [
    "DuctapePlugin",
    "require_any_role",
    "require_permission",
    "require_recent_auth",
    "require_role",
    "require_session",
]


class DuctapePlugin(InitPlugin, ReceiveRoutePlugin):
    """Opens `sessions` with the app, verifies each request for a route of it, and injects ``session``.

    A handler that takes ``session: Session`` answers 401 without one; ``session: Session | None`` is None then.  The
    OpenAPI document names the credentials, which operations need one and with which scopes, and how they are refused.

    Args:
        sessions: opened and closed with the app's lifespan, around everything else in it.
        exclude_opt_key: a handler with this key in its ``opt`` is exempt from ``required=True``.  A session is read
            there if it comes, and guards stand.
        middleware_options: the keywords of `DuctapeMiddleware`, such as ``tag="user-session"``.

    Raises:
        ConfigurationError: the options do not fit together.
    """

    def __init__(
        self,
        *,
        sessions: Sessions,
        exclude_opt_key: str = "exclude_from_auth",
        **middleware_options: Unpack[MiddlewareOptions],
    ) -> None:
        self._sessions = sessions
        self._exclude_opt_key = exclude_opt_key
        self._middleware = SessionMiddleware(sessions, exclude_opt_key, **middleware_options)
        self._docs = SessionDocs(self._middleware.options)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.middleware.insert(0, self._middleware)
        app_config.lifespan.insert(0, self._open)
        app_config.dependencies.setdefault("session", Provide(provide_session))
        app_config.signature_types.append(Session)
        app_config.exception_handlers.setdefault(DuctapeError, hand_on)
        app_config.after_exception.append(hand_on_from_socket)
        name_schemes(app_config, self._docs)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        if isinstance(route, HTTPRoute):
            describe(route, self._docs, self._exclude_opt_key)

    @asynccontextmanager
    async def _open(self, app: Litestar) -> AsyncIterator[None]:
        async with self._sessions:
            yield


def hand_on(request: Request[Any, Any, Any], error: DuctapeError) -> Response[Any]:
    """Let `DuctapeMiddleware`, which is next, answer; Litestar alone would make a 500 of it."""
    raise error


async def hand_on_from_socket(error: Exception, scope: Scope) -> None:
    """The same for WebSockets, for which Litestar asks no exception handler but closes with 4500."""
    if scope["type"] == ScopeType.WEBSOCKET and isinstance(error, DuctapeError):
        raise error
