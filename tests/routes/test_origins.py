"""Where a request comes from: every row of the table, at every endpoint, and at the handshake of a WebSocket."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import DuctapeMiddleware
from tests.asgi_client import App, cookie, handshake

from .support import ACCESS, PASSWORD, TAG, Header, Person, World, problem, set_cookies

pytestmark = pytest.mark.anyio

OURS, ALLOWED = "https://shop.test", "https://app.example"

#: Sec-Fetch-Site, Origin, and whether an unsafe request may pass at https://shop.test, where ALLOWED is allowed.
ROWS: list[tuple[str | None, str | None, bool]] = [
    ("same-origin", None, True),
    ("same-origin", OURS, True),
    ("same-origin", "null", True),
    ("none", None, True),
    ("none", OURS, True),
    ("same-site", None, False),
    ("same-site", OURS, False),
    ("same-site", "https://blog.shop.test", False),
    ("same-site", ALLOWED, True),
    ("cross-site", None, False),
    ("cross-site", OURS, False),
    ("cross-site", "null", False),
    ("cross-site", "https://evil.example", False),
    ("cross-site", ALLOWED, True),
    ("cross-site", ALLOWED + ".evil", False),
    ("", None, False),
    ("", OURS, False),
    ("Same-Origin", None, False),
    ("same-origin, cross-site", None, False),
    ("same-origin ", OURS, False),
    ("anything", OURS, False),
    (None, None, False),
    (None, OURS, True),
    (None, ALLOWED, True),
    (None, "", False),
    (None, "null", False),
    (None, "shop.test", False),
    (None, "//shop.test", False),
    (None, "http://shop.test", False),
    (None, "wss://shop.test", False),
    (None, "https://SHOP.TEST", False),
    (None, "https://shop.test/", False),
    (None, "https://shop.test:443", False),
    (None, "https://shop.test:8443", False),
    (None, "https://shop.test.evil", False),
    (None, "https://evil.shop.test", False),
    (None, "https://evilshop.test", False),
    (None, "https://shop.test@evil.example", False),
    (None, "https://evil.example", False),
    (None, "https://evil.example https://shop.test", False),
    (None, "https://xn--shp-hna.test", False),
    (None, "https://app.example.evil", False),
    (None, "http://app.example", False),
    (None, "https://app.example:444", False),
]
UNSAFE = [
    ("POST", "/login"),
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("POST", "/ticket"),
    ("POST", "/sessions/revoke-others"),
    ("DELETE", "/sessions/{other}"),
    ("DELETE", "/sessions/{own}"),
]
SAFE = [(method, path) for method in ("GET", "HEAD") for path in ("/session", "/sessions", "/jwks.json")]


def headers_of(site: str | None, origin: str | None) -> list[Header]:
    pairs = ((b"sec-fetch-site", site), (b"origin", origin))
    return [(name, value.encode()) for name, value in pairs if value is not None]


async def signed_in(world: World, **options: Any) -> tuple[Person, dict[str, str]]:
    ann = world.person(**options)
    other = world.another(ann)
    await other.sign_in()
    await ann.sign_in()
    return ann, {"own": str(await ann.session_id()), "other": str(await other.session_id())}


async def tried(person: Person, method: str, path: str, headers: list[Header]) -> Any:
    body = {"user": "ann", "password": PASSWORD} if path == "/login" else None
    return await person.copy().send(method, path, json=body, headers=headers, origin=None)


@pytest.fixture
def mode() -> str:
    """There is no such rule in bearer mode."""
    return "cookie"


def test_the_table_has_forty_rows() -> None:
    assert len(set(ROWS)) == len(ROWS) >= 40


@pytest.mark.parametrize(("method", "path"), UNSAFE)
async def test_an_unsafe_request(world: World, method: str, path: str) -> None:
    ann, known = await signed_in(world, allowed_origins=[ALLOWED])
    for site, origin, passes in ROWS:
        before = dict(world.store.calls)
        answer = await tried(ann, method, path.format_map(known), headers_of(site, origin))
        if passes:
            assert answer.status in (200, 204), (site, origin)
            ann, known = await signed_in(world, allowed_origins=[ALLOWED])
            continue
        assert problem(answer) == (403, "csrf_rejected"), (site, origin)
        assert set_cookies(answer) == {}
        changes = ("create", "rotate", "revoke", "revoke_all", "verify")
        assert [world.store.calls[verb] - before.get(verb, 0) for verb in changes] == [0] * len(changes)
        assert await ann.session_id() == known["own"]


@pytest.mark.parametrize(("method", "path"), SAFE)
async def test_a_safe_request(world: World, method: str, path: str) -> None:
    ann, _ = await signed_in(world)
    for site, origin, _ in ROWS:
        answer = await tried(ann, method, path, headers_of(site, origin))
        assert answer.status == 200
        assert answer.header("access-control-allow-origin") is None


@pytest.mark.parametrize("denial", [True, False])
async def test_a_handshake(world: World, denial: bool) -> None:
    ann, _ = await signed_in(world)
    app = App()
    middleware = DuctapeMiddleware(app, sessions=world.sessions, tag=TAG, allowed_origins=[ALLOWED])
    for site, origin, passes in ROWS:
        app.scopes.clear()
        headers = [cookie(ann.jar[ACCESS]), *headers_of(site, origin)]
        shaken = await handshake(middleware, headers=headers, denial=denial)
        assert shaken.accepted is passes, (site, origin)
        assert bool(app.scopes) is passes


async def test_a_handshake_at_the_routes_is_always_denied(world: World) -> None:
    for site, origin, _ in ROWS:
        shaken = await handshake(world.routes(), path="/session", headers=headers_of(site, origin))
        assert not shaken.accepted


@pytest.mark.parametrize("name", [b"sec-fetch-site", b"origin", b"host"])
async def test_a_header_that_stands_twice_is_refused(world: World, name: bytes) -> None:
    ann, known = await signed_in(world)
    values = {b"sec-fetch-site": b"same-origin", b"origin": OURS.encode(), b"host": b"shop.test"}
    headers = [pair for pair in values.items() if name == b"sec-fetch-site" or pair[0] != b"sec-fetch-site"]
    for method, path in UNSAFE:
        answer = await tried(ann, method, path.format_map(known), [*headers, (name, values[name])])
        assert problem(answer) == (403, "csrf_rejected"), (method, path)


async def test_what_a_proxy_is_said_to_have_seen_does_not_count(world: World) -> None:
    ann, known = await signed_in(world)
    spoofed = [
        (b"origin", b"https://evil.example"),
        (b"x-forwarded-host", b"evil.example"),
        (b"forwarded", b"host=evil.example"),
        (b"x-forwarded-proto", b"https"),
        (b"x-original-host", b"evil.example"),
        (b"referer", b"https://shop.test/"),
    ]
    for method, path in UNSAFE:
        assert problem(await tried(ann, method, path.format_map(known), spoofed)) == (403, "csrf_rejected")


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data"])
async def test_what_a_form_of_another_site_can_send_is_refused(world: World, kind: bytes) -> None:
    ann, known = await signed_in(world)
    headers = [(b"content-type", kind), (b"sec-fetch-site", b"cross-site"), (b"origin", b"https://evil.example")]
    for method, path in UNSAFE:
        if method == "POST":
            assert problem(await tried(ann, method, path.format_map(known), headers)) == (403, "csrf_rejected")


async def test_the_middleware_around_says_which_origins_are_allowed_unless_the_routes_do(world: World) -> None:
    for options, status in (({}, 200), ({"allowed_origins": []}, 403)):
        ann, _ = await signed_in(world, **options)
        ann.app = DuctapeMiddleware(ann.app, sessions=world.sessions, tag=TAG, allowed_origins=[ALLOWED])
        headers = headers_of("cross-site", ALLOWED)
        assert (await ann.copy().send("POST", "/refresh", headers=headers, origin=None)).status == status
