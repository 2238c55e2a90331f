"""Group G, browsers: forged requests, tossed cookies, planted sessions, and signing out."""

from __future__ import annotations

import pytest

from ductape_asgi import DuctapeMiddleware
from tests.asgi_client import Answer, App, call, scope_of
from tests.routes.support import ACCESS, CROSS, OWN, PASSWORD, REFRESH, TAG, Header, Person, World, problem, set_cookies

pytestmark = pytest.mark.anyio

only_cookies = pytest.mark.parametrize("mode", ["cookie"])


async def signed_in(world: World, user: str = "ann") -> Person:
    person = world.person()
    assert (await person.sign_in(user)).status == 200
    return person


async def live(world: World, user: str = "ann") -> int:
    return (await world.sessions.list(tag=TAG, identifier=user)).count


FORGED: dict[str, list[Header]] = {
    "G14-form": [CROSS, (b"content-type", b"application/x-www-form-urlencoded"), (b"origin", b"https://evil.example")],
    "G14-text-plain": [CROSS, (b"content-type", b"text/plain"), (b"origin", b"https://evil.example")],
    "G14-null": [(b"origin", b"null")],
    "G14-silent": [],
    "G14-same-site": [(b"sec-fetch-site", b"same-site"), (b"origin", b"https://blog.shop.test")],
    "G14-suffix": [(b"origin", b"https://shop.test.evil")],
    "G14-port": [(b"origin", b"https://shop.test:8443")],
    "G14-http": [(b"origin", b"http://shop.test")],
    "G14-upper-case": [(b"origin", b"https://SHOP.TEST")],
    "G14-idn": [(b"origin", "https://shöp.test".encode())],
    "G14-two-origins": [(b"origin", b"https://shop.test"), (b"origin", b"https://evil.example")],
    "G14-two-in-one": [(b"origin", b"https://evil.example, https://shop.test")],
    "G14-forwarded-host": [(b"origin", b"https://evil.example"), (b"x-forwarded-host", b"evil.example")],
    "G14-two-hosts": [(b"origin", b"https://evil.example"), (b"host", b"shop.test"), (b"host", b"evil.example")],
}


@only_cookies
@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
async def test_g14_a_forged_request_changes_nothing(world: World, headers: list[Header]) -> None:
    ann = await signed_in(world)
    for path in ("/login", "/refresh", "/logout", "/sessions/revoke-others", "/ticket"):
        body = b'{"user": "mallory", "password": "maple-syrup-42"}' if path == "/login" else b""
        answer = await ann.copy().send("POST", path, body=body, headers=headers, origin=None)
        assert problem(answer) == (403, "csrf_rejected")
        assert set_cookies(answer) == {}
    answer = await ann.copy().send("DELETE", f"/sessions/{await ann.session_id()}", headers=headers, origin=None)
    assert problem(answer) == (403, "csrf_rejected")
    assert (await live(world), await live(world, "mallory")) == (1, 0)
    assert (await ann.refresh()).status == 200


JUNK = [b"Bearer x", b"Bearer", b"Bearer ", b"bearer x", b"Bearer a.b.c", b"Bearer  x"]


@only_cookies
@pytest.mark.parametrize("junk", JUNK)
async def test_g16_a_junk_bearer_token_does_not_open_the_way_to_the_cookie(world: World, junk: bytes) -> None:
    ann = await signed_in(world)
    authorization = (b"authorization", junk)
    for path in ("/logout", "/sessions/revoke-others", "/ticket"):
        answer = await ann.copy().send("POST", path, headers=[authorization, CROSS], origin=None)
        assert problem(answer)[0] == 401
    for path in ("/login", "/refresh"):  # which a Bearer token has no part in
        answer = await ann.copy().send("POST", path, headers=[authorization, CROSS], origin=None)
        assert problem(answer) == (403, "csrf_rejected")
    assert problem(await ann.copy().send("GET", "/session", headers=[authorization]))[0] == 401
    assert await ann.session_id() is not None


