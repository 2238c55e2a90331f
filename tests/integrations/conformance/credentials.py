"""The credentials of the table, as raw header bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from ductape_asgi import Sessions
from tests.sessions.support import Clock

ANN = {"userId": "ann", "role": "user"}
ADA = {"userId": "ada", "role": "admin", "permissions": ["write"]}
CLEO = {"userId": "cleo", "role": "clerk"}
OLGA = {"userId": "olga", "role": "admin", "permissions": ["write"]}
TAG = "user-session"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Request:
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    query: bytes = b""
    store_is_down: bool = False


@dataclass(frozen=True)
class Tokens:
    ann: str
    ada: str
    cleo: str
    olga: str
    expired: str
    revoked: str
    forged: str
    other_tag: str
    other_realm: str
    refresh: str


async def issue(sessions: Sessions, clock: Clock) -> Tokens:
    """One token of each kind; those that time has to pass for come first."""
    expired = await sessions.start(tag=TAG, data=ADA, expires_in=60)
    olga = await sessions.start(tag=TAG, data=OLGA, expires_in=900)
    clock.advance(301)
    ann = await sessions.start(tag=TAG, data=ANN)
    revoked = await sessions.start(tag=TAG, data=ADA)
    await sessions.revoke(tag=TAG, session_id=revoked.session_id)
    head, payload, signature = (await sessions.start(tag=TAG, data=ADA)).token.split(".")
    return Tokens(
        ann=ann.token,
        ada=(await sessions.start(tag=TAG, data=ADA)).token,
        cleo=(await sessions.start(tag=TAG, data=CLEO)).token,
        olga=olga.token,
        expired=expired.token,
        revoked=revoked.token,
        forged=".".join([head, payload, signature[::-1]]),
        other_tag=(await sessions.start(tag="checkout-session", data=ADA)).token,
        other_realm=(await sessions.start(tag=TAG, data=ADA, product="other")).token,
        refresh=str(ann.refresh_token),
    )


def bearer(token: str, scheme: str = "Bearer") -> Headers:
    return [(b"authorization", f"{scheme} {token}".encode())]


def cookie(token: str, site: str = "", origin: str = "") -> Headers:
    headers = [(b"cookie", f"__Host-ductape={token}".encode())]
    if site:
        headers.append((b"sec-fetch-site", site.encode()))
    if origin:
        headers.append((b"origin", origin.encode()))
    return headers


def header(*tokens: str) -> Headers:
    return [(b"x-session", token.encode()) for token in tokens]


def body(text: str) -> Request:
    raw = text.encode()
    return Request([(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())], raw)


SAME = "same-origin"
BASIC: Headers = [(b"authorization", b"Basic YW5uOm1hcGxl")]

CREDENTIALS: dict[str, Callable[[Tokens], Request]] = {
    "none": lambda t: Request(),
    "bearer of ann": lambda t: Request(bearer(t.ann)),
    "bearer of ada": lambda t: Request(bearer(t.ada)),
    "bearer of cleo": lambda t: Request(bearer(t.cleo)),
    "bearer of olga": lambda t: Request(bearer(t.olga)),
    "bearer, lower case": lambda t: Request(bearer(t.ann, "bearer")),
    "bearer, expired": lambda t: Request(bearer(t.expired)),
    "bearer, revoked": lambda t: Request(bearer(t.revoked)),
    "bearer, forged": lambda t: Request(bearer(t.forged)),
    "bearer, another tag": lambda t: Request(bearer(t.other_tag)),
    "bearer, another realm": lambda t: Request(bearer(t.other_realm)),
    "bearer, a refresh token": lambda t: Request(bearer(t.refresh)),
    "bearer, empty": lambda t: Request([(b"authorization", b"Bearer")]),
    "bearer, twice": lambda t: Request(bearer(t.ada) + bearer(t.ada)),
    "basic": lambda t: Request(BASIC),
    "in the URL": lambda t: Request(query=f"session={t.ada}&token={t.ada}&access_token={t.ada}".encode()),
    "cookie, same origin": lambda t: Request(cookie(t.ann, SAME)),
    "cookie, typed address": lambda t: Request(cookie(t.ann, "none")),
    "cookie, cross site": lambda t: Request(cookie(t.ann, "cross-site")),
    "cookie, same site": lambda t: Request(cookie(t.ann, "same-site")),
    "cookie, no sign of origin": lambda t: Request(cookie(t.ann)),
    "cookie, own Origin": lambda t: Request(cookie(t.ann, origin="https://shop.test")),
    "cookie, allowed Origin": lambda t: Request(cookie(t.ann, "same-site", "https://app.test")),
    "cookie, foreign Origin": lambda t: Request(cookie(t.ann, origin="https://evil.test")),
    "cookie, plain http Origin": lambda t: Request(cookie(t.ann, origin="http://shop.test")),
    "cookie of ada, cross site": lambda t: Request(cookie(t.ada, "cross-site")),
    "cookie, expired": lambda t: Request(cookie(t.expired, SAME)),
    "cookie, revoked": lambda t: Request(cookie(t.revoked, SAME)),
    "cookie, forged": lambda t: Request(cookie(t.forged, SAME)),
    "cookie, two of our name": lambda t: Request(cookie(t.ann, SAME) + cookie(t.ada)),
    "cookie beside others": lambda t: Request([(b"cookie", b'good=1; {"bad json": 1}; other'), *cookie(t.ann, SAME)]),
    "bearer, cross-site cookie": lambda t: Request(bearer(t.ada) + cookie(t.ann, "cross-site")),
    "forged bearer, good cookie": lambda t: Request(bearer(t.forged) + cookie(t.ada, SAME)),
    "basic, good cookie": lambda t: Request(BASIC + cookie(t.ann, SAME)),
    "header": lambda t: Request(header(t.ann)),
    "header, forged": lambda t: Request(header(t.forged)),
    "header, twice": lambda t: Request(header(t.ada, t.ada)),
    "body field": lambda t: body(json.dumps({"session": t.ann})),
    "body field, forged": lambda t: body(json.dumps({"session": t.forged})),
    "body field, twice": lambda t: body(f'{{"session": "{t.ada}", "session": "{t.ada}"}}'),
    "body field, not a string": lambda t: body('{"session": 7}'),
    "body too large": lambda t: body(json.dumps({"session": t.ada, "padding": "x" * 70_000})),
    "none, store down": lambda t: Request(store_is_down=True),
    "bearer of ann, store down": lambda t: Request(bearer(t.ann), store_is_down=True),
    "cookie of ann, store down": lambda t: Request(cookie(t.ann, SAME), store_is_down=True),
    "forged bearer, store down": lambda t: Request(bearer(t.forged), store_is_down=True),
}
