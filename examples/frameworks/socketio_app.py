"""python-socketio.  Run it: uvicorn --app-dir examples/frameworks socketio_app:app"""

import socketio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from ductape_asgi import DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")
# A WebSocket ends with its session.  Polling would be many requests, none of which lasts.
sio = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])


@sio.event
async def connect(sid, environ):
    session = environ["asgi.scope"]["ductape.session"]
    if session is None:
        raise socketio.exceptions.ConnectionRefusedError("sign in first")
    await sio.emit("welcome", f"you are {session.identifier}", to=sid)


async def sign_in(request):
    name = request.path_params["name"]  # Check a password here.
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
    issued = await sessions.start(tag="user-session", data=data, client=request.scope)
    return JSONResponse({"token": issued.token})


async def me(request):
    session = await require_session(request)
    if request.method == "DELETE":  # signs out
        await sessions.revoke(tag="user-session", session_id=session.session_id)
    return PlainTextResponse(f"you are {session.identifier}")


routes = [Route("/sign-in/{name}", sign_in, methods=["POST"]), Route("/me", me, methods=["GET", "DELETE"])]
routes += [Mount("/admin", require_role("admin").wrap(PlainTextResponse("hello")))]
app = DuctapeMiddleware(socketio.ASGIApp(sio, Starlette(routes=routes)), sessions=sessions, tag="user-session")