def tossed(good: str, evil: str) -> dict[str, list[bytes]]:
    """`Cookie` lines with which a neighbour tries to have its own value taken, or to have ours read askew."""
    name = ACCESS.encode()
    one, two = name + b"=" + good.encode(), name + b"=" + evil.encode()
    return {
        "G17-duplicate": [one + b"; " + two],
        "G17-duplicate-first": [two + b"; " + one],
        "G17-two-lines": [one, two],
        "G17-two-lines-first": [two, one],
        "G17-same-twice": [one + b"; " + one],
    }


def ignored(good: str, evil: str) -> dict[str, list[bytes]]:
    """Lines in which there is one cookie of our name, and it is ours."""
    name, value = ACCESS.encode(), evil.encode()
    one = name + b"=" + good.encode()
    return {
        "G17-lower": [one + b"; __host-ductape=" + value],
        "G17-mixed": [b"__HoSt-ductape=" + value + b"; " + one],
        "G17-secure": [one + b"; __SeCuRe-ductape=" + value],
        "G17-nbsp": [b"\xa0" + name + b"=" + value + b"; " + one],
        "G17-nbsp-behind": [name + b"\xa0=" + value + b"; " + one],
        "G17-vertical-tab": [b"\x0b" + name + b"=" + value + b"; " + one],
        "G17-nameless": [b"=" + name + b"=" + value + b"; " + one],
        "G17-version": [b"$Version=1; " + one + b"; $Path=/"],
        "G17-quoted-semicolon": [b'a="x; b=y"; ' + one],
        "G17-octal": [b'a="\\137\\137Host-ductape=' + value + b'"; ' + one],
        "G17-comma": [b"a=b," + name + b"=" + value + b"; " + one],
        "G17-foreign-json": [b'a={"bad json": 1}; ' + one],
    }


@only_cookies
@pytest.mark.parametrize("where", ["routes", "middleware"])
async def test_g17_two_cookies_of_our_name_are_none(world: World, where: str) -> None:
    ann, mallory = await signed_in(world), await signed_in(world, "mallory")
    for name, lines in tossed(ann.jar[ACCESS], mallory.jar[ACCESS]).items():
        answer = await _with_cookies(world, where, lines)
        assert problem(answer) == (401, "invalid_token"), name


@only_cookies
@pytest.mark.parametrize("where", ["routes", "middleware"])
async def test_g17_what_only_looks_like_our_cookie_is_not_ours(world: World, where: str) -> None:
    ann, mallory = await signed_in(world), await signed_in(world, "mallory")
    mine = str(await ann.session_id())
    for name, lines in ignored(ann.jar[ACCESS], mallory.jar[ACCESS]).items():
        answer = await _with_cookies(world, where, lines)
        assert answer.status == 200, name
        assert mine.encode() in answer.body, name


async def _with_cookies(world: World, where: str, lines: list[bytes]) -> Answer:
    app = (
        world.routes()
        if where == "routes"
        else DuctapeMiddleware(App(), sessions=world.sessions, tag=TAG, required=True)
    )
    return await call(app, path="/session", headers=[(b"cookie", line) for line in lines])


@only_cookies
async def test_g17_a_value_in_quotes_is_not_unquoted(world: World) -> None:
    ann = await signed_in(world)
    answer = await _with_cookies(world, "routes", [f'{ACCESS}="{ann.jar[ACCESS]}"'.encode()])
    assert problem(answer) == (401, "invalid_token")


@only_cookies
@pytest.mark.parametrize("planted", ["genuine", "made-up", "ended"])
async def test_g18_a_planted_cookie_is_never_adopted(world: World, planted: str) -> None:
    mallory = await signed_in(world, "mallory")
    victim = world.another(mallory)
    known = str(await mallory.session_id())
    victim.jar = {ACCESS: "made-up", REFRESH: "drt_made-up"} if planted == "made-up" else dict(mallory.jar)
    if planted == "ended":
        await world.sessions.revoke(tag=TAG, session_id=known)
    before = dict(victim.jar)
    assert (await victim.sign_in("ann")).status == 200
    fresh = str(await victim.session_id())
    assert fresh != known
    assert not set(victim.jar.values()) & set(before.values())
    assert await live(world, "ann") == 1
    if planted != "made-up":
        # What was planted opens nothing any more, and never the new session.
        assert await mallory.session_id() is None
        assert (await mallory.refresh()).status == 401
        assert await live(world, "mallory") == 0


