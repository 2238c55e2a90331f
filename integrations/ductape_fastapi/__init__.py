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

from functools import partial
from typing import Annotated, Any, Unpack

from ductape_asgi import (
    DuctapeMiddleware,
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
    from fastapi import Depends, FastAPI
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('ductape_fastapi needs FastAPI: pip install "ductape-asgi[fastapi]"') from error

from ._dependencies import current_session, optional_session
from ._misplaced import refuse_misplaced
from ._openapi import document

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

CurrentSession = Annotated[Session[dict[str, Any]], Depends(current_session)]
OptionalSession = Annotated[Session[dict[str, Any]] | None, Depends(optional_session)]


def install(app: FastAPI, *, sessions: Sessions, **middleware_options: Unpack[MiddlewareOptions]) -> None:
    """Add `DuctapeMiddleware` with these options to `app`, and what they mean to its OpenAPI document.

    The document names the credentials, which operations need one and with which scopes, and how they are refused.
    What it says of sessions already, and an ``app.openapi`` of your own, stand.  A guard that stands where FastAPI
    would not ask it, as the default of a parameter without ``Depends``, fails the start-up.

    Raises:
        ConfigurationError: the options do not fit together.
    """
    wrap = partial(DuctapeMiddleware, sessions=sessions, **middleware_options)
    options = wrap(app).options
    app.add_middleware(DuctapeMiddleware, sessions=sessions, **middleware_options)
    document(app, SessionDocs(options))
    refuse_misplaced(app, wrap)
