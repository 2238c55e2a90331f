"""People at `session_routes`: each keeps what the endpoints gave, and looks at every answer for what must be true."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ductape_asgi import Sessions, session_routes
from ductape_asgi.testing import FlakyStore, SessionClock
from tests.asgi_client import Answer, call, scope_of

TAG = "user-session"
ACCESS, REFRESH = "__Host-ductape", "__Host-ductape-refresh"
OWN = (b"sec-fetch-site", b"same-origin")
CROSS = (b"sec-fetch-site", b"cross-site")
PASSWORD = "maple-syrup-42"
PUBLIC = ("/jwks.json", "/client.js", "/client.d.ts")

Header = tuple[bytes, bytes]


async def authenticate(request: Any) -> tuple[str | None, Any] | None:
    """A shop where everybody has the same password, and a role after their name."""
    given = await request.json()
    if given.get("password") != PASSWORD:
        return None
    return given["user"], {"userId": given["user"], "role": "user", "note": f"{given['user']}-who-likes-it-quiet"}


async def claimed(request: Any) -> str | None:
    user = (await request.json()).get("user")
    return user if isinstance(user, str) else None


def set_cookies(answer: Answer) -> dict[str, str]:
    """Name to value of each ``Set-Cookie``, every one of which has to pass the rules of its prefix."""
    found: dict[str, str] = {}
    for name, line in answer.headers:
        if name.lower() == b"set-cookie":
            first, *rest = line.decode().split("; ")
            attributes = [attribute.lower() for attribute in rest]
            key, _, value = first.partition("=")
            assert key.startswith("__Host-")
            assert {"path=/", "secure", "httponly", "samesite=lax"} <= set(attributes)
            assert not any(attribute.startswith("domain") for attribute in attributes)
            assert len(key) + len(value) <= 4096
            assert key not in found, "set twice in one answer"
            found[key] = value
    return found


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal, which has to have the form of one."""
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    document = answer.json()
    assert document["status"] == answer.status
    if answer.status == 401:
        assert (answer.header("www-authenticate") or "").startswith("Bearer ")
    return answer.status, document["code"]


@dataclass
class Person:
    """Somebody with a browser, or with an app that keeps tokens."""

    app: Any
    mode: str
    under: str = ""
    jar: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    refresh_token: str | None = None
    answers: list[Answer] = field(default_factory=list)

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | list[bytes] | None = None,
        headers: Iterable[Header] = (),
        origin: Header | None = OWN,
        query: bytes = b"",
        root: str = "",
    ) -> Answer:
        content, given = self._body(json, body)
        scope = scope_of(
            method=method,
            path=root + self.under + path,
            root_path=root,
            query=query,
            headers=[*headers, *given, *([origin] if origin else []), *self._credentials()],
        )
        answer = await call(self.app, scope=scope, body=content)
        self._look_at(path, answer)
        return answer

    def _body(self, document: Any, body: bytes | list[bytes] | None) -> tuple[bytes | list[bytes], list[Header]]:
        if document is None:
            return b"" if body is None else body, []
        return json.dumps(document).encode(), [(b"content-type", b"application/json")]

    def _credentials(self) -> list[Header]:
        if self.mode == "bearer":
            return [(b"authorization", f"Bearer {self.token}".encode())] if self.token else []
        return [(b"cookie", "; ".join(f"{k}={v}" for k, v in self.jar.items()).encode())] if self.jar else []

    def _look_at(self, path: str, answer: Answer) -> None:
        self.answers.append(answer)
        if path not in PUBLIC:
            assert answer.header("cache-control") == "no-store"
            assert answer.header("vary") == "Authorization, Cookie"
            if answer.header("content-type") == "application/json":
                assert answer.header("x-content-type-options") == "nosniff"
        cookies = set_cookies(answer)
        if self.mode == "bearer":
            assert not cookies, "a cookie in bearer mode"
        else:
            assert b"eyJ" not in answer.body, "an access token in a body"
            assert b"drt_" not in answer.body, "a refresh token in a body"
        for name, value in cookies.items():
            self.jar[name] = value
            if not value:
                del self.jar[name]

    async def sign_in(self, user: str = "ann", password: str = PASSWORD, **more: Any) -> Answer:
        answer = await self.send("POST", "/login", json={"user": user, "password": password}, **more)
        self.keep(answer)
        return answer

    async def refresh(self, **more: Any) -> Answer:
        body = {"refreshToken": self.refresh_token} if self.mode == "bearer" else None
        answer = await self.send("POST", "/refresh", json=body, **more)
        self.keep(answer)
        return answer

    async def act(self, method: str, path: str, **more: Any) -> Answer:
        """Something that a refresh token may authorise as well."""
        body = {"refreshToken": self.refresh_token} if self.mode == "bearer" and self.refresh_token else None
        return await self.send(method, path, json=body, **more)

    def keep(self, answer: Answer) -> None:
        if self.mode == "bearer" and answer.status == 200:
            self.token, self.refresh_token = answer.json()["token"], answer.json()["refreshToken"]

    def copy(self) -> Person:
        """The same tokens in other hands, or in a request that is under way."""
        return Person(self.app, self.mode, self.under, dict(self.jar), self.token, self.refresh_token)

    @property
    def tokens(self) -> tuple[str | None, str | None]:
        if self.mode == "bearer":
            return self.token, self.refresh_token
        return self.jar.get(ACCESS), self.jar.get(REFRESH)

    def lose_access_token(self) -> None:
        self.token = None
        self.jar.pop(ACCESS, None)

    async def session_id(self) -> str | None:
        """Whose session the endpoints take this for; None: nobody's."""
        answer = await self.send("GET", "/session")
        return answer.json()["sessionId"] if answer.status == 200 else None


@dataclass
class World:
    """One app with its store and its clock."""

    sessions: Sessions
    store: FlakyStore
    clock: SessionClock
    mode: str

    def routes(self, **options: Any) -> Any:
        given = {"authenticate": authenticate, "mode": self.mode, "throttle": None, **options}
        return session_routes(self.sessions, tag=TAG, **given)

    def person(self, **options: Any) -> Person:
        return Person(self.routes(**options), self.mode)

    def another(self, person: Person) -> Person:
        return Person(person.app, person.mode)
