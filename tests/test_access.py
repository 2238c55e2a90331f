"""The five guards, as values and in plain ASGI."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ductape_asgi import (
    AccessDenied,
    ConfigurationError,
    DuctapeMiddleware,
    InvalidToken,
    MissingToken,
    Realm,
    Session,
    Sessions,
    StepUpRequired,
    new_access_key,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)
from ductape_asgi.access import guards_for
from tests.asgi_client import App, call

NOW = 1_800_000_000.0


def session(roles: Any = (), permissions: Any = (), auth_time: float = NOW) -> Session[Any]:
    when = datetime.fromtimestamp(auth_time, UTC)
    return Session(
        session_id="s",
        tag="user-session",
        identifier="ann",
        realm=Realm("shop", "prd"),
        data={},
        roles=roles,
        permissions=permissions,
        issued_at=when,
        expires_at=when,
        auth_time=when,
    )


def test_require_session_takes_any_session() -> None:
    mine = session()
    assert require_session.check(mine) is mine


@pytest.mark.parametrize(
    "guard",
    [require_session, require_role("a"), require_any_role("a"), require_permission("a"), require_recent_auth(60)],
    ids=repr,
)
def test_no_session_is_missing_for_every_guard(guard: Any) -> None:
    with pytest.raises(MissingToken):
        guard.check(None)


@pytest.mark.parametrize(
    ("guard", "roles", "permissions", "passes"),
    [
        (require_role("admin"), ["admin"], [], True),
        (require_role("admin"), ["admin", "user"], [], True),
        (require_role("admin"), ["user"], [], False),
        (require_role("admin"), ["Admin"], [], False),
        (require_role("admin"), [], ["admin"], False),
        (require_role("admin"), [], [], False),
        (require_any_role("admin", "owner"), ["owner"], [], True),
        (require_any_role("admin", "owner"), ["user"], [], False),
        (require_permission("read"), [], ["read", "write"], True),
        (require_permission("read", "write"), [], ["write", "read"], True),
        (require_permission("read", "write"), [], ["read"], False),
        (require_permission("read"), ["read"], [], False),
        (require_permission("re"), [], ["read"], False),
    ],
)
def test_roles_and_permissions(guard: Any, roles: list[str], permissions: list[str], passes: bool) -> None:
    mine = session(roles, permissions)
    if passes:
        assert guard.check(mine) is mine
    else:
        with pytest.raises(AccessDenied) as caught:
            guard.check(mine)
        assert caught.value.status == 403
        assert caught.value.required


def test_a_sign_in_is_recent_to_the_second() -> None:
    guard = require_recent_auth(300)
    assert guard == require_recent_auth("5m")
    mine = session(auth_time=NOW - 300)
    assert guard.check(mine, now=NOW) is mine
    with pytest.raises(StepUpRequired) as caught:
        guard.check(mine, now=NOW + 1)
    assert caught.value.max_age == 300
    assert caught.value.status == 401


def test_equal_arguments_give_equal_hashable_guards() -> None:
    makers: list[Any] = [
        lambda: require_role("a"),
        lambda: require_any_role("a", "b"),
        lambda: require_permission("a", "b"),
        lambda: require_recent_auth(60),
        lambda: require_session,
    ]
    guards = [make() for make in makers]
    assert [make() for make in makers] == guards
    assert len({*guards, *(make() for make in makers)}) == len(makers)
    assert require_any_role("a", "b") == require_any_role("b", "a")
    assert require_permission("a") != require_role("a")
    assert require_role("a") == require_any_role("a")


@pytest.mark.parametrize(
    ("scope", "guard"),
    [
        ("authenticated", require_session),
        ("role:admin", require_role("admin")),
        ("role:a:b", require_role("a:b")),
        ("permission:write", require_permission("write")),
        ("permission:role:admin", require_permission("role:admin")),
        ("write", require_permission("write")),
        ("orders:read", require_permission("orders:read")),
        ("Role:admin", require_permission("Role:admin")),
        ("admin", require_permission("admin")),
    ],
)
def test_the_name_of_a_scope_stands_for_a_guard(scope: str, guard: Any) -> None:
    assert guards_for((scope,)) == (guard,)
    assert guards_for((scope, "x")) == (guard, require_permission("x"))


@pytest.mark.parametrize("scope", ["", "role:", "permission:"])
def test_a_scope_that_names_nothing_is_a_configuration_error(scope: str) -> None:
    with pytest.raises(ConfigurationError):
        guards_for((scope,))


@pytest.mark.anyio
async def test_a_guard_called_with_scopes_demands_them_as_well() -> None:
    connection = HTTPConnection(scope_with(session(["admin"])))
    asked = SimpleNamespace(scopes=["role:admin"])
    assert await require_session(connection, security_scopes=asked) is connection.scope["ductape.session"]
    asked.scopes.append("write")
    with pytest.raises(AccessDenied) as caught:
        await require_session(connection, security_scopes=asked)
    assert caught.value.required == ("permission:write",)
    assert connection.scope["ductape.denied"] is caught.value


def test_a_guard_tells_which_scopes_meet_its_demand() -> None:
    assert require_any_role("a", "b").alternatives() == [{"role:a"}, {"role:b"}]
    assert require_permission("a", "b").alternatives() == [{"permission:a", "permission:b"}]
    assert require_session.alternatives() == require_recent_auth(60).alternatives() == [frozenset()]


def test_guards_are_values() -> None:
    guard = require_permission("a", "b")
    assert copy.deepcopy(guard) == guard
    assert pickle.loads(pickle.dumps(guard)) == guard
    with pytest.raises(AttributeError):
        guard.names = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    "make",
    [
        lambda: require_role(""),
        lambda: require_role(None),  # type: ignore[arg-type]
        lambda: require_any_role(),
        lambda: require_any_role("a", ""),
        lambda: require_permission(),
        lambda: require_permission(["a"]),  # type: ignore[arg-type]
        lambda: require_recent_auth(0),
        lambda: require_recent_auth(True),
        lambda: require_recent_auth(1.5),  # type: ignore[arg-type]
        lambda: require_recent_auth("soon"),
    ],
)
def test_a_guard_of_nothing_is_a_configuration_error(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize("make", [require_role, require_any_role, require_permission])
@pytest.mark.parametrize("name", ["", ["admin"]])
def test_a_guard_of_no_name_says_how_it_is_written(make: Any, name: Any) -> None:
    with pytest.raises(ConfigurationError, match=f'^{make.__name__} takes names, .*: {make.__name__}\\("admin"\\)$'):
        make(name)


def scope_with(found: Session[Any] | None, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "headers": [],
        "ductape.session": found,
        "ductape.options": SimpleNamespace(clock=lambda: NOW),
        **more,
    }


@pytest.mark.anyio
async def test_a_guard_called_with_a_connection_answers_its_session() -> None:
    mine = session(["admin"])
    assert await require_role("admin")(HTTPConnection(scope_with(mine))) is mine
    assert await require_session(HTTPConnection(scope_with(mine)), object()) is mine


def test_a_guard_goes_by_the_clock_of_the_sessions() -> None:
    mine = session(auth_time=NOW - 60)
    assert require_recent_auth(60).check_scope(scope_with(mine)) is mine
    with pytest.raises(StepUpRequired):
        require_recent_auth(59).check_scope(scope_with(mine))


def test_without_a_session_a_guard_tells_why_the_credential_was_refused() -> None:
    error = InvalidToken("the signature does not hold")
    with pytest.raises(InvalidToken, match="signature"):
        require_session.check_scope({**scope_with(None), "ductape.error": error})
    with pytest.raises(MissingToken):
        require_session.check_scope(scope_with(None))


def test_no_middleware_is_a_configuration_error_that_says_what_to_add() -> None:
    with pytest.raises(ConfigurationError, match="DuctapeMiddleware"):
        require_session.check_scope({"type": "http", "headers": []})


@pytest.mark.anyio
async def test_a_wrapped_app_runs_only_for_whom_passes() -> None:
    app = App()
    guarded = require_role("admin").wrap(app)
    await call(guarded, scope=scope_with(session(["admin"])))
    assert len(app.scopes) == 1
    with pytest.raises(AccessDenied):
        await call(guarded, scope=scope_with(session()))
    assert len(app.scopes) == 1


@pytest.mark.anyio
async def test_a_wrapped_app_keeps_its_lifespan() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await require_role("admin").wrap(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


@pytest.mark.parametrize("make", [require_role, require_any_role, require_permission, require_recent_auth])
def test_fastapi_refuses_to_take_a_maker_of_guards_for_a_guard(make: Any) -> None:
    """Without the call, the role would be read from the query, and everybody would be let in."""
    app = FastAPI()
    with pytest.raises(Exception, match="write Depends\\(require_"):
        app.get("/secret", dependencies=[Depends(make)])(lambda: "secret")


def test_a_guarded_app_stands_in_starlettes_routes() -> None:
    """Starlette takes a function for a handler of requests, and anything else for an app."""
    sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")
    app = Starlette(routes=[Route("/admin", require_role("admin").wrap(PlainTextResponse("hello")))])
    app.add_middleware(DuctapeMiddleware, sessions=sessions, tag="user-session")
    with TestClient(app) as client:
        assert client.get("/admin").status_code == 401
        assert client.portal is not None
        start = partial(sessions.start, tag="user-session", data={"userId": "a", "role": "admin"})
        issued = client.portal.call(start)
        assert client.get("/admin", headers={"Authorization": f"Bearer {issued.token}"}).text == "hello"
