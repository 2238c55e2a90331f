"""Strawberry.  Run it: uvicorn --app-dir examples/frameworks strawberry_app:app"""

import strawberry
from strawberry.asgi import GraphQL

from ductape_asgi import DuctapeError, DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")


async def demand(guard, info):
    try:
        return await guard(info.context["request"])
    except DuctapeError as error:
        # The other fields of a query are answered; the status says what this one lacks.
        info.context["response"].status_code = error.status
        raise


@strawberry.type
class Query:
    @strawberry.field
    async def me(self, info: strawberry.Info) -> str:
        return f"you are {(await demand(require_session, info)).identifier}"

    @strawberry.field
    async def admin(self, info: strawberry.Info) -> str:
        return f"hello, {(await demand(require_role('admin'), info)).identifier}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def sign_in(self, info: strawberry.Info, name: str) -> str:
        data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}  # Check a password here.
        return (await sessions.start(tag="user-session", data=data)).token


app = DuctapeMiddleware(GraphQL(strawberry.Schema(Query, Mutation)), sessions=sessions, tag="user-session")
