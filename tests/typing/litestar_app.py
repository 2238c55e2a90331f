"""A user's Litestar app.  A comment says what the checkers reveal, or that they object."""

from typing import reveal_type

from litestar import Litestar, get, websocket
from litestar.connection import WebSocket
from litestar.datastructures import State
from shop import Shopper, sessions

from ductape_asgi import Session
from ductape_litestar import DuctapePlugin, require_any_role, require_recent_auth, require_role, require_session


@get("/visits")
async def visits(session: Session[Shopper]) -> int:
    reveal_type(session.data)  # reveals: Shopper
    return session.data.visits


@get("/maybe")
async def maybe(session: Session[Shopper] | None) -> str | None:
    if session is None:
        return None
    reveal_type(session.data)  # reveals: Shopper
    return session.data.userid  # objects


@get("/admin", guards=[require_role("admin"), require_recent_auth(300)])
async def admin() -> str:
    return "admin"


@websocket("/live", guards=[require_session])
async def live(socket: WebSocket[object, object, State], session: Session[Shopper]) -> None:
    await socket.accept()
    await socket.send_text(session.data.user_id)


plugin = DuctapePlugin(sessions=sessions, tag="user-session", required=True, exclude_opt_key="open")
app = Litestar([visits, maybe, admin, live], plugins=[plugin], guards=[require_any_role("admin", "clerk")])

DuctapePlugin(sessions=sessions, requird=True)  # objects
DuctapePlugin(sessions=sessions, exempt="/health", required="yes")  # objects
DuctapePlugin(sessions="sqlite:///")  # objects
DuctapePlugin()  # objects
