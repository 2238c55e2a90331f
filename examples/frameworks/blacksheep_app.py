"""BlackSheep.  Run it: uvicorn --app-dir examples/frameworks blacksheep_app:app"""

from blacksheep import Application, Request, Response, json, text

from ductape_asgi import DuctapeError, DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")
shop = Application()
app = DuctapeMiddleware(shop, sessions=sessions, tag="user-session")


@shop.exception_handler(DuctapeError)
async def refused(self, request: Request, error: DuctapeError):
    return Response(error.status, [(b"WWW-Authenticate", b"Bearer")])


@shop.router.post("/sign-in/{name}")
async def sign_in(request: Request, name: str):
    # Check a password here.
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
    issued = await sessions.start(tag="user-session", data=data, client=request.scope)
    return json({"token": issued.token})


@shop.router.get("/me")
async def me(request: Request):
    session = await require_session(request)
    return text(f"you are {session.identifier}")


@shop.router.get("/admin")
async def admin(request: Request):
    session = await require_role("admin")(request)
    return text(f"hello, {session.identifier}")
