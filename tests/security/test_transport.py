"""D5, G9, G16, G17 and 14.2.1: tokens as they reach the middleware, in raw bytes."""

from __future__ import annotations

import pytest

from ductape_asgi import BodyField, Cookie, DuctapeMiddleware, Header

from .asgi import App, assert_shut, bearer, call, cookie
from .forge import TAG, Forge

pytestmark = pytest.mark.anyio


# -- D5: the Authorization header --------------------------------------------------------------------------------------

AUTHORIZATION = {
    "D5-two-blanks": b"Bearer  {token}",
    "D5-trailing-blank": b"Bearer {token} ",
    "D5-leading-blank": b" Bearer {token}",
    "D5-tab": b"Bearer\t{token}",
    "D5-no-blank": b"Bearer{token}",
    "D5-two-tokens": b"Bearer {token},{token}",
    "D5-two-tokens-and-a-blank": b"Bearer {token}, {token}",
    "D5-scheme-alone": b"Bearer",
    "D5-scheme-and-blank": b"Bearer ",
    "D5-scheme-and-blanks": b"Bearer    ",
    "D5-quoted": b'Bearer "{token}"',
    "D5-parameter": b"Bearer token={token}",
    "D5-scheme-twice": b"Bearer Bearer {token}",
    "D5-colon": b"Bearer: {token}",
    "D5-semicolon": b"Bearer {token};",
    "D5-trailing-word": b"Bearer {token} x",
    "D5-NUL": b"Bearer {token}\0",
    "D5-CR-LF": b"Bearer {token}\r\nx: y",
    "D5-NBSP-latin-1": b"Bearer \xa0{token}",
    "D5-NBSP-after": b"Bearer {token}\xa0",
    "D5-not-latin-1-UTF-8": "Bearer {token}\u200b".encode(),
    "D5-not-UTF-8": b"Bearer {token}\xff\xfe",
    "D5-vertical-tab": b"Bearer\x0b{token}",
    "D5-tail-of-a-cached-token": b"Bearer {tail}",
    "D5-refresh-token": b"Bearer {refresh}",
    "D5-junk": b"Bearer x",
    "D5-64-KB": b"Bearer {token}" + b"A" * 65_536,
    "D5-header-and-payload": b"Bearer {unsigned}",
}


def fill(forge: Forge, template: bytes) -> bytes:
    assert forge.issued.refresh_token is not None
    values = {
        b"{token}": forge.token,
        b"{tail}": forge.token[-22:],
        b"{refresh}": forge.issued.refresh_token,
        b"{unsigned}": forge.token.rpartition(".")[0],
    }
    for name, value in values.items():
        template = template.replace(name, value.encode())
    return template


@pytest.mark.parametrize("template", AUTHORIZATION.values(), ids=AUTHORIZATION)
@pytest.mark.parametrize("warmth", ["cold", "warm"])
async def test_a_malformed_bearer_is_refused(
    door: DuctapeMiddleware, app: App, forge: Forge, template: bytes, warmth: str
) -> None:
    if warmth == "warm":
        await call(door, headers=[bearer(forge.token)])
        app.scopes.clear()

    answer = await call(door, headers=[(b"authorization", fill(forge, template))])

    assert_shut(answer, app)


#: Their first word is not `Bearer` but some other scheme's name, and other schemes are not ours.
OTHER_SCHEMES = {"D5-no-blank", "D5-colon", "D5-vertical-tab", "D5-tab", "D5-leading-blank"}


@pytest.mark.parametrize("name", sorted(AUTHORIZATION.keys() - OTHER_SCHEMES))
async def test_a_malformed_bearer_never_falls_back_to_a_good_cookie(
    door: DuctapeMiddleware, app: App, forge: Forge, name: str
) -> None:
    malformed = fill(forge, AUTHORIZATION[name])

    answer = await call(door, headers=[(b"authorization", malformed), cookie(forge.token)])

    assert_shut(answer, app)


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"bEaReR"], ids="D5-{!r}".format)
async def test_the_scheme_is_taken_in_any_case(door: DuctapeMiddleware, forge: Forge, scheme: bytes) -> None:
    """RFC 9110 section 11.1: scheme names are case-insensitive."""
    answer = await call(door, headers=[(b"authorization", scheme + b" " + forge.token.encode())])

    assert answer.status == 200


