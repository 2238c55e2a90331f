"""A user's FastAPI app.  A comment says what the checkers reveal, or that they object."""

from typing import Annotated, Any, reveal_type

from fastapi import Depends, FastAPI, Security, WebSocket
from shop import Shopper, sessions

from ductape_asgi import Session
from ductape_fastapi import CurrentSession, OptionalSession, current_session, install, require_role

app = FastAPI()
install(app, sessions=sessions, tag="user-session", required=True, exempt=["/health"])


@app.get("/visits")
async def visits(session: Annotated[Session[Shopper], Depends(current_session)]) -> int:
    reveal_type(session.data)  # reveals: Shopper
    reveal_type(session.identifier)  # reveals: str | None
    return session.data.visits


@app.get("/admin")
def admin(session: Annotated[Session[Shopper], Depends(require_role("admin"))]) -> str:
    reveal_type(session.data)  # reveals: Shopper
    return session.data.user_id


@app.get("/orders")
def orders(session: Annotated[Session[Shopper], Security(current_session, scopes=["orders:read"])]) -> str:
    return session.data.userid  # objects


@app.get("/plain")
async def plain(session: CurrentSession) -> dict[str, Any]:
    reveal_type(session.data)  # reveals: dict[str, Any]
    return session.data


@app.get("/maybe")
async def maybe(session: OptionalSession) -> str | None:
    if session is None:
        return None
    return session.identifier


@app.websocket("/live")
async def live(socket: WebSocket, session: Annotated[Session[Shopper], Depends(current_session)]) -> None:
    await socket.accept()
    await socket.send_text(session.data.user_id)


app.dependency_overrides[require_role("admin")] = current_session

install(app, sessions=sessions, requird=True)  # objects
install(app, sessions=sessions, required="yes")  # objects
install(app, sessions="sqlite:///")  # objects
install(app)  # objects
require_role(1)  # objects
