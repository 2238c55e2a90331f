"""Bodies, paths and methods that are not what the endpoints take."""

from __future__ import annotations

import pytest

from tests.asgi_client import call

from .support import OWN, World, problem

pytestmark = pytest.mark.anyio

JSON = (b"content-type", b"application/json")


@pytest.fixture
def mode() -> str:
    """In cookie mode no body is read but the one of a sign-in, which is the app's."""
    return "bearer"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"drt_x"',
        b"null",
        b"7",
        b'{"refreshToken": 7}',
        b'{"refreshToken": ["drt_x"]}',
        b'{"refreshToken": true}',
        b'{"refreshToken": "a", "refreshToken": "b"}',
        b'{"more": {"a": 1, "a": 2}}',
        b'{"more": NaN}',
        b'{"more": Infinity}',
        b'{"more": -Infinity}',
        b"{'refreshToken': 'x'}",
        b'{"refreshToken": "x"} trailing',
        b'\xef\xbb\xbf{"refreshToken": "x"}',
        '{"refreshToken": "x"}'.encode("utf-16"),
        b'{"refreshToken": "\xff"}',
        b"[" * 8000,
        b'{"more": ' + b"[" * 7000 + b"]" * 7000 + b"}",
        b'{"more": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_no_plain_json_object_is_refused(world: World, body: bytes) -> None:
    ann = world.person()
    for path in ("/refresh", "/logout", "/sessions/revoke-others"):
        assert problem(await ann.send("POST", path, body=body, headers=[JSON])) == (422, "invalid_body")


async def test_without_a_body_or_a_token_in_it_there_is_no_token(world: World) -> None:
    ann = world.person()
    for body in (b"", b"{}", b'{"refreshToken": null}', b'{"refreshToken": ""}', b'{"else": 1}'):
        assert problem(await ann.send("POST", "/refresh", body=body, headers=[JSON])) == (401, "missing_token")


async def test_what_an_app_sends_along_is_no_error(world: World) -> None:
    """The product page has a ``session`` property in every body."""
    ann = world.person()
    await ann.sign_in()
    body = {"refreshToken": ann.refresh_token, "session": ann.token}
    assert (await ann.send("POST", "/refresh", json=body)).status == 200


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"application/json5", b"", None])
async def test_a_body_that_does_not_say_json_is_refused(world: World, kind: bytes | None) -> None:
    ann = world.person()
    headers = [] if kind is None else [(b"content-type", kind)]
    answer = await ann.send("POST", "/refresh", body=b'{"refreshToken": "x"}', headers=headers)
    assert problem(answer) == (415, "unsupported_media_type")


async def test_two_content_types_are_none(world: World) -> None:
    answer = await world.person().send("POST", "/refresh", body=b"{}", headers=[JSON, JSON])
    assert problem(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"Application/JSON"])
async def test_json_may_be_said_in_other_words(world: World, kind: bytes) -> None:
    answer = await world.person().send("POST", "/refresh", body=b"{}", headers=[(b"content-type", kind)])
    assert problem(answer) == (401, "missing_token")


async def test_a_long_body_is_not_read_to_its_end(world: World) -> None:
    ann = world.person()
    chunk = b'{"refreshToken": "' + b"x" * 10_000
    assert problem(await ann.send("POST", "/refresh", body=[chunk] * 2, headers=[JSON])) == (413, "body_too_large")
    for length in (b"16385", b"9" * 30):
        told = [JSON, (b"content-length", length)]
        assert problem(await ann.send("POST", "/refresh", body=b"{}", headers=told)) == (413, "body_too_large")


async def test_a_length_that_is_no_number_is_left_to_the_server(world: World) -> None:
    told = [JSON, (b"content-length", "\u00b2".encode("latin-1"))]
    assert problem(await world.person().send("POST", "/refresh", body=b"{}", headers=told)) == (401, "missing_token")


METHODS = {
    "/login": "POST",
    "/refresh": "POST",
    "/logout": "POST",
    "/ticket": "POST",
    "/session": "GET, HEAD",
    "/sessions": "GET, HEAD",
    "/sessions/revoke-others": "DELETE, POST",
    "/sessions/abc": "DELETE",
    "/jwks.json": "GET, HEAD",
    "/client.js": "GET, HEAD",
}


@pytest.mark.parametrize(("path", "allowed"), METHODS.items())
async def test_other_methods_are_refused_and_told_which_there_are(world: World, path: str, allowed: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"):
        if method not in allowed.split(", "):
            answer = await call(world.routes(), method=method, path=path, headers=[OWN])
            assert answer.status == 405
            assert answer.header("allow") == allowed
            assert answer.header("cache-control") == "no-store"
            if method != "HEAD":
                assert problem(answer) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "//login",
        "/Login",
        "/login/..",
        "/./login",
        "/x/login",
        "/login\0",
        "/client.py",
    ],
)
async def test_what_is_not_there_is_not_found(world: World, path: str) -> None:
    for method in ("GET", "POST"):
        assert problem(await world.person().send(method, path)) == (404, "not_found")


async def test_nothing_that_was_sent_comes_back_in_a_refusal(world: World) -> None:
    ann = world.person()
    for answer in (
        await ann.send("POST", "/<script>mark</script>"),
        await ann.send("POST", "/refresh", body=b'{"mark": 1', headers=[JSON]),
        await ann.send("POST", "/refresh", json={"refreshToken": "mark"}),
        await ann.send("DELETE", "/sessions/mark"),
        await ann.send("GET", "/sessions", query=b"limit=mark"),
    ):
        assert answer.status >= 400
        assert b"mark" not in answer.body
        assert not any(b"mark" in value for _, value in answer.headers)
