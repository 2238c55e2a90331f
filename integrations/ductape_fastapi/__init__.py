"""ductape-asgi in FastAPI: one line to install, and the session as a dependency.

```python
app = FastAPI()
install(app, sessions=sessions, tag="user-session")


@app.get("/me")
async def me(session: CurrentSession) -> dict[str, Any]:
    return session.data


@app.get("/admin", dependencies=[Depends(require_role("admin"))])
async def admin() -> str:
    return "hello"
```
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Unpack

from ductape_asgi import (
    Bearer,
    Cookie,
    DuctapeMiddleware,
    Header,
    MiddlewareOptions,
    Session,
    Sessions,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)

try:
    from fastapi import Depends, FastAPI
    from fastapi.requests import HTTPConnection
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('ductape_fastapi needs FastAPI: pip install "ductape-asgi[fastapi]"') from error

__all__ = [
    "CurrentSession",
    "OptionalSession",
    "current_session",
    "install",
    "optional_session",
    "require_any_role",
    "require_permission",
    "require_recent_auth",
    "require_role",
    "require_session",
]


def install(app: FastAPI, *, sessions: Sessions, **middleware_options: Unpack[MiddlewareOptions]) -> None:
    """Add `DuctapeMiddleware` with these options to `app`, and its credentials to the OpenAPI document.

    Raises:
        ConfigurationError: when the app starts, if the options do not fit together.
    """
    app.add_middleware(DuctapeMiddleware, sessions=sessions, **middleware_options)
    schemes = _schemes(sessions, middleware_options.get("credentials", (Bearer(), Cookie())))
    optional: list[dict[str, list[str]]] = [] if middleware_options.get("required") else [{}]
    undocumented = app.openapi

    def documented() -> dict[str, Any]:
        document = undocumented()
        document.setdefault("components", {}).setdefault("securitySchemes", {}).update(schemes)
        document.setdefault("security", [*optional, *({name: []} for name in schemes)])
        return document

    app.openapi = documented  # type: ignore[method-assign]


def _schemes(sessions: Sessions, credentials: Iterable[object]) -> dict[str, dict[str, str]]:
    """OpenAPI security schemes; a token in a body has none."""
    schemes: dict[str, dict[str, str]] = {}
    for credential in credentials:
        if isinstance(credential, Bearer):
            schemes["sessionBearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        elif isinstance(credential, Cookie) and sessions.cookies is not None:
            schemes["sessionCookie"] = {"type": "apiKey", "in": "cookie", "name": sessions.cookies.access_name}
        elif isinstance(credential, Header):
            schemes["sessionHeader"] = {"type": "apiKey", "in": "header", "name": credential.name}
    return schemes


async def current_session(connection: HTTPConnection) -> Session[Any]:
    """The verified session of this request or WebSocket, as a dependency.

    Raises:
        SessionError: there is none; answered as 401.
        ConfigurationError: the app has no `DuctapeMiddleware`.
    """
    session: Session[Any] = await require_session(connection)
    return session


async def optional_session(connection: HTTPConnection) -> Session[Any] | None:
    """The verified session of this request or WebSocket, or None.

    Raises:
        ConfigurationError: the app has no `DuctapeMiddleware`.
    """
    if "ductape.session" not in connection.scope:
        return require_session.check_scope(connection.scope)  # which says what is missing
    session: Session[Any] | None = connection.scope["ductape.session"]
    return session


CurrentSession = Annotated[Session[dict[str, Any]], Depends(current_session)]
OptionalSession = Annotated[Session[dict[str, Any]] | None, Depends(optional_session)]
