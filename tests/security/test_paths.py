"""X1, X2 and W4: which requests need a session, whom we believe, and what is not ours."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ductape_asgi import DuctapeMiddleware

from .asgi import App, assert_shut, bearer, call, http_scope
from .forge import TAG, Forge

pytestmark = pytest.mark.anyio


# -- X1: exempt paths --------------------------------------------------------------------------------------------------

NOT_EXEMPT = {
    "X1-dot-dot": "/public/../admin",
    "X1-dot": "/public/./x",
    "X1-dot-dot-at-the-end": "/public/..",
    "X1-dot-at-the-end": "/health/.",
    "X1-double-slash": "//public/x",
    "X1-double-slash-and-dots": "//public/../admin",
    "X1-case": "/Public/x",
    "X1-case-of-the-exact-one": "/HEALTH",
    "X1-longer-word": "/publicity",
    "X1-longer-exact": "/healthz",
    "X1-below-the-exact-one": "/health/x",
    "X1-trailing-slash": "/health/",
    "X1-inside": "/admin/public/x",
    "X1-suffix": "/admin;/public/x",
    "X1-matrix": "/health;x=y",
    "X1-blank": "/health ",
    "X1-NUL": "/health\0",
    "X1-newline": "/health\n",
    "X1-backslash": "\\public\\x",
    "X1-query-in-the-path": "/admin?/public/x",
    "X1-fragment": "/admin#/public/x",
    "X1-userinfo": "@evil.test/public/x",  # CVE-2026-54282
    "X1-absolute": "http://shop.test/public/x",
    "X1-no-slash": "public/x",
    "X1-empty": "",
    "X1-fullwidth": "/\uff50ublic/x",
}


@pytest.mark.parametrize("path", NOT_EXEMPT.values(), ids=NOT_EXEMPT)
async def test_a_path_that_only_looks_exempt_demands_a_session(door: DuctapeMiddleware, app: App, path: str) -> None:
    """Also those that some server, proxy or router behind us might fold into another path."""
    assert_shut(await call(door, path=path), app)


@pytest.mark.parametrize(
    "path", ["/health", "/public", "/public/", "/public/x", "/public/a/b.c/..d"], ids="X1-{}".format
)
async def test_exempt_paths_demand_none(door: DuctapeMiddleware, path: str) -> None:
    assert (await call(door, path=path)).status == 200


async def test_x1_a_poisoned_host_header_exempts_nothing(door: DuctapeMiddleware, app: App) -> None:
    """CVE-2026-48710: the path of a URL that was put together from the Host header."""
    for host in (b"a/../public/x?", b"shop.test/public/x?", b"shop.test/public/x#", b"@evil/health?"):
        scope = http_scope(path="/admin")
        scope["headers"] = [(b"host", host)]
        outbox: list[dict[str, Any]] = []

        async def send(message: dict[str, Any], outbox: list[dict[str, Any]] = outbox) -> None:
            outbox.append(message)

        await door(scope, lambda: None, send)
        assert outbox[0]["status"] == 401
    assert app.scopes == []


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/app", "/app/public/x", 200),
        ("/app", "/app/health", 200),
        ("/app", "/app/admin", 401),
        ("/app", "/application/health", 401),
        ("/public", "/public/admin", 401),
        ("/public", "/public/public/x", 200),
        ("/health", "/health", 401),
        ("/app", "/app/public/../admin", 401),
        ("/app", "/public/x", 200),
        ("/app", "/public/app/admin", 401),
        ("/app", "/public/appadmin", 401),
        ("/app/", "/public/app/admin", 401),
        ("/app", "/app/public/app/x", 200),
        (None, "/public/x", 200),
        ("", "/app/health", 401),
    ],
)
async def test_x1_exempt_paths_are_compared_without_the_root_path(
    door: DuctapeMiddleware, root_path: str | None, path: str, status: int
) -> None:
    """As ASGI has it, `path` includes `root_path`."""
    assert (await call(door, root_path=root_path, path=path)).status == status


async def test_x1_a_forwarded_path_header_exempts_nothing(door: DuctapeMiddleware, app: App) -> None:
    for name in (b"x-forwarded-uri", b"x-original-url", b"x-rewrite-url", b"x-forwarded-prefix"):
        assert_shut(await call(door, path="/admin", headers=[(name, b"/public/x")]), app)


# -- X2: headers that pretend ------------------------------------------------------------------------------------------

PRETENCES = [
    b"x-user-id",
    b"x-user",
    b"x-session",
    b"x-session-id",
    b"x-session-user",
    b"x-remote-user",
    b"x-ductape-session",
    b"ductape.session",
    b"x-forwarded-user",
    b"x-auth-request-user",
    b"session",
    b"token",
    b"x-authorization",
    b"proxy-authorization",
]


@pytest.mark.parametrize("name", PRETENCES, ids="X2-{!r}".format)
async def test_a_header_that_pretends_to_know_the_user_is_not_believed(
    door: DuctapeMiddleware, app: App, forge: Forge, name: bytes
) -> None:
    for value in (b"ann", b"admin", forge.issued.session_id.encode(), b"Bearer " + forge.token.encode()):
        assert_shut(await call(door, headers=[(name, value)]), app)


async def test_x2_a_session_that_something_else_put_on_the_scope_is_not_believed(app: App, forge: Forge) -> None:
    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True)
    session = await forge.sessions.verify(tag=TAG, token=forge.token)
    scope = http_scope() | {"ductape.session": session, "state": {"session": session}}
    outbox: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        outbox.append(message)

    await door(scope, lambda: None, send)

    assert outbox[0]["status"] == 401
    assert app.scopes == []


# -- W4: not ours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["webtransport", "raw", "http.request", "", "HTTP"], ids="W4-{}".format)
async def test_an_unknown_scope_type_passes_through_untouched(forge: Forge, kind: str) -> None:
    seen: list[Any] = []

    async def app(*message: Any) -> None:
        seen.extend(message)

    async def receive() -> None: ...

    async def send(message: Any) -> None: ...

    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True)
    scope = {"type": kind, "anything": ["at", "all"], "headers": [bearer(forge.token)]}
    before = copy.deepcopy(scope)

    await door(scope, receive, send)

    assert seen[0] is scope
    assert seen[1:] == [receive, send]
    assert scope == before


async def test_w4_the_lifespan_reaches_the_app_with_its_state(forge: Forge) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["pool"] = "a pool"
        for _ in range(2):
            message = await receive()
            seen.append(message["type"])
            await send({"type": message["type"] + ".complete"})

    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True)
    inbox = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    outbox: list[Any] = []
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}

    async def receive() -> dict[str, Any]:
        return inbox.pop()

    async def send(message: Any) -> None:
        outbox.append(message)

    await door(scope, receive, send)

    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    assert [message["type"] for message in outbox] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert scope["state"]["pool"] == "a pool"
    assert "ductape.session" not in scope
    assert json.dumps(scope["state"]) == '{"pool": "a pool"}'
