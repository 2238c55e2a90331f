"""Falcon.  Run it: uvicorn --app-dir examples/frameworks falcon_app:app"""

import falcon.asgi

from ductape_asgi import DuctapeError, DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")


class SignIn:
    async def on_post(self, req, resp, name):
        # Check a password here.
        data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
        issued = await sessions.start(tag="user-session", data=data, client=req.scope)
        resp.media = {"token": issued.token}


class Me:
    async def on_get(self, req, resp):
        resp.text = f"you are {(await require_session(req)).identifier}"


class Admin:
    async def on_get(self, req, resp):
        resp.text = f"hello, {(await require_role('admin')(req)).identifier}"


async def refused(req, resp, error, params):
    raise falcon.HTTPError(error.status, headers={"WWW-Authenticate": "Bearer"})


shop = falcon.asgi.App()
shop.add_error_handler(DuctapeError, refused)
shop.add_route("/sign-in/{name}", SignIn())
shop.add_route("/me", Me())
shop.add_route("/admin", Admin())
app = DuctapeMiddleware(shop, sessions=sessions, tag="user-session")
