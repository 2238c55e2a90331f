"""``CookiePolicy(csrf_token=True)``: an unsafe request of a cookie carries a token of its own session besides."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ductape_asgi import (
    ConfigurationError,
    CookiePolicy,
    CsrfRejected,
    DuctapeMiddleware,
    IssuedSession,
    Realm,
    Sessions,
    new_access_key,
)
from ductape_asgi.csrf_forms import LIMIT, submitted
from ductape_asgi.csrf_tokens import CsrfTokens
from ductape_asgi.keys import Keyring, load_access_keys
from ductape_asgi.testing import AsyncVisitor
from tests.asgi_client import Answer, App, bearer, call, cookie, handshake, scope_of
from tests.cookie_jar import FORM, SCRIPT, Browser
from tests.sessions.support import ANN, TAG, Clock

pytestmark = pytest.mark.anyio

KEY, OTHER_KEY = new_access_key(), new_access_key()
ACCESS, REFRESH, CSRF = "__Host-ductape", "__Host-ductape-refresh", "__Host-ductape-csrf"
OWN = SCRIPT[0]
URLENCODED = (b"content-type", b"application/x-www-form-urlencoded")
MULTIPART = (b"content-type", b'multipart/form-data; boundary="--xyz"')
HOUR = 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


def built(clock: Any, key: Any = KEY, **options: Any) -> Sessions:
    given = {"product": "shop", "env": "prd", "store": "memory://", "cookies": CookiePolicy(csrf_token=True), **options}
    return Sessions(access_key=key, clock=clock, **given)


@pytest.fixture
async def sessions(clock: Clock) -> AsyncIterator[Sessions]:
    async with built(clock) as sessions:
        yield sessions


@pytest.fixture
def app() -> App:
    return App(reads=True)


@pytest.fixture
def middleware(app: App, sessions: Sessions) -> DuctapeMiddleware:
    return DuctapeMiddleware(app, sessions=sessions, tag=TAG)


@pytest.fixture
async def issued(sessions: Sessions) -> IssuedSession:
    return await sessions.start(tag=TAG, data=ANN)


@pytest.fixture
def browser(middleware: DuctapeMiddleware, issued: IssuedSession) -> Browser:
    browser = Browser(middleware)
    browser.take(issued.cookie_headers())
    return browser


def rejected(answer: Answer, app: App) -> bool:
    """Whether it was refused, and the app did not run."""
    refused = answer.status == 403 and answer.json()["code"] == "csrf_rejected"
    assert refused == (app.scopes == [])
    app.scopes.clear()
    return refused


def header(token: str) -> tuple[bytes, bytes]:
    return b"x-csrf-token", token.encode("latin-1")


def form(**fields: str) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def part(name: str, value: str, more: str = "") -> bytes:
    return f'----xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'.encode()


END = b"----xyz--\r\n"


# Where it is given out.


async def test_the_cookie_is_for_scripts_to_read(browser: Browser, issued: IssuedSession) -> None:
    lines = [value.decode() for _, value in issued.cookie_headers()]
    assert [line.partition("=")[0] for line in lines] == [ACCESS, REFRESH, CSRF]
    assert ["HttpOnly" in line for line in lines] == [True, True, False]


async def test_without_the_policy_there_is_neither_cookie_nor_token(clock: Clock) -> None:
    async with built(clock, cookies=CookiePolicy()) as sessions:
        issued = await sessions.start(tag=TAG, data=ANN)
        assert len(issued.cookie_headers()) == 2
        with pytest.raises(ConfigurationError, match=r"csrf_token=True"):
            sessions.csrf_token(issued)
    async with built(clock, cookies=None) as sessions:
        with pytest.raises(ConfigurationError, match="switched off"):
            sessions.csrf_token(None)


async def test_a_template_gets_a_new_text_for_each_page(sessions: Sessions, browser: Browser, app: App) -> None:
    session = (await browser.fetch()).session
    app.scopes.clear()
    tokens = {sessions.csrf_token(session) for _ in range(5)}
    assert len(tokens) == 5
    for token in tokens:
        assert not rejected(await browser.request(OWN, header(token), method="POST"), app)
    assert sessions.csrf_token(None) == ""


async def test_of_another_realm_it_is_another_token(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=ANN, env="dev")
    session = await sessions.verify(tag=TAG, token=issued.token, env="dev")
    token = sessions.csrf_token(session)
    sessions.context("shop", "dev").csrf_tokens.check(session.session_id, (token,))
    with pytest.raises(CsrfRejected):
        sessions.context().csrf_tokens.check(session.session_id, (token,))


# What it is asked for.


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_an_unsafe_request_needs_it(browser: Browser, app: App, method: str) -> None:
    assert rejected(await browser.request(OWN, method=method), app)
    assert not rejected(await browser.request(OWN, header(browser.jar[CSRF]), method=method), app)
    await browser.fetch()  # now the token is cached
    app.scopes.clear()
    assert rejected(await browser.request(OWN, method=method), app)


@pytest.mark.parametrize("options", [{"required": True}, {"exempt": ["/*"]}])
async def test_whatever_is_required_or_exempt(sessions: Sessions, browser: Browser, app: App, options: Any) -> None:
    browser.app = DuctapeMiddleware(app, sessions=sessions, tag=TAG, **options)
    assert rejected(await browser.request(OWN, method="POST"), app)


async def test_safe_requests_and_handshakes_do_without(browser: Browser, app: App) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await browser.request(OWN, method=method)).session is not None
    shaken = await handshake(browser.app, headers=[*browser.cookies, (b"origin", b"https://shop.test")])
    assert shaken.accepted


async def test_bearer_and_strangers_do_without(browser: Browser, app: App, issued: IssuedSession) -> None:
    assert not rejected(await call(browser.app, method="POST", headers=[bearer(issued.token), *browser.cookies]), app)
    assert not rejected(await call(browser.app, method="POST", headers=[OWN]), app)
    assert not rejected(await call(browser.app, method="POST", headers=[OWN, cookie("x", "theme")]), app)


async def test_it_does_not_stand_for_the_site_rule(browser: Browser, app: App) -> None:
    for headers in ([], [(b"sec-fetch-site", b"cross-site")], [(b"origin", b"https://evil.example")]):
        answer = await browser.request(*headers, header(browser.jar[CSRF]), method="POST")
        assert rejected(answer, app)


@pytest.mark.parametrize("junk", [b"Bearer x", b"Bearer", b"bearer x y"])
async def test_a_junk_bearer_does_not_bring_the_cookie_past_the_rule(browser: Browser, app: App, junk: bytes) -> None:
    answer = await browser.request(OWN, (b"authorization", junk), method="POST")
    assert answer.session is None
    assert answer.body == b"nobody"


async def test_another_scheme_is_no_way_round_either(browser: Browser, app: App) -> None:
    assert rejected(await browser.request(OWN, (b"authorization", b"Basic eDp5"), method="POST"), app)


def mutations(token: str) -> list[str]:
    raw = base64.urlsafe_b64decode(token)
    flipped = [
        base64.urlsafe_b64encode(bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]])).decode() for at in (0, 15, 16, 47)
    ]
    return [*flipped, token[:-1], token + "A", token + "=", "", " ", token[:22], "A" * 64, "\xff" * 64, token + ","]


async def test_a_token_that_was_tampered_with_is_refused(browser: Browser, app: App) -> None:
    for bad in mutations(browser.jar[CSRF]):
        assert rejected(await browser.request(OWN, header(bad), method="POST"), app)


async def test_a_naive_double_submit_is_refused(browser: Browser, app: App) -> None:
    browser.jar[CSRF] = "planted"
    assert rejected(await browser.request(OWN, header("planted"), method="POST"), app)


async def test_the_cookie_alone_and_the_url_are_no_submission(browser: Browser, app: App) -> None:
    token = browser.jar[CSRF]
    query = f"csrf_token={token}&x-csrf-token={token}".encode()
    assert rejected(await browser.request(OWN, method="POST", query=query), app)


async def test_the_token_of_another_session_is_refused(sessions: Sessions, browser: Browser, app: App) -> None:
    eve = await sessions.start(tag=TAG, data={"userId": "eve"})
    mine_again = await sessions.start(tag=TAG, data=ANN)
    for other in (eve, mine_again):
        assert rejected(await browser.request(OWN, header(sessions.csrf_token(other)), method="POST"), app)


async def test_the_token_from_before_a_sign_in_is_refused(
    sessions: Sessions, browser: Browser, app: App, issued: IssuedSession
) -> None:
    before = browser.jar[CSRF]
    anew = await sessions.start(tag=TAG, data=ANN, replaces=issued.session_id)
    browser.take(anew.cookie_headers())
    assert rejected(await browser.request(OWN, header(before), method="POST"), app)
    assert rejected(await browser.request(OWN, header(sessions.csrf_token(None)), method="POST"), app)
    assert not rejected(await browser.request(OWN, header(browser.jar[CSRF]), method="POST"), app)


async def test_two_headers_are_refused(browser: Browser, app: App) -> None:
    token = header(browser.jar[CSRF])
    assert rejected(await browser.request(OWN, token, token, method="POST"), app)


# It outlives refreshing and new keys.


async def test_the_form_that_was_open_for_an_hour_is_posted(
    browser: Browser, app: App, clock: Clock, issued: IssuedSession
) -> None:
    body = form(title="tea", csrf_token=browser.jar[CSRF])
    clock.advance(HOUR)
    answer = await browser.request(*FORM, method="POST", body=body)
    assert answer.body.decode() == issued.session_id
    assert app.bodies == [[{"type": "http.request", "body": body, "more_body": False}]]
    assert (await browser.request(*FORM, method="POST", body=body)).status == 200  # and once more, with the new cookies
    fresh = form(csrf_token=browser.jar[CSRF])
    assert (await browser.request(*FORM, method="POST", body=fresh)).status == 200


@pytest.mark.parametrize("absent", [False, True])
async def test_without_its_token_the_open_form_is_refused_and_nothing_is_refreshed(
    sessions: Sessions, browser: Browser, app: App, clock: Clock, issued: IssuedSession, absent: bool
) -> None:
    clock.advance(HOUR)
    if absent:
        del browser.jar[ACCESS]
    assert rejected(await browser.request(*FORM, method="POST", body=b"title=tea"), app)
    record = await sessions.worker.store.verify(issued.session_id, generation=-1)
    assert record is not None
    assert record.generation == 0


async def test_a_new_access_key_takes_the_tokens_of_the_old_one(clock: Clock) -> None:
    old = load_access_keys(KEY)
    both = load_access_keys([OTHER_KEY, KEY])
    realm = Realm("shop", "prd")
    by_old, by_both = (CsrfTokens(Keyring.derive(keys, realm, "EdDSA")) for keys in (old, both))
    by_new = CsrfTokens(Keyring.derive(load_access_keys(OTHER_KEY), realm, "EdDSA"))
    by_both.check("s" * 22, (by_old.write("s" * 22),))
    by_new.check("s" * 22, (by_both.write("s" * 22),))
    for token, tokens in ((by_old.write("s" * 22), by_new), (by_both.write("s" * 22), by_old)):
        with pytest.raises(CsrfRejected):
            tokens.check("s" * 22, (token,))


def test_salt_and_session_id_cannot_be_shifted_into_each_other() -> None:
    tokens = CsrfTokens(Keyring.derive(load_access_keys(KEY), Realm("shop", "prd"), "EdDSA"), lambda n: b"A" * n)
    token = tokens.write("s" * 22)
    for other in ("s" * 23, "s" * 21, "s" * 22 + "|", ""):
        with pytest.raises(CsrfRejected):
            tokens.check(other, (token,))


# In forms.


async def given(kind: tuple[bytes, bytes], *chunks: bytes) -> tuple[str, ...]:
    """The tokens found in a body, which is played back whole."""
    inbox = [{"type": "http.request", "body": one, "more_body": at + 1 < len(chunks)} for at, one in enumerate(chunks)]
    waiting = inbox[::-1]

    async def receive() -> Any:
        return waiting.pop()

    scope = scope_of(method="POST", headers=[kind, (b"cookie", b"a=b")])
    found, replayed = await submitted(scope, receive)
    body, more = b"", True
    while more:
        message = await replayed()
        body, more = body + message["body"], message["more_body"]
    assert body == b"".join(chunks)
    return found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"csrf_token=t", ("t",)),
        (b"a=b&csrf_token=t&c=d", ("t",)),
        (b"csrf_token=t&csrf_token=u", ("t", "u")),
        (b"csrf_token=", ("",)),
        (b"csrf_token", ("",)),
        (b"xcsrf_token=t&csrf_token2=u&a=csrf_token=t", ()),
        (b"", ()),
    ],
)
async def test_a_simple_form_has_it_in_a_field(body: bytes, found: tuple[str, ...]) -> None:
    assert await given(URLENCODED, body) == found
    assert await given(URLENCODED, body[:5], body[5:]) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (part("csrf_token", "t") + END, ("t",)),
        (part("a", "b") + part("csrf_token", "t") + part("f", "x", '; filename="x"') + END, ("t",)),
        (part("csrf_token", "t") + part("csrf_token", "u") + END, ("t", "u")),
        (part("csrf_token", "t", '; filename="x"') + END, ()),
        (part("a", 'name="csrf_token"\r\n\r\nt') + END, ()),
        (part("a", 'b\r\n\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\nt') + END, ()),
        (part("csrf_token", "t"), ()),  # nothing says that it is whole
        (b"csrf_token=t", ()),
        (b"", ()),
    ],
)
async def test_a_form_with_files_has_it_in_a_part(body: bytes, found: tuple[str, ...]) -> None:
    assert await given(MULTIPART, body) == found
    unquoted = (b"content-type", b"Multipart/Form-Data; charset=utf-8; boundary=--xyz")
    assert await given(unquoted, body[:40], body[40:]) == found


@pytest.mark.parametrize(
    "kind", [b"application/json", b"text/plain", b"multipart/form-data", b"multipart/form-data; boundary=", b""]
)
async def test_other_bodies_are_not_looked_into(kind: bytes) -> None:
    for body in (b"csrf_token=t", json.dumps({"csrf_token": "t"}).encode(), part("csrf_token", "t") + END):
        assert await given((b"content-type", kind), body) == ()


async def test_a_large_form_is_read_no_further_than_the_limit() -> None:
    file = part("file", "x" * 3 * LIMIT, '; filename="x"')
    chunks = [file[at : at + 16_384] for at in range(0, len(file), 16_384)]
    assert await given(MULTIPART, part("csrf_token", "t"), *chunks, END) == ("t",)
    assert await given(MULTIPART, *chunks, part("csrf_token", "t") + END) == ()
    assert await given(URLENCODED, b"csrf_token=t&x=" + b"x" * LIMIT) == ()
    read = 0

    async def receive() -> Any:
        nonlocal read
        read += 16_384
        return {"type": "http.request", "body": b"x" * 16_384, "more_body": True}

    await submitted(scope_of(method="POST", headers=[MULTIPART, (b"cookie", b"a=b")]), receive)
    assert read <= LIMIT + 16_384


@pytest.mark.parametrize(
    "headers", [[URLENCODED], [URLENCODED, (b"cookie", b"a=b"), (b"x-csrf-token", b"t")], [(b"cookie", b"a=b")]]
)
async def test_without_a_cookie_or_beside_a_header_no_body_is_read(headers: Any) -> None:
    async def receive() -> Any:
        raise AssertionError("the body was read")

    await submitted(scope_of(method="POST", headers=headers), receive)


async def test_a_form_that_is_too_large_for_its_token_is_refused(browser: Browser, app: App) -> None:
    body = form(csrf_token=browser.jar[CSRF], text="x" * LIMIT)
    assert rejected(await browser.request(*FORM, method="POST", body=body), app)
    assert not rejected(await browser.request(*FORM, header(browser.jar[CSRF]), method="POST", body=body), app)


async def test_twice_in_a_form_is_refused(browser: Browser, app: App) -> None:
    token = browser.jar[CSRF]
    assert rejected(await browser.request(*FORM, method="POST", body=form(csrf_token=token) + b"&csrf_token=x"), app)


# In tests.


async def test_a_visitor_of_a_test_carries_it(sessions: Sessions, middleware: DuctapeMiddleware) -> None:
    transport = httpx.ASGITransport(middleware)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        visitor = AsyncVisitor(client, sessions, tag=TAG, cookies=True)
        issued = await visitor.login()
        assert (await client.post("/")).text == issued.session_id
        await visitor.logout()
        assert dict(client.cookies) == {}
        assert "x-csrf-token" not in client.headers
        assert (await client.post("/")).text == "nobody"