async def test_d5_two_authorization_headers_are_refused_whatever_they_say(
    door: DuctapeMiddleware, app: App, forge: Forge
) -> None:
    good, junk, basic = bearer(forge.token), bearer("x"), (b"authorization", b"Basic eDp5")
    for pair in ([good, good], [good, junk], [junk, good], [basic, good], [good, basic]):
        assert_shut(await call(door, headers=pair), app)
        assert_shut(await call(door, headers=[*pair, cookie(forge.token)]), app)


async def test_d5_also_when_the_first_is_in_the_cache(door: DuctapeMiddleware, app: App, forge: Forge) -> None:
    assert (await call(door, headers=[bearer(forge.token)])).status == 200
    app.scopes.clear()

    assert_shut(await call(door, headers=[bearer(forge.token), bearer(forge.token)]), app)


@pytest.mark.parametrize("other", [b"Basic eDp5", b"Digest x", b"Negotiate AAAA", b"Token x"], ids="D5-{!r}".format)
async def test_another_scheme_is_not_ours_and_is_left_alone(
    door: DuctapeMiddleware, app: App, forge: Forge, other: bytes
) -> None:
    assert (await call(door, headers=[(b"authorization", other), cookie(forge.token)])).status == 200
    app.scopes.clear()

    answer = await call(door, headers=[(b"authorization", other)])

    assert_shut(answer, app)
    assert answer.json()["code"] == "missing_token"
    assert b"error=" not in (answer.header(b"www-authenticate") or b"")


async def test_d5_no_refusal_tells_what_was_wrong(door: DuctapeMiddleware, app: App, forge: Forge) -> None:
    await forge.sessions.revoke(tag=TAG, session_id=forge.issued.session_id)
    answers = []
    for token in (forge.token, forge.token[:-1], "x", "a.b.c", forge.with_header(kid="x"), forge.resealed(exp="1")):
        answers.append(await call(door, headers=[bearer(token)]))

    assert len({(answer.status, tuple(answer.headers), answer.body) for answer in answers}) == 1
    assert answers[0].json()["code"] == "invalid_token"


# -- cookies -----------------------------------------------------------------------------------------------------------

COOKIES = {
    "G17-twice": b"__Host-ductape={token}; __Host-ductape={token}",
    "G17-good-then-bad": b"__Host-ductape={token}; __Host-ductape=x",
    "G17-bad-then-good": b"__Host-ductape=x; __Host-ductape={token}",
    "G17-lower-case": b"__host-ductape={token}",
    "G17-mixed-case": b"__HoSt-ductape={token}",
    "G17-secure-prefix": b"__Secure-ductape={token}",
    "G17-no-prefix": b"ductape={token}",
    "G17-NBSP-before-the-name": b"\xa0__Host-ductape={token}",
    "G17-vertical-tab-before-the-name": b"\x0b__Host-ductape={token}",
    "G17-line-end-before-the-name": b"\n__Host-ductape={token}",
    "G17-nameless": b"=__Host-ductape={token}",
    "G17-quoted": b'__Host-ductape="{token}"',
    "G17-comma": b"x=y,__Host-ductape={token}",
    "G17-within-quotes": b'x="; __Host-ductape={token}; "x',
    "G17-refresh-token-as-access": b"__Host-ductape={refresh}",
    "G17-in-the-refresh-cookie": b"__Host-ductape-refresh={token}",
    "G17-NBSP-after-the-value": b"__Host-ductape={token}\xa0",
    "G17-empty": b"__Host-ductape=",
    "G17-bearer": b"__Host-ductape=Bearer {token}",
}
#: As RFC 6265 section 5.4 would read it, this one holds the cookie between two others.
HOLDS_IT = {"G17-within-quotes"}


@pytest.mark.parametrize("name", sorted(COOKIES.keys() - HOLDS_IT))
@pytest.mark.parametrize("warmth", ["cold", "warm"])
async def test_a_cookie_that_is_not_exactly_ours_is_not_taken(
    door: DuctapeMiddleware, app: App, forge: Forge, name: str, warmth: str
) -> None:
    if warmth == "warm":
        await call(door, headers=[cookie(forge.token)])
        app.scopes.clear()

    answer = await call(door, headers=[(b"cookie", fill(forge, COOKIES[name]))])

    assert answer.status == 401
    assert app.scopes == []


