"""The guards: frozen values that look at a `Session` and let it pass or raise.  The same five in every front end."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

from starlette.requests import HTTPConnection

from .errors import AccessDenied, ConfigurationError, DuctapeError, MissingToken, StepUpRequired
from .models import Session
from .policy import Duration
from .policy import seconds as checked_seconds
from .problems import DENIED_KEY, OPTIONS_KEY

MakeT = TypeVar("MakeT", bound=Callable[..., "Guard"])
Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

#: Where the middleware lays its result on the ASGI scope.
SESSION_KEY = "ductape.session"
ERROR_KEY = "ductape.error"
#: The guards that a connection has passed.
GUARDS_KEY = "ductape.guards"


def session_on(scope: Scope) -> Session[Any] | None:
    """The session of a request, or None for an anonymous one.

    Raises:
        ConfigurationError: no `DuctapeMiddleware` has seen this request.
    """
    try:
        session: Session[Any] | None = scope[SESSION_KEY]
    except KeyError:
        raise ConfigurationError(
            "no DuctapeMiddleware has seen this request.  FastAPI: install(app, sessions=sessions).  Litestar: "
            "plugins=[DuctapePlugin(sessions=sessions)].  Others: app = DuctapeMiddleware(app, sessions=sessions), "
            "and a guard inside of it: DuctapeMiddleware(guard.wrap(app), sessions=sessions)."
        ) from None
    return session


def demand_session(scope: Scope) -> Session[Any]:
    """The session of a request.

    Raises:
        SessionError: there is none; why the credential was refused, if there was one.
        ConfigurationError: no `DuctapeMiddleware` has seen this request.
    """
    session = session_on(scope)
    if session is None:
        raise _absence(scope)
    return session


def _absence(scope: Scope) -> DuctapeError:
    error = scope.get(ERROR_KEY)
    return error.with_traceback(None) if isinstance(error, DuctapeError) else MissingToken("this needs a session")


class _CallSignature:
    """What a framework that inspects a guard shall see: one connection.  (Litestar passes a second argument.)

    Where FastAPI is there it is asked for the scopes of ``Security(guard, scopes=[...])`` too: a guard that did not
    ask would let pass whoever lacks them.
    """

    _connection = inspect.Parameter("connection", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection)

    def __get__(self, guard: object, kind: type) -> inspect.Signature:
        if guard is None:
            raise AttributeError("__signature__")
        fastapi = sys.modules.get("fastapi.security")
        if fastapi is None:
            return inspect.Signature([self._connection])
        scopes = inspect.Parameter("security_scopes", inspect.Parameter.KEYWORD_ONLY, annotation=fastapi.SecurityScopes)
        return inspect.Signature([self._connection, scopes])


@dataclass(frozen=True, slots=True)
class Guard:
    """A demand on a session.  Equal demands are equal guards.

    ``guard.check(session)`` raises or answers the session; ``guard.wrap(app)`` guards an ASGI app; as a FastAPI
    dependency it answers the `Session`; as a Litestar guard it raises or does nothing.
    """

    kind: Literal["session", "any_role", "permissions", "recent_auth"]
    names: tuple[str, ...] = ()
    seconds: int = 0
    __signature__ = _CallSignature()

    def check(self, session: Session[Any] | None, *, now: float | None = None) -> Session[Any]:
        """The session, if it meets the demand.

        Raises:
            MissingToken: there is no session.
            AccessDenied: it lacks the role or permission.
            StepUpRequired: its sign-in is too old.
        """
        if session is None:
            raise MissingToken("this needs a session")
        if self.kind == "any_role" and session.roles.isdisjoint(self.names):
            raise AccessDenied(f"this needs the role {' or '.join(self.names)}", required=self._scopes())
        if self.kind == "permissions" and not session.permissions.issuperset(self.names):
            raise AccessDenied(f"this needs the permission {' and '.join(self.names)}", required=self._scopes())
        if self.kind == "recent_auth":
            age = (time.time() if now is None else now) - session.auth_time.timestamp()
            if age > self.seconds:
                raise StepUpRequired(self.seconds)
        return session

    def check_scope(self, scope: Scope) -> Session[Any]:
        """`check` the session that the middleware laid on an ASGI scope.

        A WebSocket or event stream that has passed is closed when newer data no longer passes.
        """
        clock = getattr(scope.get(OPTIONS_KEY), "clock", time.time)
        session = self.check(demand_session(scope), now=clock())
        passed = scope.get(GUARDS_KEY)
        if passed is None:
            scope[GUARDS_KEY] = [self]
        elif self not in passed:
            passed.append(self)
        return session

    async def __call__(self, connection: Any, *_: Any, security_scopes: Any = None) -> Any:
        # Annotated for nobody: Starlette's connections and Litestar's have no more in common than a scope.
        scopes = () if security_scopes is None else tuple(security_scopes.scopes)
        return self.enforce(connection.scope, guards_for(scopes))

    def enforce(self, scope: Scope, others: tuple[Guard, ...] = ()) -> Session[Any]:
        """`check_scope` where nobody is going to catch what it raises, which is noted for `problems.note`."""
        try:
            session = self.check_scope(scope)
            for other in others:
                other.check_scope(scope)
            return session
        except DuctapeError as error:
            scope[DENIED_KEY] = error
            raise

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """An ASGI app that lets only what passes reach `app`; `DuctapeMiddleware` around it answers the rest."""

        return _Guarded(self, app)

    def alternatives(self) -> list[frozenset[str]]:
        """The sets of scopes, ``role:<r>`` and ``permission:<p>``, any one of which meets the demand."""
        if self.kind == "any_role":
            return [frozenset({scope}) for scope in self._scopes()]
        return [frozenset(self._scopes() if self.kind == "permissions" else ())]

    def _scopes(self) -> tuple[str, ...]:
        prefix = "role" if self.kind == "any_role" else "permission"
        return tuple(f"{prefix}:{name}" for name in self.names)


class _Guarded:
    """An object, since Starlette's routes take a function for a handler of requests."""

    def __init__(self, guard: Guard, app: ASGIApp) -> None:
        self._guard = guard
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] in ("http", "websocket"):
            self._guard.enforce(scope)
        await self._app(scope, receive, send)


