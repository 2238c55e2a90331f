"""A session for every request, whatever it carries."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from ductape_asgi import (
    BodyField,
    ConfigurationError,
    Cookie,
    DuctapeMiddleware,
    Header,
    Sessions,
    TagPolicy,
    new_access_key,
)
from ductape_asgi.testing import SessionClock, override_session

from .apps import APPS, TAG, plain_app, starlette_app

HOME = "https://testserver"

pytestmark = pytest.mark.filterwarnings("ignore:.*Inferred dependency field")  # by Litestar, of the short form


@pytest.fixture(params=sorted(APPS))
def app(request: pytest.FixtureRequest, sessions: Sessions) -> Any:
    return APPS[request.param](sessions, required=True)


def test_an_app_is_overridden_while_it_lasts(app: Any) -> None:
    client = TestClient(app, base_url=HOME)
    assert client.get("/me").json()["code"] == "missing_token"
    with override_session(app, role="admin", data={"userId": "ann"}):
        assert client.get("/me").json() == {"userId": "ann", "role": "admin"}
        assert client.get("/admin").status_code == 200
    assert client.get("/me").json()["code"] == "missing_token"
    with override_session(app, role="user"):
        assert client.get("/admin").status_code == 403


def test_what_the_request_carries_does_not_count(app: Any) -> None:
    client = TestClient(app, base_url=HOME)
    with override_session(app, data={"userId": "ann"}):
        for authorization in ("Bearer nonsense", "Basic YTpi"):
            answer = client.get("/me", headers={"Authorization": authorization, "Cookie": "__Host-ductape=nonsense"})
            assert answer.json() == {"userId": "ann"}


def test_the_sessions_of_an_app_stand_for_it(app: Any, sessions: Sessions) -> None:
    client = TestClient(app, base_url=HOME)
    with override_session(sessions, identifier="ann"):
        assert client.get("/me").json() == {"userId": "ann"}


def test_the_innermost_override_counts(app: Any, sessions: Sessions) -> None:
    client = TestClient(app, base_url=HOME)
    with override_session(app, identifier="ann"):
        with override_session(sessions, identifier="bob"):
            assert client.get("/me").json() == {"userId": "bob"}
        assert client.get("/me").json() == {"userId": "ann"}


def test_another_app_is_left_alone(sessions: Sessions) -> None:
    overridden, other = starlette_app(sessions), starlette_app(sessions)
    with override_session(overridden):
        assert TestClient(overridden).get("/me").status_code == 200
        assert TestClient(other).get("/me").status_code == 401


def test_an_error_ends_it_too(app: Any) -> None:
    with pytest.raises(ZeroDivisionError), override_session(app):
        raise ZeroDivisionError
    assert TestClient(app, base_url=HOME).get("/me").status_code == 401


def test_a_socket_is_overridden(sessions: Sessions) -> None:
    app = starlette_app(sessions)
    with override_session(app, identifier="ann"), TestClient(app).websocket_connect("/socket") as socket:
        assert socket.receive_text() == "ann"


def test_it_is_one_session_until_its_token_ends(sessions: Sessions, session_clock: SessionClock) -> None:
    app = starlette_app(sessions)
    client = TestClient(app)
    with override_session(app, identifier="ann"):
        client.get("/me")
        client.get("/me")
        assert sessions_of_ann(client, sessions) == 1
        session_clock.advance(hours=1)
        assert client.get("/me").status_code == 200


def sessions_of_ann(client: TestClient, sessions: Sessions) -> int:
    import anyio

    async def count() -> int:
        return (await sessions.list(tag=TAG, identifier="ann")).count

    return anyio.run(count)


def test_a_revoked_session_is_refused_as_ever(sessions: Sessions) -> None:
    import anyio

    app = starlette_app(sessions)
    client = TestClient(app)

    async def revoke() -> int:
        return await sessions.revoke_all(tag=TAG, identifier="ann")

    with override_session(app, identifier="ann"):
        assert client.get("/me").status_code == 200
        assert anyio.run(revoke) == 1
        assert client.get("/me").json()["code"] == "invalid_token"


@pytest.mark.parametrize("credentials", [(Header("x-session"),), (Cookie(),), (BodyField("session"), Cookie())])
def test_it_comes_as_the_middleware_reads_it(sessions: Sessions, credentials: Any) -> None:
    app = starlette_app(sessions, credentials=credentials)
    client = TestClient(app, base_url=HOME, headers={"Sec-Fetch-Site": "cross-site", "X-Session": "nonsense"})
    with override_session(app, identifier="ann"):
        assert client.post("/me").json() == {"userId": "ann"}


def test_other_cookies_of_the_request_stay(sessions: Sessions) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(value.decode() for name, value in scope["headers"] if name == b"cookie")
        await plain_app(sessions).app(scope, receive, send)

    guarded = DuctapeMiddleware(app, sessions=sessions, tag=TAG, credentials=(Cookie(),))
    client = TestClient(guarded, headers={"Cookie": "theme=dark; __Host-ductape=nonsense; lang=en"})
    with override_session(guarded, identifier="ann"):
        assert client.post("/me").json() == {"userId": "ann"}
    assert seen[0] == "theme=dark; lang=en"
    assert "nonsense" not in seen[1]


def test_a_mounted_app_with_sessions_of_its_own_is_overridden_by_them(sessions: Sessions) -> None:
    other = Sessions(
        access_key=new_access_key(), product="other", env="test", store="memory://", tags=[TagPolicy("guest")]
    )
    inner = DuctapeMiddleware(plain_app(sessions).app, sessions=other)
    outer = Starlette(routes=[Mount("/inner", inner)])
    outer.add_middleware(DuctapeMiddleware, sessions=sessions, tag=TAG)
    client = TestClient(outer)
    with override_session(outer, identifier="ann"):
        assert client.get("/inner/me").json() == {"userId": "ann"}
    with override_session(sessions, identifier="ann"):
        assert client.get("/inner/me").status_code == 401


@pytest.mark.parametrize("target", [None, "app", object(), lambda scope: None])
def test_what_cannot_be_overridden_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="DuctapeMiddleware"), override_session(target):
        raise AssertionError("it was not")


def test_a_middleware_that_reads_bodies_only_says_so(sessions: Sessions) -> None:
    app = plain_app(sessions, credentials=(BodyField("session"),))
    with override_session(app), pytest.raises(ConfigurationError, match="Bearer"):
        TestClient(app).get("/me")


@pytest.mark.anyio
async def test_async_clients_are_overridden(sessions: Sessions) -> None:
    app = starlette_app(sessions)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=HOME) as client:
        with override_session(app, identifier="ann"):
            assert (await client.get("/me")).json() == {"userId": "ann"}
        assert (await client.get("/me")).status_code == 401
