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
from typing import Any, cast

from ductape_asgi import (
    DuctapeError,
    DuctapeMiddleware,
    Session,
    SessionError,
    Sessions,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)

try:
    from litestar import Litestar, Request, Response
    from litestar.config.app import AppConfig
    from litestar.di import Provide
    from litestar.enums import ScopeType
    from litestar.handlers import BaseRouteHandler
    from litestar.plugins import InitPlugin
    from litestar.types import ASGIApp, Scope
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('ductape_litestar needs Litestar: pip install "ductape-asgi[litestar]"') from error

__all__ = [
    "DuctapePlugin",
    "require_any_role",
    "require_permission",
    "require_recent_auth",
    "require_role",
    "require_session",
]


class DuctapePlugin(InitPlugin):
    """Opens `sessions` with the app, puts `DuctapeMiddleware` around its routes, and injects ``session``.

    A handler that takes ``session: Session`` answers 401 without one; ``session: Session | None`` is None then.

    Args:
        sessions: opened and closed with the app's lifespan.
        middleware_options: the keywords of `DuctapeMiddleware`, such as ``tag="user-session"``.
    """

    def __init__(self, *, sessions: Sessions, **middleware_options: Any) -> None:
        self._sessions = sessions
        self._options = middleware_options

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.middleware.insert(0, self._wrap)
        app_config.lifespan.append(self._open)
        app_config.dependencies["session"] = Provide(provide_session)
        app_config.signature_types.append(Session)
        app_config.exception_handlers.setdefault(DuctapeError, hand_on)
        app_config.after_exception.append(hand_on_from_socket)
        return app_config

    def _wrap(self, app: ASGIApp) -> ASGIApp:
        return cast("ASGIApp", DuctapeMiddleware(cast("Any", app), sessions=self._sessions, **self._options))

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


async def provide_session(scope: Scope) -> Session[Any] | None:
    """The dependency ``session``.

    Raises:
        SessionError: there is none, and the handler, or a dependency of its, cannot do without.
    """
    try:
        return require_session.check_scope(cast("dict[str, Any]", scope))
    except SessionError:
        if _needs_session(scope["route_handler"]):
            raise
        return None


def _needs_session(handler: BaseRouteHandler) -> bool:
    """Whether the handler, or a dependency it asks for, takes a `session` that may not be None."""
    providers = handler.resolve_dependencies()
    waiting, seen = [handler.parsed_fn_signature], set[str]()
    while waiting:
        for name, parameter in waiting.pop().parameters.items():
            if name == "session" and not parameter.is_optional:
                return True
            if name in providers and name not in seen:
                seen.add(name)
                waiting.append(providers[name].parsed_fn_signature)
    return False
