"""Cookies, byte for byte: read as they came, and written as browsers keep them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Response as LitestarResponse
from starlette.responses import Response

from ductape_asgi import ConfigurationError, CookiePolicy, InvalidToken, IssuedSession, Sessions, new_access_key
from ductape_asgi.cookies import add_cookies, expired_cookies, read_cookie, session_cookies
from tests.cookie_jar import checked

NAME = "__Host-ductape"
NOW = 1_800_000_000
ISSUED = IssuedSession(
    token="access-token",
    refresh_token="drt_token",
    session_id="s",
    identifier="ann",
    tag="user-session",
    expires_at=datetime.fromtimestamp(NOW + 900, UTC),
    session_expires_at=datetime.fromtimestamp(NOW + 3600, UTC),
)
ONLY_ACCESS = IssuedSession(
    token="access-token",
    refresh_token=None,
    session_id="s",
    identifier="ann",
    tag="user-session",
    expires_at=datetime.fromtimestamp(NOW + 900, UTC),
    session_expires_at=datetime.fromtimestamp(NOW + 900, UTC),
)


def read(*lines: bytes) -> str | None:
    return read_cookie([(b"cookie", line) for line in lines], NAME)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"__Host-ductape=x", "x"),
        (b" \t__Host-ductape=x \t", "x"),
        (b"a=b; __Host-ductape=x; c=d", "x"),
        (b"a=b;__Host-ductape=x;c", "x"),
        (b"__Host-ductape=x=y==", "x=y=="),
        (b"__Host-ductape=", ""),
        (b'__Host-ductape="x"', '"x"'),
        (b"__Host-ductape=x y", "x y"),
        (b"__Host-ductape=%41", "%41"),
        (b'a="; __Host-ductape=x; b="', "x"),
        (b"__Host-ductape", ""),
        (b"__Host-ductape =x", None),
        (b"__host-ductape=x", None),
        (b"x__Host-ductape=x", None),
        (b"__Host-ductape-refresh=x", None),
        (b"\x0b__Host-ductape=x", None),
        (b"\xa0__Host-ductape=x", None),
        (b"a=__Host-ductape=x", None),
        (b"a=b,__Host-ductape=x", None),
        (b"", None),
        (b";;;", None),
    ],
)
def test_one_cookie_is_read_as_it_came(line: bytes, value: str | None) -> None:
    assert read(line) == value


def test_other_header_fields_are_not_looked_at() -> None:
    assert read_cookie([(b"set-cookie", b"__Host-ductape=x"), (b"cookie2", b"__Host-ductape=x")], NAME) is None


@pytest.mark.parametrize(
    "lines",
    [
        [b"__Host-ductape=x; __Host-ductape=y"],
        [b"__Host-ductape=x; __Host-ductape=x"],
        [b"__Host-ductape=x", b"__Host-ductape=x"],
        [b"__Host-ductape=; __Host-ductape=x"],
        [b"__Host-ductape; __Host-ductape=x"],
        [b"__Host-ductape=x", b"a=b", b"c=d;\t__Host-ductape=y"],
    ],
)
def test_two_cookies_of_the_name_are_none(lines: list[bytes]) -> None:
    with pytest.raises(InvalidToken, match="2 cookies"):
        read(*lines)


def test_a_value_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(InvalidToken, match="ASCII"):
        read(b"__Host-ductape=\xc3\xa4")


PIECES = st.sampled_from([b"__Host-ductape", b"=", b";", b" ", b"\t", b'"', b"x", b"\xff", b"\0", b"a=b", b","])


@given(st.lists(st.one_of(st.binary(), st.lists(PIECES).map(b"".join))))
def test_no_header_makes_the_reader_raise_anything_but_invalid_token(lines: list[bytes]) -> None:
    try:
        value = read(*lines)
    except InvalidToken:
        return
    assert value is None or value.isascii()


@given(st.from_regex(rb"\A[A-Za-z0-9_.-]*\Z"), st.lists(st.from_regex(rb"\A[a-z]+=[a-z]*\Z")), st.randoms())
def test_what_a_browser_sends_is_found(value: bytes, others: list[bytes], chance: Any) -> None:
    pairs = [*others, b"__Host-ductape=" + value]
    chance.shuffle(pairs)
    assert read(b"; ".join(pairs)) == value.decode()
    assert read(*pairs) == value.decode()


# Out.


def attributes(cookie: str) -> set[str]:
    return set(cookie.split("; ")[1:])


def test_both_cookies_last_until_the_sessions_end() -> None:
    access, refresh = session_cookies(CookiePolicy(), ISSUED, NOW)
    assert access.startswith("__Host-ductape=access-token; ")
    assert refresh.startswith("__Host-ductape-refresh=drt_token; ")
    for cookie in (access, refresh):
        assert attributes(cookie) == {"Max-Age=3600", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"}


def test_without_a_refresh_token_the_one_of_an_earlier_session_is_removed() -> None:
    access, refresh = session_cookies(CookiePolicy(), ONLY_ACCESS, NOW)
    assert "Max-Age=900" in attributes(access)
    assert refresh.startswith("__Host-ductape-refresh=; Max-Age=0; ")


def test_a_session_that_is_over_leaves_no_negative_age() -> None:
    (access, _) = session_cookies(CookiePolicy(), ISSUED, NOW + 10_000)
    assert "Max-Age=0" in attributes(access)


@pytest.mark.parametrize(
    ("policy", "name", "expected"),
    [
        (
            CookiePolicy(domain="example.com", name="sid"),
            "__Secure-sid",
            {"Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Domain=example.com"},
        ),
        (CookiePolicy(secure=False), "ductape", {"Path=/", "HttpOnly", "SameSite=Lax"}),
        (CookiePolicy(samesite="strict"), "__Host-ductape", {"Path=/", "HttpOnly", "Secure", "SameSite=Strict"}),
        (CookiePolicy(samesite="none"), "__Host-ductape", {"Path=/", "HttpOnly", "Secure", "SameSite=None"}),
    ],
)
def test_attributes_follow_the_policy(policy: CookiePolicy, name: str, expected: set[str]) -> None:
    for cookie in session_cookies(policy, ISSUED, NOW):
        assert cookie.startswith(name)
        assert attributes(cookie) - {"Max-Age=3600"} == expected
    for cookie in expired_cookies(policy):
        assert attributes(cookie) - {"Max-Age=0"} == expected


def test_expired_cookies_remove_both() -> None:
    access, refresh = expired_cookies(CookiePolicy())
    assert access.startswith("__Host-ductape=; Max-Age=0; ")
    assert refresh.startswith("__Host-ductape-refresh=; Max-Age=0; ")


POLICIES = st.builds(
    dict,
    name=st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
    | st.sampled_from(["__Host-a", "__secure-a", "Http-a", "host-http-a"]),
    domain=st.none() | st.sampled_from(["example.com", "a.example.com", "Example.com", "com", ""]),
    secure=st.booleans(),
    samesite=st.sampled_from(["lax", "strict", "none"]),
    csrf_token=st.booleans(),
)
ISSUES = st.builds(
    IssuedSession,
    token=st.from_regex(r"\A[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{1,3900}\.[A-Za-z0-9_-]{1,86}\Z"),
    refresh_token=st.none() | st.from_regex(r"\Adrt_[A-Za-z0-9_-]{90,200}\Z"),
    session_id=st.just("s"),
    identifier=st.just("ann"),
    tag=st.just("user-session"),
    expires_at=st.just(ISSUED.expires_at),
    session_expires_at=st.integers(NOW - 10_000, NOW + 10 * 365 * 86_400).map(
        lambda at: datetime.fromtimestamp(at, UTC)
    ),
    _csrf_token=st.none() | st.from_regex(r"\A[A-Za-z0-9_-]{64}\Z"),
)


@given(POLICIES, ISSUES)
def test_a_browser_keeps_every_cookie_that_any_policy_sends(options: dict[str, Any], issued: IssuedSession) -> None:
    """`checked` holds each line to the grammar, the prefixes and the sizes of RFC 6265bis."""
    try:
        policy = CookiePolicy(**options)
    except ConfigurationError:
        return
    names = [checked(line)[0] for line in session_cookies(policy, issued, NOW)]
    assert names == list(policy.names)
    gone = [checked(line) for line in expired_cookies(policy)]
    assert [name for name, _, _ in gone] == names
    # What removes a cookie has to have its path, its domain and its prefix.
    for (_, value, attributes), line in zip(gone, session_cookies(policy, issued, NOW), strict=True):
        assert (value, attributes.pop("max-age")) == ("", "0")
        assert {**checked(line)[2], "max-age": ""} == {**attributes, "max-age": ""}


@pytest.mark.parametrize(
    "line",
    [
        "__Host-a=b; Max-Age=1; Path=/; SameSite=Lax",
        "__Host-a=b; Max-Age=1; Path=/; SameSite=Lax; Secure; Domain=example.com",
        "__Host-a=b; Max-Age=1; Path=/x; SameSite=Lax; Secure",
        "__host-a=b; Max-Age=1; Path=/; SameSite=Lax; Secure",
        "__Secure-a=b; Max-Age=1; Path=/; SameSite=Lax",
        "__Host-Http-a=b; Max-Age=1; Path=/; SameSite=Lax; Secure",
        "a=b; Max-Age=1; Path=/; SameSite=None",
        "a=b c; Max-Age=1; Path=/; SameSite=Lax",
        "a=b; Max-Age=-1; Path=/; SameSite=Lax",
        f"a={'b' * 4096}; Max-Age=1; Path=/; SameSite=Lax",
    ],
)
def test_what_a_browser_would_drop_does_not_pass_our_tests(line: str) -> None:
    with pytest.raises(AssertionError):
        checked(line)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://", clock=lambda: float(NOW))


def test_starlette_responses_get_both_cookies(sessions: Sessions) -> None:
    response = Response(headers={"x-mine": "1"})
    sessions.set_cookies(response, ISSUED)
    assert response.headers.getlist("set-cookie") == session_cookies(CookiePolicy(), ISSUED, NOW)
    assert response.headers["x-mine"] == "1"


def test_litestar_responses_get_both_cookies(sessions: Sessions) -> None:
    response = LitestarResponse(content=None)
    sessions.set_cookies(response, ISSUED)
    written = [cookie.to_header(header="") for cookie in response.cookies]
    expected = session_cookies(CookiePolicy(), ISSUED, NOW)
    assert len(written) == 2
    for header, wanted in zip(sorted(written), sorted(expected), strict=True):
        assert {part.lower() for part in header.split("; ")} == {part.lower() for part in wanted.split("; ")}


def test_litestar_responses_let_scripts_read_the_csrf_cookie_alone() -> None:
    response = LitestarResponse(content=None)
    issued = replace(ISSUED, _csrf_token="c" * 64)
    add_cookies(response, session_cookies(CookiePolicy(csrf_token=True), issued, NOW))
    assert {cookie.key: cookie.httponly for cookie in response.cookies} == {
        "__Host-ductape": True,
        "__Host-ductape-refresh": True,
        "__Host-ductape-csrf": False,
    }


def test_clearing_removes_both_from_starlette_and_litestar_responses(sessions: Sessions) -> None:
    response = Response()
    sessions.clear_cookies(response)
    assert response.headers.getlist("set-cookie") == expired_cookies(CookiePolicy())
    other = LitestarResponse(content=None)
    sessions.clear_cookies(other)
    assert {(cookie.key, cookie.max_age) for cookie in other.cookies} == {
        ("__Host-ductape", 0),
        ("__Host-ductape-refresh", 0),
    }


def test_a_response_of_another_kind_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="cookie_headers"):
        add_cookies(object(), ["a=b"])


@pytest.mark.anyio
async def test_an_issued_session_has_raw_cookie_headers() -> None:
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://") as sessions:
        issued = await sessions.start(tag="user-session", data={"userId": "ann"})
        headers = issued.cookie_headers()
    assert [name for name, _ in headers] == [b"set-cookie"] * 2
    assert headers[0][1].startswith(b"__Host-ductape=" + issued.token.encode() + b"; ")
    assert headers[1][1].startswith(b"__Host-ductape-refresh=" + str(issued.refresh_token).encode() + b"; ")


@pytest.mark.anyio
async def test_without_cookies_there_are_none_to_set() -> None:
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store="memory://", cookies=None
    ) as sessions:
        issued = await sessions.start(tag="user-session", data={"userId": "ann"})
        for attempt in (
            issued.cookie_headers,
            lambda: sessions.set_cookies(Response(), issued),
            lambda: sessions.clear_cookies(Response()),
        ):
            with pytest.raises(ConfigurationError, match="CookiePolicy"):
                attempt()


def test_an_answer_with_tokens_says_to_no_cache_that_it_may_be_kept() -> None:
    told = {"Cache-Control": "public", "CDN-Cache-Control": "max-age=600", "Surrogate-Control": "x", "Expires": "y"}
    response = Response(headers={**told, "x-own": "kept"})
    add_cookies(response, ["a=b"])
    assert response.headers["cache-control"] == "no-store"
    assert not {"cdn-cache-control", "surrogate-control", "expires"} & set(response.headers)
    assert response.headers["x-own"] == "kept"
