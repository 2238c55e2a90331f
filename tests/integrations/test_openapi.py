"""What OpenAPI documents say of sessions: the whole of them, and what becomes of an app's own words."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader
from litestar import Litestar, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from pydantic import BaseModel
from starlette.testclient import TestClient

from ductape_asgi import BodyField, CookiePolicy, Header, Sessions, TagPolicy, new_access_key
from ductape_fastapi import CurrentSession, current_session, install, require_any_role, require_role, require_session
from ductape_litestar import DuctapePlugin

from .documented import DOCUMENTED
from .expectations import expectation, main, served, written

BEARER, COOKIE = {"sessionBearer": []}, {"sessionCookie": []}

pytestmark = pytest.mark.filterwarnings("ignore:.*Inferred dependency field")


@pytest.mark.anyio
@pytest.mark.parametrize("name", DOCUMENTED)
async def test_a_document_is_the_one_that_is_checked_in(name: str) -> None:
    assert written(await served(name)) == expectation(name).read_text()


def test_the_command_writes_what_is_checked_in(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checked_in = [expectation(name).read_text() for name in DOCUMENTED]
    monkeypatch.setattr(sys.modules[main.__module__], "FOLDER", tmp_path / "openapi")
    main()
    assert [expectation(name).read_text() for name in DOCUMENTED] == checked_in


def guarded(app: FastAPI) -> None:
    @app.get("/me")
    async def me(session: CurrentSession) -> None: ...

    @app.get("/role", dependencies=[Depends(require_role("admin"))])
    async def role() -> None: ...


def security(document: dict[str, Any], path: str) -> Any:
    return document["paths"][path]["get"].get("security")


def test_a_guard_of_the_whole_app_stands_before_each_operation(sessions: Sessions) -> None:
    app = FastAPI(dependencies=[Depends(require_session)])
    install(app, sessions=sessions)
    app.get("/")(lambda: None)
    assert security(app.openapi(), "/") == [BEARER, COOKIE]
    with TestClient(app, base_url="https://testserver") as client:
        assert client.get("/").status_code == 401


def test_it_does_not_matter_what_comes_first(sessions: Sessions) -> None:
    before, after = FastAPI(), FastAPI()
    install(before, sessions=sessions)
    router = APIRouter()
    router.get("/routed", dependencies=[Depends(require_session)])(lambda: None)
    for app in (before, after):
        guarded(app)
        app.include_router(router)
    install(after, sessions=sessions)
    assert before.openapi() == after.openapi()
    assert security(before.openapi(), "/routed") == [BEARER, COOKIE]


def test_a_route_that_comes_after_the_first_look_is_told_of_too(sessions: Sessions) -> None:
    app = FastAPI()
    install(app, sessions=sessions)
    app.openapi()
    guarded(app)
    app.openapi_schema = None
    assert security(app.openapi(), "/me") == [BEARER, COOKIE]
    assert app.openapi() is app.openapi()


def of_ones_own(app: FastAPI) -> None:
    """What FastAPI's documentation has people write."""

    def custom() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(title="Mine", version="7", routes=app.routes)
            app.openapi_schema["info"]["x-logo"] = "duck.png"
        return app.openapi_schema

    app.openapi = custom  # type: ignore[method-assign]


@pytest.mark.parametrize("first", ["install", "override"])
def test_an_openapi_of_ones_own_stands_and_tells_of_sessions(sessions: Sessions, first: str) -> None:
    app = FastAPI()
    guarded(app)
    if first == "override":
        of_ones_own(app)
    install(app, sessions=sessions)
    if first == "install":
        of_ones_own(app)
    with TestClient(app, base_url="https://testserver") as client:
        document = client.get("/openapi.json").json()
        assert client.get("/openapi.json").json() == document
    assert document["info"] == {"title": "Mine", "version": "7", "x-logo": "duck.png"}
    assert security(document, "/me") == [BEARER, COOKIE]


