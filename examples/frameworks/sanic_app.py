"""Sanic.  Run it: uvicorn --app-dir examples/frameworks sanic_app:app"""

from sanic import Sanic, empty, json, text

from ductape_asgi import DuctapeError, DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")
shop = Sanic("shop")
app = DuctapeMiddleware(shop, sessions=sessions, tag="user-session")


@shop.exception(DuctapeError)
async def refused(request, error):
    return empty(error.status, {"WWW-Authenticate": "Bearer"})


@shop.post("/sign-in/<name>")
async def sign_in(request, name):
    # Check a password here.
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
    issued = await sessions.start(tag="user-session", data=data, client=request.transport.scope)
    return json({"token": issued.token})


@shop.get("/me")
async def me(request):
    session = await require_session(request.transport)  # Sanic keeps the scope there
    return text(f"you are {session.identifier}")


@shop.get("/admin")
async def admin(request):
    session = await require_role("admin")(request.transport)
    return text(f"hello, {session.identifier}")
