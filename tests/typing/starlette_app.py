"""A user's Starlette app.  A comment says what the checkers reveal, or that they object."""

from typing import reveal_type

from shop import Shopper, sessions
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ductape_asgi import DuctapeMiddleware, Session, require_role


async def visits(request: Request) -> PlainTextResponse:
    session: Session[Shopper] = require_role("admin").check_scope(request.scope)
    reveal_type(session.data)  # reveals: Shopper
    return PlainTextResponse(session.data.userid)  # objects


app = Starlette(
    routes=[Route("/visits", visits)],
    middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag="user-session")],
)
app.add_middleware(DuctapeMiddleware, sessions=sessions, required=True, exempt=["/health"])

app.add_middleware(DuctapeMiddleware, sessions=sessions, requird=True)  # objects
app.add_middleware(DuctapeMiddleware, sessions=sessions, required="yes")  # objects
Middleware(DuctapeMiddleware, sessions=sessions, requird=True)  # objects
