"""What one installation of the middleware was told: checked once, and on the scope of each request it decides on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from .access import ERROR_KEY, SESSION_KEY
from .clients import Network, proxy_networks
from .credentials import Cookie, Credential
from .csrf import checked_origins
from .errors import ConfigurationError, DuctapeError
from .identity import ANONYMOUS, is_ours
from .models import Session
from .policy import TagPolicy, check_texts
from .problems import OPTIONS_KEY, PATH_KEY, Scope
from .sessions import Sessions
from .streams import EventStream

_EXEMPT = re.compile(r"/[^*]*(/\*)?|/\*")
_EXEMPT_RULE = 'a path starts with "/", and may end in "/*": "/health", "/auth/*"'


class MiddlewareOptions(TypedDict, total=False):
    """The keywords of `DuctapeMiddleware` but for `sessions`, for functions that hand them on."""

    tag: str | Sequence[str] | None
    required: bool
    exempt: Sequence[str]
    credentials: Sequence[Credential]
    allowed_origins: Sequence[str]
    auto_refresh: bool
    trusted_proxies: Sequence[str]
    set_user: bool
    state_key: str
    stream_until: Literal["session", "token"]


@dataclass(frozen=True, slots=True)
class Options:
    """What one installation was told.  Two with equal options are the same one, installed twice."""

    sessions: Sessions
    tags: tuple[str, ...]
    required: bool
    exempt: tuple[str, ...]
    credentials: tuple[Credential, ...]
    allowed_origins: frozenset[str]
    auto_refresh: bool
    trusted_proxies: tuple[Network, ...]
    set_user: bool
    state_key: str
    stream_until: Literal["session", "token"]
    policies: Mapping[str, TagPolicy] = field(compare=False, repr=False)

    @property
    def clock(self) -> Callable[[], float]:
        return self.sessions.worker.clock

    def follow(self, sent: list[Any], scope: Scope) -> None:
        """Have an event stream end with its session: called by `problems.note`, as the response starts."""
        if scope["type"] == "http" and scope.get(SESSION_KEY) is not None:
            sent[0] = EventStream(self, scope, sent[0])

    def lay(self, scope: Scope, session: Session[Any] | None, error: DuctapeError | None = None) -> None:
        """Put on the scope what was found."""
        # Written in place: with a copy, outer access logs would see neither our keys nor the route.
        scope[OPTIONS_KEY], scope[SESSION_KEY] = self, session
        scope.pop(ERROR_KEY, None)
        if error is not None:
            scope[ERROR_KEY] = error
        scope.setdefault("state", {})[self.state_key] = session
        for key in ("user", "auth") if self.set_user else ():
            # Without a session, what another middleware knows of the user stands.
            if session is not None or is_ours(scope.get(key, ANONYMOUS)):
                scope[key] = ANONYMOUS if session is None else session

    def exempts(self, scope: Scope) -> bool:
        """Whether the path of a request is one where no session is required."""
        path, root = scope.get(PATH_KEY, scope["path"]), (scope.get("root_path") or "").rstrip("/")
        if root and (path == root or path.startswith(root + "/")):
            path = path[len(root) :] or "/"
        elif root and root in path:
            return False  # Litestar and Quart route by what follows the first `root_path`, wherever it stands.
        if not {".", ".."}.isdisjoint(path.split("/")):
            return False
        return any(
            path == pattern or (pattern.endswith("/*") and (path == pattern[:-2] or path.startswith(pattern[:-1])))
            for pattern in self.exempt
        )


def checked_options(
    sessions: Sessions,
    *,
    tag: str | Sequence[str] | None,
    required: bool,
    exempt: Sequence[str],
    credentials: Sequence[Credential],
    allowed_origins: Sequence[str],
    auto_refresh: bool,
    trusted_proxies: Sequence[str],
    set_user: bool,
    state_key: str,
    stream_until: Literal["session", "token"],
) -> Options:
    """The options of one installation, as `DuctapeMiddleware` takes them.

    Raises:
        ConfigurationError: any of them is not usable.
    """
    if not isinstance(sessions, Sessions):
        raise ConfigurationError(f"sessions= takes a Sessions object, not {type(sessions).__name__}")
    sessions.context()  # A publishable key cannot verify: better said now than at the first request.
    for name, flag in (("required", required), ("auto_refresh", auto_refresh), ("set_user", set_user)):
        if not isinstance(flag, bool):
            raise ConfigurationError(f"{name}={flag!r}: use True or False")
    if not isinstance(state_key, str) or not state_key:
        raise ConfigurationError(f'state_key={state_key!r}: give a name on request.state, such as "session"')
    if stream_until not in ("session", "token"):
        raise ConfigurationError(f'stream_until={stream_until!r}: use "session" or "token"')
    tags = _tags(sessions, tag)
    return Options(
        sessions=sessions,
        tags=tags,
        required=required,
        exempt=check_texts(exempt, _EXEMPT, "exempt", _EXEMPT_RULE),
        credentials=_credentials(credentials),
        allowed_origins=checked_origins(allowed_origins),
        auto_refresh=auto_refresh,
        trusted_proxies=proxy_networks(trusted_proxies),
        set_user=set_user,
        state_key=state_key,
        stream_until=stream_until,
        policies={name: sessions.policy(name) for name in tags},
    )


def _tags(sessions: Sessions, tag: object) -> tuple[str, ...]:
    if tag is None:
        if len(sessions.tags) != 1:
            raise ConfigurationError('name the session type: DuctapeMiddleware(..., tag="user-session")')
        return sessions.tags
    tags = (tag,) if isinstance(tag, str) else tuple(tag) if isinstance(tag, Sequence) else ()
    if not tags:
        raise ConfigurationError(f'tag={tag!r}: give a session type such as "user-session", or several')
    return tuple(sessions.policy(name).tag for name in tags)


def _credentials(given: Sequence[Credential]) -> tuple[Credential, ...]:
    if not isinstance(given, list | tuple) or not given or not all(isinstance(item, Credential) for item in given):
        raise ConfigurationError(
            "credentials= takes Bearer(), Cookie(), Header(name), BodyField(name), Ticket() and Subprotocol() objects"
        )
    # A browser sends cookies by itself; what somebody chose to send goes before.
    return tuple(sorted(given, key=lambda item: isinstance(item, Cookie)))
