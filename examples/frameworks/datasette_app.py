"""Datasette.  Run it: uvicorn --app-dir examples/frameworks datasette_app:app"""

import sys

from datasette import Response, hookimpl
from datasette.app import Datasette, pm

from ductape_asgi import DuctapeMiddleware, Sessions, new_access_key

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")


@hookimpl
def actor_from_request(request):
    session = request.scope["ductape.session"]
    return {"id": session.identifier, "roles": sorted(session.roles)} if session else None


@hookimpl
def forbidden(request):
    sign_in_first = Response.text("Sign in to use this.", 401, {"WWW-Authenticate": "Bearer"})
    return sign_in_first if request.actor is None else None  # its own answer, 403


async def sign_in(request):
    name = request.url_vars["name"]  # Check a password here.
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
    issued = await sessions.start(tag="user-session", data=data, client=request.scope)
    return Response.json({"token": issued.token})


@hookimpl
def register_routes():
    return [(r"^/sign-in/(?P<name>\w+)$", sign_in)]


pm.register(sys.modules[__name__])
allowed = {"allow": {"id": "*"}, "databases": {"_memory": {"allow": {"roles": ["admin"]}}}}
app = DuctapeMiddleware(Datasette(memory=True, metadata=allowed).app(), sessions=sessions, tag="user-session")