async def test_g18_a_session_id_that_a_client_brings_makes_no_session(world: World) -> None:
    ann = world.person()
    wanted = "A" * 22
    body = {"user": "ann", "password": PASSWORD, "sessionId": wanted, "session_id": wanted, "sid": wanted}
    answer = await ann.send("POST", "/login", json=body, query=b"sessionId=" + wanted.encode())
    assert answer.json()["sessionId"] != wanted


@only_cookies
async def test_g19_nobody_is_signed_in_by_another_site(world: World) -> None:
    """fastapi-users CVE-2025-68481: the victim's browser is made to sign in as the attacker."""
    victim = world.person()
    for origin in (CROSS, (b"sec-fetch-site", b"same-site"), (b"origin", b"https://evil.example"), None):
        answer = await victim.sign_in("mallory", origin=origin)
        assert problem(answer) == (403, "csrf_rejected")
    assert victim.jar == {}
    assert await live(world, "mallory") == 0


async def test_g20_what_a_refused_sign_in_leaves_behind_is_no_session(world: World) -> None:
    ann = world.person()
    answer = await ann.sign_in(password="guessed")
    assert problem(answer) == (401, "sign_in_refused")
    assert ann.tokens == (None, None)
    assert b"sessionId" not in answer.body


async def test_g21_signing_out_with_somebody_elses_session_id_ends_ones_own(world: World) -> None:
    ann, bob = await signed_in(world), await signed_in(world, "bob")
    theirs = str(await bob.session_id())
    body = {"sessionId": theirs, "refreshToken": ann.refresh_token}
    answer = await ann.send("POST", "/logout", json=body, query=b"sessionId=" + theirs.encode())
    assert answer.status == 204
    assert (await live(world), await live(world, "bob")) == (0, 1)


async def test_g21_signing_out_twice_with_an_expired_token_is_no_error(world: World) -> None:
    ann = await signed_in(world)
    world.clock.advance(hours=2)
    again = ann.copy()
    for person in (ann, again):
        assert (await person.act("POST", "/logout")).status == 204
    assert await live(world) == 0


@only_cookies
async def test_g22_signing_out_believes_no_cookie_that_is_not_genuine(world: World) -> None:
    """better-auth's multi-session sign-out ended whatever unverified cookies named."""
    ann, bob = await signed_in(world), await signed_in(world, "bob")
    theirs = str(await bob.session_id())
    forged = {f"{ACCESS}-multi": theirs, f"{REFRESH}_1": bob.jar[REFRESH], "sessionId": theirs}
    ann.jar.update(forged)
    ann.jar[REFRESH] = bob.jar[REFRESH][:-4] + "AAAA"
    assert (await ann.send("POST", "/logout")).status == 204
    assert (await live(world), await live(world, "bob")) == (0, 1)


async def test_g23_nobody_is_sent_anywhere(world: World) -> None:
    ann = await signed_in(world)
    there = b"next=https://evil.example/&redirect=//evil.example&returnTo=%2F%2Fevil.example"
    for method, path in (("POST", "/refresh"), ("GET", "/session"), ("POST", "/login"), ("POST", "/logout")):
        body = {"user": "ann", "password": PASSWORD} if path == "/login" else None
        if world.mode == "bearer" and path == "/refresh":
            body = {"refreshToken": str(ann.refresh_token)}
        answer = await ann.copy().send(method, path, json=body, query=there)
        assert answer.status < 300
        assert answer.header("location") is None
        assert b"evil" not in answer.body


async def test_no_token_is_taken_from_a_url(world: World) -> None:
    """ASVS 14.2.1."""
    ann = await signed_in(world)
    access, refresh = (str(token).encode() for token in ann.tokens)
    query = b"token=" + access + b"&access_token=" + access + b"&session=" + access + b"&refreshToken=" + refresh
    for method, path in (("GET", "/session"), ("GET", "/sessions"), ("POST", "/refresh")):
        scope = scope_of(method=method, path=path, query=query, headers=[OWN])
        assert problem(await call(world.routes(), scope=scope)) == (401, "missing_token")
