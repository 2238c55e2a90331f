"""`CookiePolicy(csrf_token=True)`: who changes something by a cookie brings a token of that session besides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from ductape_asgi import CookiePolicy, Sessions, TagPolicy, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import FlakyStore, SessionClock

from .support import TAG, Header, Person, World, problem

pytestmark = pytest.mark.anyio

CSRF = "__Host-ductape-csrf"
FORM = (b"content-type", b"application/x-www-form-urlencoded")
#: What changes something for who is signed in.  `{other}` is a session of the same person.
CALLS = [
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("POST", "/sessions/revoke-others"),
    ("DELETE", "/sessions/{other}"),
    ("POST", "/ticket"),
]


@pytest.fixture
async def ann() -> AsyncIterator[Person]:
    """Signed in, by a policy that wants tokens."""
    store = FlakyStore(MemoryStore())
    async with Sessions(
        access_key=new_access_key(),
        product="shop",
        env="prd",
        store=store,
        tags=[TagPolicy(TAG)],
        cookies=CookiePolicy(csrf_token=True),
    ) as sessions:
        person = ReadingPerson(World(sessions, store, SessionClock(), "cookie").routes(), "cookie")
        assert (await person.sign_in()).status == 200
        yield person


class ReadingPerson(Person):
    """Its page's script can read one cookie more, which `tests.routes.support.set_cookies` need not know of."""

    def _look_at(self, path: str, answer: object) -> None:
        for name, line in answer.headers:  # type: ignore[attr-defined]
            if name == b"set-cookie":
                first, *attributes = line.decode().split("; ")
                key, _, value = first.partition("=")
                assert ("HttpOnly" in attributes) == (key != CSRF)
                self.jar[key] = value


def token_of(person: Person) -> Header:
    return b"x-csrf-token", person.jar[CSRF].encode()


async def called(person: Person, method: str, path: str, *headers: Header) -> tuple[int, str]:
    other = Person(person.app, "cookie")
    other._look_at = lambda path, answer: other.jar.update(  # type: ignore[method-assign]
        line.decode().split("; ")[0].split("=", 1) for name, line in answer.headers if name == b"set-cookie"
    )
    await other.sign_in()
    answer = await person.send(method, path.format(other=await other.session_id()), headers=headers)
    return (answer.status, "") if answer.status < 300 else problem(answer)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_without_its_token_nothing_is_changed(ann: Person, method: str, path: str) -> None:
    assert await called(ann, method, path) == (403, "csrf_rejected")
    assert await ann.session_id() is not None
    assert await called(ann, method, path, (b"x-csrf-token", b"A" * 64)) == (403, "csrf_rejected")
    assert await called(ann, method, path, token_of(ann), token_of(ann)) == (403, "csrf_rejected")
    status, _ = await called(ann, method, path, token_of(ann))
    assert status in (200, 204)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_token_of_another_session_is_none(ann: Person, method: str, path: str) -> None:
    before = token_of(ann)
    await ann.send("POST", "/login", json={"user": "ann", "password": "maple-syrup-42"})  # a new session
    assert await called(ann, method, path, before) == (403, "csrf_rejected")
    assert (await called(ann, method, path, token_of(ann)))[0] in (200, 204)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_form_field_is_no_token_of_the_endpoints(ann: Person, method: str, path: str) -> None:
    """A body is read where it says something; else a form of any page of a neighbour could hold the field."""
    body = urlencode({"csrf_token": ann.jar[CSRF]}).encode()
    answer = await ann.send(method, path.format(other="x"), body=body, headers=[FORM])
    assert problem(answer) == (403, "csrf_rejected")


async def test_the_token_outlives_a_refresh(ann: Person) -> None:
    before = token_of(ann)
    assert (await ann.send("POST", "/refresh", headers=[before])).status == 200
    assert (await ann.send("POST", "/refresh", headers=[before])).status == 200


async def test_forms_of_the_dashboard_hold_a_token_and_have_to(ann: Person) -> None:
    page = (await ann.send("GET", "/dashboard")).body.decode()
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    body = {"action": "sign_out"}
    for wrong in ({}, {"csrf_token": "A" * 64}):
        answer = await ann.send("POST", "/dashboard", body=urlencode({**body, **wrong}).encode(), headers=[FORM])
        assert answer.status == 403
    assert await ann.session_id() is not None
    body["csrf_token"] = token
    answer = await ann.send("POST", "/dashboard", body=urlencode(body).encode(), headers=[FORM])
    assert answer.status == 303
    assert await ann.session_id() is None