def test_an_openapi_that_changes_what_we_say_has_the_last_word(sessions: Sessions) -> None:
    app = FastAPI()
    guarded(app)
    install(app, sessions=sessions)
    ours = app.openapi

    def custom() -> dict[str, Any]:
        document = json.loads(json.dumps(ours()))
        del document["paths"]["/me"]["get"]["security"]
        return dict(document)

    app.openapi = custom  # type: ignore[method-assign]
    with TestClient(app, base_url="https://testserver") as client:
        document = client.get("/openapi.json").json()
    assert security(document, "/me") is None
    assert security(document, "/role") == [{"sessionBearer": ["role:admin"]}, {"sessionCookie": ["role:admin"]}]


def test_installing_twice_says_everything_once(sessions: Sessions) -> None:
    once, twice = FastAPI(), FastAPI()
    for app in (once, twice):
        guarded(app)
        install(app, sessions=sessions)
    install(twice, sessions=sessions)
    assert once.openapi() == twice.openapi()


def test_what_an_app_makes_of_its_document_stays_with_it(sessions: Sessions) -> None:
    first, second = FastAPI(), FastAPI()
    for app in (first, second):
        guarded(app)
        install(app, sessions=sessions)
    before = json.dumps(second.openapi())
    components = first.openapi()["components"]
    components["schemas"]["Problem"]["properties"].clear()
    components["securitySchemes"]["sessionBearer"].clear()
    second.openapi_schema = None
    assert json.dumps(second.openapi()) == before


def test_what_another_dependency_requires_is_required_as_well(sessions: Sessions) -> None:
    app = FastAPI()
    install(app, sessions=sessions)
    key = Security(APIKeyHeader(name="x-key"))
    app.get("/both", dependencies=[key, Depends(require_session)])(lambda: None)
    app.get("/key", dependencies=[key])(lambda: None)
    document = app.openapi()
    assert security(document, "/both") == [{"APIKeyHeader": [], **BEARER}, {"APIKeyHeader": [], **COOKIE}]
    assert security(document, "/key") == [{"APIKeyHeader": []}]


def test_security_that_an_operation_names_itself_stands(sessions: Sessions) -> None:
    app = FastAPI()
    install(app, sessions=sessions)
    app.get("/none", openapi_extra={"security": []}, dependencies=[Depends(require_session)])(lambda: None)
    assert security(app.openapi(), "/none") == []


def test_before_openapi_3_1_no_scopes_are_listed(sessions: Sessions) -> None:
    app = FastAPI()
    app.openapi_version = "3.0.2"
    install(app, sessions=sessions)
    app.get("/any", dependencies=[Depends(require_any_role("a", "b"))])(lambda: None)
    assert security(app.openapi(), "/any") == [BEARER, COOKIE]


def test_a_model_of_the_apps_called_problem_is_left_alone(sessions: Sessions) -> None:
    class Problem(BaseModel):
        mine: int

    app = FastAPI()
    install(app, sessions=sessions)

    @app.get("/", responses={418: {"model": Problem}})
    async def home(session: CurrentSession) -> None: ...

    document = app.openapi()
    assert document["components"]["schemas"]["Problem"]["properties"].keys() == {"mine"}
    content = document["paths"]["/"]["get"]["responses"]["401"]["content"]
    assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/SessionProblem"}}}
    assert "code" in document["components"]["schemas"]["SessionProblem"]["properties"]


def test_what_has_no_scheme_is_refused_all_the_same(sessions: Sessions) -> None:
    app = FastAPI()
    guarded(app)
    install(app, sessions=sessions, credentials=[BodyField("session")])
    for document in (app.openapi(), app.openapi()):
        assert document["components"].get("securitySchemes", {}) == {}
        assert security(document, "/me") is None
        assert document["paths"]["/me"]["get"]["responses"].keys() == {"200", "401", "403", "503"}


def test_two_headers_are_two_schemes(sessions: Sessions) -> None:
    app = FastAPI()
    guarded(app)
    install(app, sessions=sessions, credentials=[Header("x-one"), Header("x-two")])
    schemes = app.openapi()["components"]["securitySchemes"]
    assert [scheme["name"] for scheme in schemes.values()] == ["x-one", "x-two"]
    assert security(app.openapi(), "/me") == [{name: []} for name in schemes]


