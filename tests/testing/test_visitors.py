"""Signing in and out at every kind of client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from ductape_asgi import ConfigurationError, CookiePolicy, Sessions, TagPolicy, new_access_key
from ductape_asgi.testing import AsyncVisitor, FlakyStore, SessionClock, Visitor

from .apps import TAG, starlette_app

HOME = "https://testserver"


def bridged(library: Any, app: Any, **options: Any) -> Any:
    """A sync client of a library at an app; each request has an event loop of its own."""

    def send(request: Any) -> Any:
        async def handle() -> Any:
            sent = library.Request(request.method, request.url, headers=request.headers, content=request.read())
            response = await library.ASGITransport(app=app).handle_async_request(sent)
            return response.status_code, response.headers.raw, await response.aread()

        status, headers, content = anyio.run(handle)
        return library.Response(status, headers=headers, content=content)

    return library.Client(transport=library.MockTransport(send), **options)


@pytest.fixture(params=["httpx", "httpx2", "TestClient", "TestClient with lifespan"])
def client(request: pytest.FixtureRequest, sessions: Sessions) -> Iterator[Any]:
    app = starlette_app(sessions)
    if request.param == "TestClient":
        yield TestClient(app, base_url=HOME)
    elif request.param == "TestClient with lifespan":
        with TestClient(app, base_url=HOME) as test_client:
            yield test_client
    else:
        with bridged({"httpx": httpx, "httpx2": httpx2}[request.param], app, base_url=HOME) as sync_client:
            yield sync_client


@pytest.mark.parametrize("cookies", [False, True])
def test_a_visit(client: Any, visit: Any, cookies: bool, sessions: Sessions) -> None:
    ann = visit(client, cookies=cookies)
    assert isinstance(ann, Visitor)
    assert client.get("/me").status_code == 401
    issued = ann.login(role="admin", data={"userId": "ann", "cart": ["tape"]})
    assert client.get("/me").json() == {"userId": "ann", "cart": ["tape"], "role": "admin"}
    assert client.post("/me").status_code == 200
    assert client.get("/admin").status_code == 200
    assert ann.issued == issued
    assert ("authorization" in client.headers) is not cookies
    assert bool(client.cookies) is cookies

    ann.login(permissions=["read"], identifier="bob")
    assert client.get("/me").json() == {"userId": "bob", "permissions": ["read"]}
    assert client.get("/admin").status_code == 403

    assert ann.logout() is True
    assert client.get("/me").json()["code"] == "missing_token"
    assert not {"authorization", "sec-fetch-site"} & set(client.headers)
    assert not client.cookies
    with pytest.raises(ConfigurationError):
        ann.logout()


def test_a_session_lives_and_ends_by_the_clock_of_the_test(
    client: Any, visit: Any, session_clock: SessionClock
) -> None:
    ann = visit(client)
    ann.login(expires_in="10m")
    session_clock.advance(minutes=9)
    assert client.get("/me").status_code == 200
    session_clock.advance(minutes=2)
    assert client.get("/me").json()["code"] == "invalid_token"


def test_signing_out_ends_the_session_and_signing_in_again_the_one_before(client: Any, visit: Any) -> None:
    ann = visit(client)
    first = ann.login().token
    second = ann.login().token
    ann.logout()
    for token in (first, second):
        answer = client.get("/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.json()["code"] == "invalid_token"


def test_signing_out_gives_back_what_the_client_had(client: Any, visit: Any) -> None:
    client.headers["Sec-Fetch-Site"] = "cross-site"
    ann = visit(client, cookies=True)
    ann.login()
    assert client.post("/me").status_code == 200
    ann.logout()
    assert client.headers["Sec-Fetch-Site"] == "cross-site"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_signing_in_leaves_the_sessions_open_where_the_app_has_opened_them(sessions: Sessions, backend: str) -> None:
    with TestClient(starlette_app(sessions), base_url=HOME, backend=backend) as client:
        opened = sessions.worker.lifetime.token
        assert opened is not None
        ann = Visitor(client, sessions)
        ann.login()
        ann.logout()
        assert sessions.worker.lifetime.token is opened


def test_a_failing_store_shows(client: Any, visit: Any, session_store: FlakyStore) -> None:
    ann = visit(client)
    ann.login()
    session_store.fail()
    assert client.get("/me").status_code == 503
    session_store.heal()
    assert client.get("/me").status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("cookies", [False, True])
async def test_an_async_visit(sessions: Sessions, visit: Any, library: Any, cookies: bool) -> None:
    app = starlette_app(sessions)
    async with library.AsyncClient(transport=library.ASGITransport(app=app), base_url=HOME) as client:
        ann = visit(client, cookies=cookies)
        assert isinstance(ann, AsyncVisitor)
        await ann.login(role="admin")
        assert (await client.get("/me")).json() == {"userId": "test-user", "role": "admin"}
        assert (await client.post("/me")).status_code == 200
        assert await ann.logout() is True
        assert (await client.get("/me")).json()["code"] == "missing_token"


def test_two_people_at_two_clients(sessions: Sessions) -> None:
    app = starlette_app(sessions)
    for name in ("ann", "bob"):
        client = TestClient(app, base_url=HOME)
        Visitor(client, sessions).login(identifier=name)
        assert client.get("/me").json() == {"userId": name}


@pytest.mark.parametrize("url", ["http://testserver", "http://localhost:8000", ""])
def test_secure_cookies_need_https(visit: Any, url: str) -> None:
    with httpx2.Client(base_url=url) as client, pytest.raises(ConfigurationError, match="https://testserver"):
        visit(client, cookies=True)


def made(**options: Any) -> Sessions:
    return Sessions(access_key=new_access_key(), product="test", env="test", store="memory://", **options)


def test_cookies_that_are_switched_off_or_open_are_known() -> None:
    with httpx2.Client(base_url=HOME) as client, pytest.raises(ConfigurationError, match="cookies=None"):
        Visitor(client, made(cookies=None), cookies=True)
    sessions = made(cookies=CookiePolicy(secure=False))
    with httpx2.Client() as nowhere, pytest.raises(ConfigurationError, match="base_url"):
        Visitor(nowhere, sessions, cookies=True)
    client = TestClient(starlette_app(sessions))
    Visitor(client, sessions, cookies=True).login()
    assert client.get("/me").status_code == 200


@dataclass
class Shopper:
    name: str


class Strict(BaseModel, extra="forbid"):
    name: str


def test_the_data_is_made_as_the_policy_of_the_tag_has_it() -> None:
    policy = TagPolicy("a", selector="user.id", roles="user.role", permissions=("may",))
    sessions = made(
        tags=[policy, TagPolicy("b", schema=Shopper), TagPolicy("c", anonymous=True), TagPolicy("d", schema=Strict)]
    )
    given = {"user": {"name": "Ann"}}

    def login(tag: str, **options: Any) -> Any:
        with httpx2.Client() as client:
            visitor = Visitor(client, sessions, tag=tag)
            issued = visitor.login(**options)

            async def verify() -> Any:
                return await sessions.verify(tag=tag, token=issued.token)

            return anyio.run(verify)

    session = login("a", data=given, role="admin", permissions=["read"])
    assert session.data == {"user": {"name": "Ann", "role": "admin", "id": "test-user"}, "may": ["read"]}
    assert (session.identifier, session.roles, session.permissions) == ("test-user", {"admin"}, {"read"})
    assert given == {"user": {"name": "Ann"}}
    assert login("b", data=Shopper("Ann"), identifier="ann").data == Shopper("Ann")
    assert login("b", data=Shopper("Ann"), identifier="ann").identifier == "ann"
    assert login("d", data={"name": "Ann"}).identifier == "test-user"
    assert login("c").identifier is None
    with pytest.raises(ConfigurationError, match="Shopper"):
        login("b", data=Shopper("Ann"), role="admin")
    with httpx2.Client() as client, pytest.raises(ConfigurationError, match="a, b, c, d"):
        Visitor(client, sessions)


def test_no_token_shows(client: Any, visit: Any) -> None:
    ann = visit(client)
    assert repr(ann) == f"<Visitor anonymous tag='{TAG}'>"
    token = ann.login().token
    assert repr(ann) == f"<Visitor signed in tag='{TAG}'>"
    assert token not in repr(vars(ann))
