"""A user's ASGI app without a framework.  A comment says what the checkers reveal, or that they object."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, reveal_type

from shop import Shopper, sessions

from ductape_asgi import DuctapeMiddleware, Session, require_permission


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    session: Session[Shopper] | None = scope["ductape.session"]
    if session is not None:
        reveal_type(session.data)  # reveals: Shopper
        scope["user_id"] = session.data.userid  # objects


guarded = DuctapeMiddleware(require_permission("write").wrap(app), sessions=sessions, tag="user-session")

DuctapeMiddleware(app, sessions=sessions, requird=True)  # objects
DuctapeMiddleware(app, sessions=sessions, exempt=[1])  # objects
