"""A session for every request of an app, without a sign-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from ..credentials import Bearer, Cookie, Header
from ..errors import ConfigurationError
from ..middleware import DuctapeMiddleware
from ..models import IssuedSession
from ..options import Options
from ..problems import RawHeaders, Receive, Scope, Send
from ..sessions import Sessions
from .people import start_options


@contextmanager
def override_session(
    target: Any,
    *,
    data: Any = None,
    role: str | None = None,
    permissions: Sequence[str] = (),
    identifier: str | None = None,
    tag: str | None = None,
) -> Iterator[None]:
    """Have every request and WebSocket of an app come with a session, whatever credential it carries.

    It is a real session, started in the app's own store at the first request and sent as the middleware expects it:
    guards, typed data, revocation and time work as ever.  The innermost override of an app is the one that counts.

    Args:
        target: the app (FastAPI, Starlette, Litestar), a `DuctapeMiddleware`, or the `Sessions` of all of them.
        data, role, permissions, identifier: as `Visitor.login` takes them.
        tag: the session type; else the first that the middleware accepts.

    Raises:
        ConfigurationError: the target is none of these.
    """
    if not isinstance(target, DuctapeMiddleware | Sessions) and not (
        hasattr(target, "middleware_stack") or hasattr(target, "asgi_handler")
    ):
        raise ConfigurationError(
            f"a {type(target).__name__} cannot be overridden: give the DuctapeMiddleware around it, or its Sessions"
        )
    who = {"data": data, "role": role, "permissions": permissions, "identifier": identifier}
    override = _Override(target, tag, who)
    _active.append(override)
    try:
        with patch.object(DuctapeMiddleware, "__call__", _overridden):
            yield
    finally:
        _active.remove(override)


async def _overridden(middleware: DuctapeMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] in ("http", "websocket"):
        override = next((one for one in reversed(_active) if one.covers(middleware, scope)), None)
        if override is not None:
            await override.sign_in(middleware.options, scope)
    await _original(middleware, scope, receive, send)


_original = DuctapeMiddleware.__call__


@dataclass(eq=False)
class _Override:
    target: Any
    tag: str | None
    who: dict[str, Any]
    issued: dict[tuple[int, str], IssuedSession] = field(default_factory=dict)

    def covers(self, middleware: DuctapeMiddleware, scope: Scope) -> bool:
        # Starlette and FastAPI name themselves on the scope as "app", and so do the versions of Litestar.
        apps = (scope.get("app"), scope.get("litestar_app"))
        return any(self.target is one for one in (middleware, middleware.options.sessions, *apps))

    async def sign_in(self, options: Options, scope: Scope) -> None:
        """Put the credential of this override in the place of whatever the request came with."""
        issued = await self._session(options)
        # In place, as the middleware does: whoever holds the scope outside sees the same request.
        scope["headers"] = _with_credential(list(scope["headers"]), options, issued.token)

    async def _session(self, options: Options) -> IssuedSession:
        sessions, tag = options.sessions, self.tag or options.tags[0]
        key = (id(sessions), tag)
        issued = self.issued.get(key)
        if issued is None or issued.expires_at.timestamp() <= options.clock():
            self.issued[key] = issued = await sessions.start(**start_options(sessions.policy(tag), **self.who))
        return issued


_active: list[_Override] = []


def _with_credential(headers: RawHeaders, options: Options, token: str) -> RawHeaders:
    for credential in options.credentials:
        if isinstance(credential, Bearer):
            return [*_without(headers, b"authorization"), (b"authorization", b"Bearer " + token.encode())]
        if isinstance(credential, Header):
            name = credential.name.encode()
            return [*_without(headers, name), (name, token.encode())]
        if isinstance(credential, Cookie) and options.sessions.cookies is not None:
            name, own = options.sessions.cookies.access_name.encode(), (b"sec-fetch-site", b"same-origin")
            others = _without(_without_cookie(headers, name), own[0])
            return [*others, (b"cookie", name + b"=" + token.encode()), own]
    raise ConfigurationError("override_session needs a middleware that reads Bearer(), Header(...) or Cookie()")


def _without(headers: RawHeaders, name: bytes) -> RawHeaders:
    return [(field, value) for field, value in headers if field != name]


def _without_cookie(headers: RawHeaders, name: bytes) -> RawHeaders:
    def others(line: bytes) -> bytes:
        return b";".join(pair for pair in line.split(b";") if pair.partition(b"=")[0].strip(b" \t") != name)

    return [(field, others(value) if field == b"cookie" else value) for field, value in headers]
