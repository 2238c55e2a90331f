"""What `DuctapeMiddleware` lays on the scope, whom it lets through, and how it lives with others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, SimpleUser, requires
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from ductape_asgi import (
    Bearer,
    BodyField,
    ConfigurationError,
    Cookie,
    DuctapeMiddleware,
    ExpiredToken,
    Header,
    InvalidData,
    InvalidToken,
    IssuedSession,
    RevokedSession,
    Session,
    Sessions,
    TagPolicy,
    new_access_key,
)
from tests.asgi_client import App, bearer, call, cookie, handshake, scope_of
from tests.sessions.support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio

KEY = new_access_key()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sessions(clock: Clock) -> AsyncIterator[Sessions]:
    from ductape_asgi.stores.memory import MemoryStore

    store: Any = WatchedStore(MemoryStore())
    async with Sessions(access_key=KEY, product="shop", env="prd", store=store, clock=clock) as sessions:
        yield sessions


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data={**ANN, "role": "admin", "permissions": ["orders:read"]})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def guarded(app: App, sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True)


@pytest.fixture
def open_app(app: App, sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(app, sessions=sessions, tag=TAG)


def store_of(sessions: Sessions) -> WatchedStore:
    store: Any = sessions.worker.store
    return store


# The scope.


async def test_a_session_is_laid_on_the_scope_it_was_given(
    open_app: DuctapeMiddleware, app: App, issued: IssuedSession
) -> None:
    answer = await call(open_app, headers=[bearer(issued.token)])
    assert app.scopes[0] is answer.scope
    session = answer.scope["ductape.session"]
    assert isinstance(session, Session)
    assert session.session_id == issued.session_id
    assert answer.scope["state"]["session"] is session
    assert "ductape.error" not in answer.scope
    assert "session" not in answer.scope


async def test_an_anonymous_request_has_all_the_same_places(open_app: DuctapeMiddleware) -> None:
    scope = (await call(open_app)).scope
    assert scope["ductape.session"] is None
    assert "ductape.error" not in scope
    assert scope["state"]["session"] is None
    assert scope["user"].is_authenticated is False
    assert scope["auth"].scopes == []
    assert "session" not in scope


async def test_a_refused_credential_leaves_its_error(open_app: DuctapeMiddleware) -> None:
    answer = await call(open_app, headers=[bearer("not.a.token")])
    assert answer.status == 200
    assert answer.session is None
    assert isinstance(answer.error, InvalidToken)
    assert answer.scope["user"].is_authenticated is False


async def test_the_error_says_precisely_why(
    open_app: DuctapeMiddleware, sessions: Sessions, issued: IssuedSession, clock: Clock
) -> None:
    other = await sessions.start(tag=TAG, data=ANN)
    await sessions.revoke(tag=TAG, session_id=other.session_id)
    assert isinstance((await call(open_app, headers=[bearer(other.token)])).error, RevokedSession)
    clock.advance(1000)
    assert isinstance((await call(open_app, headers=[bearer(issued.token)])).error, ExpiredToken)


async def test_user_and_auth_speak_starlettes_language(open_app: DuctapeMiddleware, issued: IssuedSession) -> None:
    scope = (await call(open_app, headers=[bearer(issued.token)])).scope
    assert scope["user"].is_authenticated is True
    assert scope["user"].identity == scope["user"].display_name == "ann"
    assert set(scope["auth"].scopes) == {"authenticated", "role:admin", "permission:orders:read"}


@pytest.mark.parametrize("credential", ["none", "bearer", "cookie", "bad"])
async def test_set_user_may_be_switched_off(
    app: App, sessions: Sessions, issued: IssuedSession, credential: str
) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, set_user=False)
    headers = {
        "none": [],
        "bearer": [bearer(issued.token)],
        "cookie": [cookie(issued.token)],
        "bad": [bearer("x")],
    }[credential]
    for _ in range(3):
        scope = (await call(middleware, headers=headers)).scope
        assert "user" not in scope
        assert "auth" not in scope


async def test_the_state_key_is_an_option(app: App, sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, state_key="who")
    for _ in range(3):
        state = (await call(middleware, headers=[bearer(issued.token)])).scope["state"]
        assert state["who"].session_id == issued.session_id
        assert "session" not in state


async def test_what_others_laid_on_scope_and_state_stays(open_app: DuctapeMiddleware, issued: IssuedSession) -> None:
    for headers in ([bearer(issued.token)], [bearer(issued.token)], []):
        state = {"db": object()}
        cart = {"cart": 1}
        scope = scope_of(headers=headers, state=state, session=cart)
        await call(open_app, scope=scope)
        assert scope["state"] is state
        assert set(state) == {"db", "session"}
        assert scope["session"] is cart
        assert cart == {"cart": 1}


@pytest.mark.parametrize("headers", [[], [bearer("bad")]])
async def test_a_foreign_user_is_kept_when_there_is_no_session(open_app: DuctapeMiddleware, headers: Any) -> None:
    user, auth = SimpleUser("basic-bob"), AuthCredentials(["authenticated"])
    scope = (await call(open_app, headers=headers, user=user, auth=auth)).scope
    assert scope["user"] is user
    assert scope["auth"] is auth


async def test_a_foreign_auth_is_kept_when_there_is_no_session(open_app: DuctapeMiddleware) -> None:
    auth = AuthCredentials(["api-key"])
    assert (await call(open_app, auth=auth)).scope["auth"] is auth


async def test_a_session_goes_before_a_foreign_user(open_app: DuctapeMiddleware, issued: IssuedSession) -> None:
    for _ in range(3):
        user, auth = SimpleUser("basic-bob"), AuthCredentials(["foreign"])
        scope = (await call(open_app, headers=[bearer(issued.token)], user=user, auth=auth)).scope
        assert scope["user"].identity == "ann"
        assert "foreign" not in scope["auth"].scopes


async def test_no_handler_can_change_what_the_next_request_sees(
    open_app: DuctapeMiddleware, issued: IssuedSession
) -> None:
    for headers in ([bearer(issued.token)], []):
        for _ in range(3):
            scope = (await call(open_app, headers=headers)).scope
            assert "role:root" not in scope["auth"].scopes
            assert scope["user"].is_authenticated is bool(headers)
            assert "planted" not in scope
            assert set(scope["state"]) == {"session"}
            with suppress(TypeError, AttributeError):
                scope["auth"].scopes.append("role:root")
            with suppress(TypeError, AttributeError):
                scope["auth"].scopes = ["role:root"]
            with suppress(TypeError, AttributeError):
                scope["user"].session = None if headers else object()
            scope["planted"] = scope["state"]["planted"] = True


async def test_a_hit_lays_what_a_miss_laid(open_app: DuctapeMiddleware, issued: IssuedSession) -> None:
    def laid(scope: Any) -> Any:
        ours = {name: scope[name] for name in scope if name.startswith("ductape.")}
        user, auth = scope["user"], scope["auth"]
        return ours, scope["state"], (user.identity, user.is_authenticated), (type(auth), auth.scopes)

    for credential in (bearer(issued.token), cookie(issued.token)):
        miss, hit, again = [laid((await call(open_app, headers=[credential])).scope) for _ in range(3)]
        assert miss == hit == again


async def test_a_hit_costs_no_store_call(
    open_app: DuctapeMiddleware, sessions: Sessions, issued: IssuedSession
) -> None:
    for credential in (bearer(issued.token), cookie(issued.token)):
        await call(open_app, headers=[credential])
        before = store_of(sessions).calls.copy()
        for _ in range(20):
            assert (await call(open_app, headers=[credential])).session.session_id == issued.session_id
        assert store_of(sessions).calls == before


@pytest.mark.parametrize("credential", [bearer, cookie])
async def test_a_hit_ends_with_its_session(
    guarded: DuctapeMiddleware, sessions: Sessions, issued: IssuedSession, credential: Any
) -> None:
    for _ in range(3):
        assert (await call(guarded, headers=[credential(issued.token)])).status == 200
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    for _ in range(3):
        assert (await call(guarded, headers=[credential(issued.token)])).status == 401


@pytest.mark.parametrize("credential", [bearer, cookie])
async def test_a_hit_ends_with_its_token_to_the_second(
    guarded: DuctapeMiddleware, issued: IssuedSession, clock: Clock, credential: Any
) -> None:
    for _ in range(3):
        assert (await call(guarded, headers=[credential(issued.token)])).status == 200
    clock.advance(904)
    for _ in range(2):
        assert (await call(guarded, headers=[credential(issued.token)])).status == 200
    clock.advance(1)
    assert (await call(guarded, headers=[credential(issued.token)])).status == 401


@pytest.mark.parametrize("credential", [bearer, cookie])
async def test_a_hit_shows_updated_data_at_once(
    open_app: DuctapeMiddleware, sessions: Sessions, issued: IssuedSession, credential: Any
) -> None:
    for _ in range(3):
        assert (await call(open_app, headers=[credential(issued.token)])).session.roles == {"admin"}
    await sessions.update(tag=TAG, identifier="ann", data=ANN)
    for _ in range(3):
        answer = await call(open_app, headers=[credential(issued.token)])
        assert answer.session.roles == frozenset()
        assert answer.scope["auth"].scopes == ["authenticated"]


# Starlette's own front door.


def starlette(sessions: Sessions, **options: Any) -> Starlette:
    @requires("role:admin", status_code=403)
    async def admin(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"admin {request.user.identity}")

    @requires("authenticated", status_code=401)
    async def me(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.session.identifier)

    async def anyone(request: Request) -> JSONResponse:
        known = request.state.session
        return JSONResponse({"user": request.user.is_authenticated, "session": known and known.session_id})

    routes = [Route("/admin", admin), Route("/me", me), Route("/", anyone)]
    return Starlette(
        routes=[*routes, Mount("/api", routes=[Route("/admin", admin)])],
        middleware=[Middleware(DuctapeMiddleware, sessions=sessions, tag=TAG, **options)],
    )


async def test_starlettes_requires_works_with_sessions_and_without(sessions: Sessions, issued: IssuedSession) -> None:
    app = starlette(sessions)
    plain = await sessions.start(tag=TAG, data={"userId": "bob"})
    expected = {
        ("/admin", issued.token): 200,
        ("/admin", plain.token): 403,
        ("/admin", None): 403,
        ("/me", plain.token): 200,
        ("/me", None): 401,
        ("/", None): 200,
        ("/api/admin", issued.token): 200,
    }
    for (path, token), status in expected.items():
        for _ in range(2):
            assert (await call(app, path=path, headers=[bearer(token)] if token else [])).status == status


async def test_request_state_and_user_work_for_anonymous_requests(sessions: Sessions) -> None:
    assert (await call(starlette(sessions), path="/")).json() == {"user": False, "session": None}


# required and exempt.


async def test_without_required_everybody_passes(open_app: DuctapeMiddleware, app: App) -> None:
    assert (await call(open_app)).status == 200
    assert (await call(open_app, headers=[bearer("bad")])).status == 200
    assert len(app.scopes) == 2


async def test_with_required_nobody_passes_without_a_session(
    guarded: DuctapeMiddleware, app: App, issued: IssuedSession
) -> None:
    assert (await call(guarded)).status == 401
    assert (await call(guarded, headers=[bearer("bad")])).status == 401
    assert app.scopes == []
    assert (await call(guarded, headers=[bearer(issued.token)])).status == 200


EXEMPT = ["/health", "/auth/*"]


@pytest.mark.parametrize(
    ("path", "root_path", "passes"),
    [
        ("/health", "", True),
        ("/auth", "", True),
        ("/auth/", "", True),
        ("/auth/login", "", True),
        ("/auth/a/b/c", "", True),
        ("/health/", "", False),
        ("/health/x", "", False),
        ("/healthy", "", False),
        ("/Health", "", False),
        ("/authority", "", False),
        ("/x/auth", "", False),
        ("/x/health", "", False),
        ("/", "", False),
        ("", "", False),
        ("//health", "", False),
        ("/auth/..", "", False),
        ("/auth/../admin", "", False),
        ("/auth/./x", "", False),
        ("/auth/x/..", "", False),
        ("/./health", "", False),
        ("/auth/...", "", True),
        ("/auth/..x", "", True),
        ("/app/health", "/app", True),
        ("/app/auth/login", "/app", True),
        ("/app/admin", "/app", False),
        ("/health", "/app", True),
        ("/application/health", "/app", False),
        ("/app/health", "/app/", True),
        ("/app", "/app", False),
        ("/app/../health", "/app", False),
    ],
)
async def test_exempt_paths_are_whole_segments_with_root_path_removed(
    app: App, sessions: Sessions, path: str, root_path: str, passes: bool
) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True, exempt=EXEMPT)
    answer = await call(middleware, path=path, root_path=root_path)
    assert answer.status == (200 if passes else 401)


async def test_on_an_exempt_path_a_session_is_read_if_it_comes(
    app: App, sessions: Sessions, issued: IssuedSession
) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True, exempt=EXEMPT)
    assert (await call(middleware, path="/health", headers=[bearer(issued.token)])).session is not None
    refused = await call(middleware, path="/health", headers=[bearer("bad")])
    assert (refused.status, refused.session) == (200, None)
    assert isinstance(refused.error, InvalidToken)


async def test_everything_may_be_exempt(app: App, sessions: Sessions) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True, exempt=["/*"])
    for path in ("/", "/x", "/x/y"):
        assert (await call(middleware, path=path)).status == 200


# Installed twice.


async def test_installed_again_with_equal_options_it_passes_through(
    app: App, sessions: Sessions, issued: IssuedSession
) -> None:
    options: dict[str, Any] = {"sessions": sessions, "tag": TAG, "required": True, "exempt": ["/health"]}
    nested = DuctapeMiddleware(DuctapeMiddleware(DuctapeMiddleware(app, **options), **options), **options)
    await call(nested, headers=[bearer(issued.token)])
    verifier = sessions.verifier
    asked: list[str | None] = []
    real = verifier.verify

    async def verify(*args: Any, **kwargs: Any) -> Any:
        asked.append(args[2])
        return await real(*args, **kwargs)

    verifier.verify = verify  # type: ignore[method-assign]
    await call(nested, headers=[cookie(issued.token)])
    assert len(asked) == 1
    assert (await call(nested)).status == 401
    assert (await call(nested, path="/health")).status == 200
    assert (await handshake(nested, headers=[bearer(issued.token)])).accepted
    assert len(asked) == 2


@pytest.mark.parametrize("warm", [False, True])
async def test_installed_again_with_another_tag_it_decides_anew(
    app: App, sessions: Sessions, issued: IssuedSession, warm: bool
) -> None:
    nested = DuctapeMiddleware(
        DuctapeMiddleware(app, sessions=sessions, tag="checkout-session"), sessions=sessions, tag=TAG
    )
    checkout = await sessions.start(tag="checkout-session", data={"userId": "bob"})
    for _ in range(3 if warm else 1):
        refused = await call(nested, headers=[bearer(issued.token)])
        assert refused.session is None
        assert refused.scope["state"]["session"] is None
        assert refused.scope["user"].is_authenticated is False
        assert refused.scope["auth"].scopes == []
        assert isinstance(refused.error, InvalidToken)
        taken = await call(nested, headers=[bearer(checkout.token)])
        assert taken.session.identifier == taken.scope["user"].identity == "bob"
        assert taken.error is None


async def test_an_inner_one_may_demand_more(app: App, sessions: Sessions, issued: IssuedSession) -> None:
    inner = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True)
    nested = DuctapeMiddleware(inner, sessions=sessions, tag=TAG)
    assert (await call(nested)).status == 401
    assert app.scopes == []
    for _ in range(3):
        assert (await call(nested, headers=[bearer(issued.token)])).status == 200


async def test_an_inner_one_with_fewer_credentials_decides_by_those(
    app: App, sessions: Sessions, issued: IssuedSession
) -> None:
    inner = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=[Bearer()])
    nested = DuctapeMiddleware(inner, sessions=sessions, tag=TAG)
    for _ in range(3):
        assert (await call(nested, headers=[cookie(issued.token)])).session is None
        assert (await call(nested, headers=[bearer(issued.token)])).session is not None


async def test_an_inner_one_of_other_sessions_decides_by_those(
    app: App, sessions: Sessions, issued: IssuedSession
) -> None:
    async with Sessions(access_key=new_access_key(), product="x", env="y", store="memory://") as others:
        theirs = await others.start(tag=TAG, data={"userId": "eve"})
        nested = DuctapeMiddleware(DuctapeMiddleware(app, sessions=others, tag=TAG), sessions=sessions, tag=TAG)
        for _ in range(3):
            assert (await call(nested, headers=[bearer(issued.token)])).session is None
            assert (await call(nested, headers=[bearer(theirs.token)])).session.identifier == "eve"


async def test_several_tags_may_be_accepted(app: App, sessions: Sessions, issued: IssuedSession) -> None:
    middleware = DuctapeMiddleware(app, sessions=sessions, tag=[TAG, "checkout-session"])
    checkout = await sessions.start(tag="checkout-session", data={"userId": "bob"})
    other = await sessions.start(tag="other", data={"userId": "eve"})
    for _ in range(2):
        assert (await call(middleware, headers=[bearer(issued.token)])).session.tag == TAG
        assert (await call(middleware, headers=[bearer(checkout.token)])).session.tag == "checkout-session"
        assert (await call(middleware, headers=[bearer(other.token)])).session is None


# What is not http or websocket passes untouched.


async def test_an_unknown_kind_of_scope_passes_untouched(open_app: DuctapeMiddleware, app: App) -> None:
    seen: list[Any] = []

    async def exotic(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope))

    scope = {"type": "exotic"}
    await DuctapeMiddleware(exotic, sessions=open_app.options.sessions, tag=TAG)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "exotic"}]


# Options.


def configured(**options: Any) -> DuctapeMiddleware:
    given = {"sessions": Sessions(access_key=KEY, product="shop", env="prd", store="memory://"), "tag": TAG, **options}
    return DuctapeMiddleware(App(), **given)


@pytest.mark.parametrize(
    ("options", "mending"),
    [
        ({"sessions": None}, "Sessions"),
        ({"tag": None}, "tag="),
        ({"tag": ""}, "tag"),
        ({"tag": []}, "tag"),
        ({"tag": 7}, "tag"),
        ({"tag": ["a", "b c"]}, "tag"),
        ({"exempt": "/health"}, "exempt.*list"),
        ({"exempt": ["health"]}, "'health' will not do; a path starts with"),
        ({"required": "no"}, "True or False"),
        ({"set_user": 1}, "True or False"),
        ({"exempt": ["/a*"]}, "exempt"),
        ({"exempt": ["/*/a"]}, "exempt"),
        ({"exempt": [7]}, "exempt"),
        ({"credentials": []}, "Bearer"),
        ({"credentials": ["bearer"]}, "Bearer"),
        ({"credentials": [Bearer]}, "Bearer"),
        ({"allowed_origins": "https://a.test"}, "allowed_origins.*list"),
        ({"allowed_origins": ["a.test"]}, "https://"),
        ({"allowed_origins": ["https://a.test/"]}, "https://"),
        ({"allowed_origins": ["*"]}, "https://"),
        ({"allowed_origins": ["null"]}, "https://"),
        ({"trusted_proxies": ["proxy.test"]}, "10.0.0.0/8"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "10.0.0.0/8"),
        ({"trusted_proxies": None}, "10.0.0.0/8"),
        ({"trusted_proxies": 5}, "10.0.0.0/8"),
        ({"trusted_proxies": [5]}, "10.0.0.0/8"),
        ({"trusted_proxies": [b"abcd"]}, "10.0.0.0/8"),
        ({"trusted_proxies": ""}, "give a list"),
        ({"trusted_proxies": "10.0.0.0/8"}, "give a list"),
        ({"exempt": None}, "give a list"),
        ({"allowed_origins": None}, "give a list"),
        ({"state_key": 5}, "request.state"),
        ({"state_key": ""}, "request.state"),
    ],
    ids=repr,
)
def test_bad_options_are_refused_when_built(options: dict[str, Any], mending: str) -> None:
    with pytest.raises(ConfigurationError, match=mending):
        configured(**options)


def test_a_publishable_key_is_refused_when_built() -> None:
    key = Sessions(access_key=KEY, product="shop", env="prd", store="memory://").publishable_key
    with pytest.raises(Exception, match="access_key") as caught:
        configured(sessions=Sessions(publishable_key=key))
    assert caught.value.code == "publishable_key_error"  # type: ignore[attr-defined]


def test_the_tag_may_be_left_out_when_there_is_exactly_one() -> None:
    def made(*tags: TagPolicy) -> Sessions:
        return Sessions(access_key=KEY, product="shop", env="prd", store="memory://", tags=tags)

    assert configured(sessions=made(TagPolicy("only")), tag=None).options.tags == ("only",)
    with pytest.raises(ConfigurationError, match="tag="):
        configured(sessions=made(TagPolicy("a"), TagPolicy("b")), tag=None)
    with pytest.raises(ConfigurationError, match="configured"):
        configured(sessions=made(TagPolicy("a")), tag="b")


@pytest.mark.parametrize("name", ["", "authorization", "Cookie", "x y", "x\n", 7])
def test_a_header_credential_needs_a_name_of_its_own(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="Header"):
        Header(name)


@pytest.mark.parametrize(("name", "limit"), [("", 10), (7, 10), ("session", 0), ("session", "10"), ("session", True)])
def test_a_body_field_needs_a_name_and_a_limit(name: Any, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="BodyField"):
        BodyField(name, limit)


def test_equal_options_are_equal() -> None:
    sessions = Sessions(access_key=KEY, product="shop", env="prd", store="memory://")
    given: list[dict[str, Any]] = [
        {"credentials": [Bearer(), Cookie()], "exempt": ["/a"], "allowed_origins": ["https://a.test"]},
        {"credentials": (Cookie(), Bearer()), "exempt": ("/a",), "allowed_origins": ("https://a.test",)},
    ]
    one, two = [configured(sessions=sessions, **options).options for options in given]
    assert one == two
    for other in ({"required": True}, {"state_key": "x"}, {"set_user": False}, {"credentials": [Bearer()]}):
        assert configured(sessions=sessions, **{**given[0], **other}).options != one


async def test_an_error_of_ours_that_leaves_the_app_is_answered(sessions: Sessions) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise InvalidData("email is taken")

    answer = await call(DuctapeMiddleware(app, sessions=sessions, tag=TAG))
    assert (answer.status, answer.json()["code"]) == (422, "invalid_data")


async def test_an_error_of_ours_after_the_response_started_is_raised_on(
    sessions: Sessions, issued: IssuedSession
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise InvalidData("too late")

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG)
    for headers in ([], [bearer(issued.token)], [bearer(issued.token)]):
        with pytest.raises(InvalidData, match="too late"):
            await call(middleware, headers=headers)


async def test_errors_that_are_not_ours_are_none_of_our_business(sessions: Sessions, issued: IssuedSession) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    middleware = DuctapeMiddleware(app, sessions=sessions, tag=TAG, required=True)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await call(middleware, headers=[bearer(issued.token)])


async def test_what_one_installation_has_verified_is_a_plain_hit_of_its_equals(
    sessions: Sessions, issued: IssuedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Litestar makes a middleware for each handler."""
    one, equal = (DuctapeMiddleware(App(), sessions=sessions, tag=TAG) for _ in range(2))
    other = DuctapeMiddleware(App(), sessions=sessions, tag=TAG, required=True)
    assert (await call(one, headers=[bearer(issued.token)])).session is not None
    decided: list[Any] = []
    for middleware in (equal, other):
        monkeypatch.setattr(middleware, "_decide", _noting(middleware._decide, decided))
        assert (await call(middleware, headers=[bearer(issued.token)])).session is not None
    assert len(decided) == 1


def _noting(decide: Any, decided: list[Any]) -> Any:
    async def noted(*args: Any) -> None:
        decided.append(args)
        await decide(*args)

    return noted