@pytest.mark.parametrize(("cookies", "name"), [(None, None), (CookiePolicy(name="duck", secure=False), "duck")])
def test_the_cookie_is_the_one_of_the_sessions(cookies: CookiePolicy | None, name: str | None) -> None:
    sessions = Sessions(
        access_key=new_access_key(),
        product="shop",
        env="dev",
        store="memory://",
        tags=[TagPolicy("user-session")],
        cookies=cookies,
    )
    app = FastAPI()
    install(app, sessions=sessions)
    assert app.openapi()["components"]["securitySchemes"].get("sessionCookie", {}).get("name") == name


def test_a_mounted_app_that_installs_as_well_has_a_document_of_its_own(sessions: Sessions) -> None:
    outer, inner = FastAPI(), FastAPI()
    for app in (outer, inner):
        guarded(app)
        install(app, sessions=sessions)
    outer.mount("/inner", inner)
    with TestClient(outer, base_url="https://testserver") as client:
        assert security(client.get("/inner/openapi.json").json(), "/me") == [BEARER, COOKIE]
        assert client.get("/inner/me").json()["code"] == "missing_token"
        assert "/inner/me" not in client.get("/openapi.json").json()["paths"]


def test_the_authorize_button_of_the_docs_page_has_schemes_that_it_knows(sessions: Sessions) -> None:
    app = FastAPI()
    guarded(app)
    install(app, sessions=sessions)
    with TestClient(app, base_url="https://testserver") as client:
        assert "/openapi.json" in client.get("/docs").text
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert [(scheme["type"], scheme.get("scheme"), scheme.get("in")) for scheme in schemes.values()] == [
            ("http", "bearer", None),
            ("apiKey", None, "cookie"),
        ]
        # What the button leads to: the header that it makes of a token opens what has the padlock.
        assert client.portal is not None
        issued = client.portal.call(lambda: sessions.start(tag="user-session", data={"userId": "ann"}))
        assert client.get("/me", headers={"Authorization": f"Bearer {issued.token}"}).status_code == 200


def test_a_scope_of_a_dependency_that_has_nothing_to_do_with_sessions_is_not_listed(sessions: Sessions) -> None:
    app = FastAPI()
    install(app, sessions=sessions)

    async def stranger() -> None: ...

    app.get("/", dependencies=[Security(stranger, scopes=["x"]), Security(current_session, scopes=["y"])])(lambda: None)
    app.get("/open", dependencies=[Security(stranger, scopes=["x"])])(lambda: None)
    assert security(app.openapi(), "/") == [{"sessionBearer": ["y"]}, {"sessionCookie": ["y"]}]
    assert security(app.openapi(), "/open") is None


# Litestar


@get("/me", guards=[require_session])
async def me() -> None: ...


def litestar_document(*plugins: DuctapePlugin, **options: Any) -> Any:
    return Litestar([me], plugins=plugins, **options).openapi_schema.to_schema()


def test_one_litestar_app_does_not_write_into_the_document_of_another(sessions: Sessions) -> None:
    with_plugin = litestar_document(DuctapePlugin(sessions=sessions))
    without = litestar_document()
    header = litestar_document(DuctapePlugin(sessions=sessions, credentials=[Header("x-session")]))
    assert security(with_plugin, "/me") == [BEARER, COOKIE]
    assert security(without, "/me") is None
    assert "securitySchemes" not in without.get("components", {})
    assert security(header, "/me") == [{"sessionHeader": []}]
    assert header["components"]["securitySchemes"].keys() == {"sessionHeader"}


@pytest.mark.parametrize("many", [False, True])
def test_components_of_the_litestar_app_stay(sessions: Sessions, many: bool) -> None:
    components = Components(security_schemes={"key": SecurityScheme("apiKey", name="k", security_scheme_in="query")})
    config = OpenAPIConfig("Shop", "1", components=[components] if many else components)
    document = litestar_document(DuctapePlugin(sessions=sessions), openapi_config=config)
    assert document["components"]["securitySchemes"].keys() == {"key", "sessionBearer", "sessionCookie"}
    assert components.security_schemes is not None
    assert components.security_schemes.keys() == {"key"}


def test_a_litestar_app_without_a_document_works(sessions: Sessions) -> None:
    app = Litestar([me], plugins=[DuctapePlugin(sessions=sessions)], openapi_config=None)
    assert app.openapi_config is None
