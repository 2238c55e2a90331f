"""What `session_routes` is told, checked when it is built, and handed to each endpoint."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request

from ..clients import Network, address_of, client_of
from ..errors import ConfigurationError
from ..models import ClientInfo
from ..policy import TagPolicy
from ..problems import OPTIONS_KEY, Scope
from ..sessions import Sessions
from .throttle import LoginThrottle

Mode = Literal["cookie", "bearer"]
#: Who signs in, from the request that asks for it: identifier and data as `Sessions.start` takes them, or None.
Authenticate = Callable[[Request], Awaitable[tuple[str | None, Any] | None]]
#: Who is claimed to sign in, for the throttle; None where the request does not say.
ReadIdentifier = Callable[[Request], Awaitable[str | None]]

_PREFIX = re.compile(r"|(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOptions:
    """How one `session_routes` works.  `recent_auth` is seconds; None for `allowed_origins` and `trusted_proxies`
    means those of the `DuctapeMiddleware` around it, if there is one."""

    sessions: Sessions
    tag: str
    mode: Mode = "cookie"
    authenticate: Authenticate | None = field(default=None, repr=False)
    login_identifier: ReadIdentifier | None = field(default=None, repr=False)
    throttle: LoginThrottle | None = None
    recent_auth: int | None = None
    allowed_origins: frozenset[str] | None = None
    trusted_proxies: tuple[Network, ...] | None = None
    prefix: str = ""
    max_body: int = 65_536

    def __post_init__(self) -> None:
        if self.mode not in ("cookie", "bearer"):
            raise ConfigurationError(f'mode={self.mode!r}: use "cookie" or "bearer"')
        if self.mode == "cookie" and self.sessions.cookies is None:
            raise ConfigurationError('mode="cookie" needs Sessions with cookies=CookiePolicy(); or use mode="bearer"')
        for name in ("authenticate", "login_identifier"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ConfigurationError(f"{name}= takes a coroutine function of one argument, the request")
        for name in ("admit", "succeeded"):
            if self.throttle is not None and not callable(getattr(self.throttle, name, None)):
                raise ConfigurationError(f"throttle= takes Throttle(...), None, or a LoginThrottle; {name} is missing")
        if not isinstance(self.prefix, str) or not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(f'prefix={self.prefix!r}: give the path it is served under, such as "/auth"')
        if type(self.max_body) is not int or self.max_body < 1:
            raise ConfigurationError(f"max_body={self.max_body!r}: give a number of bytes from 1")

    @property
    def policy(self) -> TagPolicy:
        return self.sessions.policy(self.tag)

    def now(self) -> float:
        """Unix seconds by the clock of `sessions`."""
        return self.sessions.worker.clock()

    def client_of(self, scope: Scope) -> ClientInfo:
        """Where a request comes from, as it is recorded with a session."""
        return client_of(scope, self._proxies(scope))

    def address_of(self, scope: Scope) -> str | None:
        """The client's address, or None where the server does not tell it."""
        return address_of(scope, self._proxies(scope))

    def origins(self, scope: Scope) -> frozenset[str]:
        """Other origins whose pages may use the cookies."""
        around: frozenset[str] = getattr(scope.get(OPTIONS_KEY), "allowed_origins", frozenset())
        return around if self.allowed_origins is None else self.allowed_origins

    def _proxies(self, scope: Scope) -> tuple[Network, ...]:
        around: tuple[Network, ...] = getattr(scope.get(OPTIONS_KEY), "trusted_proxies", ())
        return around if self.trusted_proxies is None else self.trusted_proxies


async def asked(answer: object, name: str) -> Any:
    """What a function of the app's own answers.

    Raises:
        ConfigurationError: it is no coroutine function.
    """
    if not inspect.isawaitable(answer):
        raise ConfigurationError(f"{name} must be a coroutine function: async def {name}(request)")
    return await answer
