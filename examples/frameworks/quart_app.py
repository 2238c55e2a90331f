"""Quart.  Run it: uvicorn --app-dir examples/frameworks quart_app:app"""

from quart import Quart, request

from ductape_asgi import DuctapeError, DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")
app = Quart(__name__)
app.asgi_app = DuctapeMiddleware(app.asgi_app, sessions=sessions, tag="user-session")


@app.errorhandler(DuctapeError)
async def refused(error):
    return "", error.status, {"WWW-Authenticate": "Bearer"}


@app.post("/sign-in/<name>")
async def sign_in(name):
    # Check a password here.
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
    issued = await sessions.start(tag="user-session", data=data, client=request.scope)
    return {"token": issued.token}


@app.get("/me")
async def me():
    session = await require_session(request)
    return f"you are {session.identifier}"


@app.get("/admin")
async def admin():
    session = await require_role("admin")(request)
    return f"hello, {session.identifier}"
