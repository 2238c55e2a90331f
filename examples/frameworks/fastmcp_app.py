"""FastMCP.  Run it: uvicorn --app-dir examples/frameworks fastmcp_app:app"""

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_request
from fastmcp.utilities.lifespan import combine_lifespans
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount

from ductape_asgi import DuctapeMiddleware, Sessions, new_access_key, require_role

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")
shop, office = FastMCP("shop"), FastMCP("office")


@shop.custom_route("/sign-in/{name}", methods=["POST"])
async def sign_in(request):
    name = request.path_params["name"]  # Check a password here.
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}
    issued = await sessions.start(tag="user-session", data=data, client=request.scope)
    return JSONResponse({"token": issued.token})


@shop.tool
async def me() -> str:
    return f"you are {get_http_request().state.session.identifier}"


@office.tool
async def admin() -> str:
    return f"hello, {get_http_request().state.session.identifier}"


shop_app, office_app = shop.http_app("/mcp", stateless_http=True), office.http_app("/mcp", stateless_http=True)
routes = [Mount("/office", require_role("admin").wrap(office_app)), Mount("/", shop_app)]
both = Starlette(routes=routes, lifespan=combine_lifespans(shop_app.lifespan, office_app.lifespan))
# 401 tells a client of MCP to sign in.
app = DuctapeMiddleware(both, sessions=sessions, tag="user-session", required=True, exempt=["/sign-in/*"])
