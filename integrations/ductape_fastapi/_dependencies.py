"""The session as a dependency.

Nothing here defers its annotations: FastAPI reads them.
"""

from typing import Any

from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes

from ductape_asgi import Session, require_session


async def current_session(connection: HTTPConnection, security_scopes: SecurityScopes) -> Session[Any]:
    """The verified session of this request or WebSocket, as a dependency.

    With ``Security(current_session, scopes=["role:admin", "orders:read"])`` it must have these rights as well: roles
    are written ``role:<name>``; permissions ``permission:<name>``, or plainly by a name without such a prefix.

    Raises:
        SessionError: there is none; answered as 401.
        AccessDenied: it lacks a scope; answered as 403.
        ConfigurationError: the app has no `DuctapeMiddleware`.
    """
    session: Session[Any] = await require_session(connection, security_scopes=security_scopes)
    return session


async def optional_session(connection: HTTPConnection, security_scopes: SecurityScopes) -> Session[Any] | None:
    """The verified session of this request or WebSocket, or None.

    With scopes it is not optional any more: who has no session does not have them either.

    Raises:
        SessionError: scopes are asked for, and there is no session; answered as 401.
        AccessDenied: it lacks a scope; answered as 403.
        ConfigurationError: the app has no `DuctapeMiddleware`.
    """
    if "ductape.session" not in connection.scope or security_scopes.scopes:
        return await current_session(connection, security_scopes)
    session: Session[Any] | None = connection.scope["ductape.session"]
    return session