async def test_g17_two_cookie_headers_are_one_list(door: DuctapeMiddleware, app: App, forge: Forge) -> None:
    """RFC 9113 section 8.2.3: HTTP/2 may split them."""
    assert (await call(door, headers=[(b"cookie", b"a=b"), cookie(forge.token)])).status == 200
    assert (await call(door, headers=[cookie(forge.token)])).status == 200  # now this header is in the cache
    app.scopes.clear()

    for pair in ([cookie("x"), cookie(forge.token)], [cookie(forge.token), cookie("x")], [cookie(forge.token)] * 2):
        answer = await call(door, headers=pair)
        assert answer.status == 401
        assert app.scopes == []


async def test_g16_junk_in_the_authorization_header_does_not_carry_a_cookie_past_the_csrf_rule(
    app: App, forge: Forge
) -> None:
    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG)
    crossing = (b"sec-fetch-site", b"cross-site")

    for junk in (b"Bearer x", b"Basic eDp5", b"x"):
        answer = await call(door, method="POST", headers=[(b"authorization", junk), cookie(forge.token), crossing])
        assert answer.session is None
        assert answer.status == 403 or junk == b"Bearer x"


# -- 14.2.1: never from the URL ----------------------------------------------------------------------------------------

IN_THE_URL = {
    "14.2.1-session": (b"session={token}", "/"),
    "14.2.1-access_token": (b"access_token={token}", "/"),
    "14.2.1-token": (b"token={token}", "/"),
    "14.2.1-authorization": (b"Authorization=Bearer%20{token}", "/"),
    "14.2.1-cookie-name": (b"__Host-ductape={token}", "/"),
    "14.2.1-bare": (b"{token}", "/"),
    "14.2.1-path": (b"", "/{token}"),
    "14.2.1-matrix-parameter": (b"", "/;session={token}"),
}


@pytest.mark.parametrize(("query", "path"), IN_THE_URL.values(), ids=IN_THE_URL)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_in_the_url_is_ignored(app: App, forge: Forge, query: bytes, path: str, method: str) -> None:
    doors = (Cookie(), Header("x-session"), BodyField("session"))
    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True, credentials=doors)
    path = path.replace("{token}", forge.token)

    answer = await call(door, method=method, path=path, query=fill(forge, query), body=b"{}")

    assert_shut(answer, app)
    assert answer.json()["code"] == "missing_token"


async def test_14_2_1_a_form_field_is_no_credential_either(app: App, forge: Forge) -> None:
    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True, credentials=(BodyField("session"),))
    form = [(b"content-type", b"application/x-www-form-urlencoded")]

    answer = await call(door, method="POST", headers=form, body=b"session=" + forge.token.encode())

    assert_shut(answer, app)


BODIES = {
    "C1-field-twice": b'{"session":"{token}","session":"x"}',
    "C1-field-twice-good-last": b'{"session":"x","session":"{token}"}',
    "C2-list": b'["{token}"]',
    "C2-nested": b'{"a":{"session":"{token}"}}',
    "C2-field-is-a-list": b'{"session":["{token}"]}',
    "C2-field-is-null": b'{"session":null}',
    "C2-field-is-a-number": b'{"session":1}',
    "C3-invalid-UTF-8": b'{"session":"{token}\xff"}',
    "C3-lone-surrogate": b'{"session":"{token}\\ud800"}',
    "C5-deep": b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b',"session":"{token}"}',
    "C6-10^5000": b'{"a":1' + b"0" * 5000 + b',"session":"x"}',
    "D6-not-JSON": b'{"session":"{token}"',
    "D6-empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_hostile_json_body_gives_no_session_and_no_crash(app: App, forge: Forge, body: bytes) -> None:
    door = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG, required=True, credentials=(BodyField("session"),))
    as_json = [(b"content-type", b"application/json")]

    assert_shut(await call(door, method="POST", headers=as_json, body=fill(forge, body)), app)


# -- G9: the other token -----------------------------------------------------------------------------------------------


async def test_g9_a_refresh_token_opens_nothing(door: DuctapeMiddleware, app: App, forge: Forge) -> None:
    assert forge.issued.refresh_token is not None
    assert_shut(await call(door, headers=[bearer(forge.issued.refresh_token)]), app)