#: Any session at all.
require_session = Guard("session")


@lru_cache(maxsize=1024)
def guards_for(scopes: tuple[str, ...]) -> tuple[Guard, ...]:
    """The demands that names of scopes stand for, all of which are to be met.

    ``"role:admin"`` is that role and ``"permission:write"`` that permission; ``"authenticated"`` is any session; each
    other name, such as ``"orders:read"``, is the permission of that name.

    Raises:
        ConfigurationError: one of them names nothing.
    """
    return tuple(_guard_for(scope) for scope in scopes)


def _guard_for(scope: str) -> Guard:
    if scope == "authenticated":
        return require_session
    kind, _, name = scope.partition(":")
    if kind == "role":
        return require_role(name)
    return require_permission(name if kind == "permission" else scope)


def _factory(example: str) -> Callable[[MakeT], MakeT]:
    """Make a function that makes guards unfit to be taken for one.

    ``Depends(require_role)``, without the call, would have FastAPI read the role from the query, and let everybody
    in.  With the signature that it sees here it refuses to start, and names what to write.
    """
    hint = type(f"write Depends({example}), with a call", (), {})

    def mark(make: MakeT) -> MakeT:
        parameter = inspect.Parameter("call_it_first", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=hint)
        make.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
        return make

    return mark


@_factory('require_role("admin")')
def require_role(role: str) -> Guard:
    """Sessions with this role."""
    return Guard("any_role", _names("require_role", (role,)))


@_factory('require_any_role("admin", "staff")')
def require_any_role(*roles: str) -> Guard:
    """Sessions with at least one of these roles."""
    return Guard("any_role", tuple(sorted(set(_names("require_any_role", roles)))))


@_factory('require_permission("orders:read")')
def require_permission(*permissions: str) -> Guard:
    """Sessions with all of these permissions."""
    return Guard("permissions", tuple(sorted(set(_names("require_permission", permissions)))))


@_factory("require_recent_auth(300)")
def require_recent_auth(seconds: Duration) -> Guard:
    """Sessions whose sign-in is at most so old; refreshing does not renew it."""
    return Guard("recent_auth", seconds=checked_seconds(seconds, "require_recent_auth"))


def _names(guard: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f'{guard} takes names, each a text of its own and none empty: {guard}("admin")')
    return names
