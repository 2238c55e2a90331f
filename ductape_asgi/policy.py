"""What may be configured, checked once and loudly when it is built."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from .errors import ConfigurationError, InvalidData, quoted
from .schema import Schema, schema_for

#: The longest life of an access token, in seconds.
MAX_EXPIRES_IN = 86_400

_DURATION = re.compile(r"(\d{1,9})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SELECTOR = re.compile(r"\$Session\{([^{}]+)\}")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: What browsers take for a prefix, in any case, where a name begins so (RFC 6265bis section 4.1.3), or behind ours.
_COOKIE_PREFIX = re.compile(r"__|(host-)?http-", re.IGNORECASE)
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")

Duration = int | timedelta | str


def seconds(value: object, name: str, *, least: int = 1, most: int = 10 * 365 * 86_400) -> int:
    """A duration as whole seconds: an `int`, a `timedelta`, or text such as ``"90"``, ``"15m"``, ``"12h"``, ``"30d"``.

    Raises:
        ConfigurationError: not a duration, or not between `least` and `most`.
    """
    whole = _whole_seconds(value)
    if whole is None:
        raise ConfigurationError(
            f'{name}={value!r} is not a duration: give seconds, a timedelta, or "15m", "12h", "30d"'
        )
    if not least <= whole <= most:
        raise ConfigurationError(f"{name}={value!r} is out of range: from {least} to {most} seconds")
    return whole


def whole(duration: Duration) -> int:
    """The seconds of a duration that was checked before."""
    return seconds(duration, "duration", least=0)


def _whole_seconds(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, timedelta):
        return value // timedelta(seconds=1) if value % timedelta(seconds=1) == timedelta() else None
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value.isascii() else None
    return int(match[1]) * _UNITS[match[2]] if match else None


def check_tag(tag: object) -> str:
    """The tag itself, if it is one.

    Raises:
        ConfigurationError: not 1 to 64 letters, digits, ``.``, ``_`` or ``-``.
    """
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise ConfigurationError(
            f'tag={quoted(tag)} is not a session type: use letters, digits, ".", "_", "-", e.g. "user-session"'
        )
    return tag


def check_texts(given: object, pattern: re.Pattern[str], name: str, rule: str) -> tuple[str, ...]:
    """The texts of an option `name` that takes several, if each is as `rule` says.

    Raises:
        ConfigurationError: it is no list, or one of them does not match `pattern`.
    """
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ConfigurationError(f"{name}={given!r}: give a list; {rule}")
    for item in given:
        if not isinstance(item, str) or not pattern.fullmatch(item):
            raise ConfigurationError(f"{name}: {item!r} will not do; {rule}")
    return tuple(given)


def dig(data: object, path: str) -> object:
    """The value at a dotted path of nested dicts, or None."""
    if isinstance(data, dict) and path in data:
        return data[path]
    if "." not in path:
        return None
    for part in path.split("."):
        if not isinstance(data, dict) or part not in data:
            return None
        data = data[part]
    return data


def check_identifier(value: object, what: str = "identifier") -> str:
    """An identifier as text; whole numbers are written in decimal.

    Raises:
        InvalidData: empty, not text or a whole number, or not writable as UTF-8.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 256:
        value = str(value)
    if not isinstance(value, str) or not value:
        raise InvalidData(f"{what} must be a non-empty string, not {'empty' if value == '' else type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidData(f"{what} holds text that UTF-8 cannot express") from None
    return str(value)


@dataclass(frozen=True, kw_only=False)
class TagPolicy:
    """How sessions of one tag live.

    Args:
        tag: the session type, e.g. ``"user-session"``.
        expires_in: life of an access token; at most 86 400 s.
        session_ttl: absolute end of a session, which no refresh moves.
        idle_ttl: ends a session unused for so long (at least 120 s; up to 60 s late); None: never.
        refresh: False for sessions that end with their one token.
        reuse_grace: seconds in which the refresh token before the newest gets the same child whatever happened.
        max_sessions: how many live sessions one identifier may have; None: any number.
        on_limit: what a sign-in beyond that does: end the earliest started, or be refused.
        selector: where the identifier stands in the data: ``"userId"``, ``"user.id"`` or ``"$Session{userId}"``.
        anonymous: True: a session without identifier is allowed.
        schema: pydantic model, msgspec Struct, dataclass or TypedDict for the data.
        roles, permissions: where they stand in the data: paths to a string or a list of strings.

    Raises:
        ConfigurationError: any of these is not usable; the message says how to mend it.
    """

    tag: str
    expires_in: Duration = field(default=900, kw_only=True)
    session_ttl: Duration = field(default="30d", kw_only=True)
    idle_ttl: Duration | None = field(default=None, kw_only=True)
    refresh: bool = field(default=True, kw_only=True)
    reuse_grace: Duration = field(default=10, kw_only=True)
    max_sessions: int | None = field(default=None, kw_only=True)
    on_limit: Literal["evict_oldest", "reject"] = field(default="evict_oldest", kw_only=True)
    selector: str = field(default="userId", kw_only=True)
    anonymous: bool = field(default=False, kw_only=True)
    schema: Any = field(default=None, kw_only=True)
    roles: str | tuple[str, ...] = field(default=("role", "roles"), kw_only=True)
    permissions: str | tuple[str, ...] = field(default=("permissions",), kw_only=True)
    codec: Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_tag(self.tag)
        self._set("expires_in", seconds(self.expires_in, "expires_in", most=MAX_EXPIRES_IN))
        self._set("session_ttl", seconds(self.session_ttl, "session_ttl"))
        self._set("reuse_grace", seconds(self.reuse_grace, "reuse_grace", least=0, most=3600))
        if self.idle_ttl is not None:
            self._set("idle_ttl", seconds(self.idle_ttl, "idle_ttl", least=120))
        self._check_limits()
        match = _SELECTOR.fullmatch(self.selector) if isinstance(self.selector, str) else None
        self._set("selector", match[1] if match else self.selector)
        self._set("selector", _check_path(self.selector, "selector"))
        self._set("roles", _check_paths(self.roles, "roles"))
        self._set("permissions", _check_paths(self.permissions, "permissions"))
        self._set("codec", schema_for(self.schema))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_limits(self) -> None:
        if self.max_sessions is not None and (type(self.max_sessions) is not int or self.max_sessions < 1):
            raise ConfigurationError(
                f"max_sessions={self.max_sessions!r}: give a whole number from 1, or None for no limit"
            )
        if self.on_limit not in ("evict_oldest", "reject"):
            raise ConfigurationError(f'on_limit={self.on_limit!r}: use "evict_oldest" or "reject"')
        for name in ("refresh", "anonymous"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: use True or False")

    def identifier_in(self, data: Mapping[str, Any]) -> str | None:
        """The identifier that the selector finds, or None.

        Raises:
            InvalidData: it finds something that cannot be one.
        """
        found = dig(data, self.selector)
        return None if found is None else check_identifier(found, f"data[{self.selector!r}]")

    def roles_in(self, data: object) -> frozenset[str]:
        return _names_at(data, self.roles)

    def permissions_in(self, data: object) -> frozenset[str]:
        return _names_at(data, self.permissions)


def _check_path(path: object, name: str) -> str:
    if not isinstance(path, str) or not path or not all(path.split(".")) or set("{}$") & set(path):
        raise ConfigurationError(
            f'{name}={path!r} is not a path into the data: use "userId", "user.id" or "$Session{{userId}}"'
        )
    return path


def _check_paths(paths: str | tuple[str, ...], name: str) -> tuple[str, ...]:
    if not isinstance(paths, str | list | tuple):
        raise ConfigurationError(f'{name}={paths!r}: give a path into the data such as "user.roles", or several')
    return tuple(_check_path(path, name) for path in ([paths] if isinstance(paths, str) else paths))


def _names_at(data: object, paths: str | tuple[str, ...]) -> frozenset[str]:
    """The strings at these paths; anything that is not a string gives no right and is left out."""
    names: set[str] = set()
    for path in paths:
        found = dig(data, path)
        if isinstance(found, str):
            names.add(found)
        elif isinstance(found, list):
            names.update(item for item in found if isinstance(item, str))
    return frozenset(names)


@dataclass(frozen=True, kw_only=True)
class CookiePolicy:
    """How tokens travel in cookies.

    Args:
        name: the cookies are ``<prefix><name>`` and ``<prefix><name>-refresh``.
        domain: share them with sub-domains; the prefix becomes ``__Secure-``.  None: this host only, ``__Host-``.
        secure: False only for plain http on a loopback address; then there is no prefix.
        samesite: ``"lax"``, ``"strict"`` or ``"none"``.
        csrf_token: have unsafe requests carry a token of their session besides, in ``X-CSRF-Token`` or the form field
            ``csrf_token``; pages find it in the cookie ``<prefix><name>-csrf`` or `Sessions.csrf_token`.

    Raises:
        ConfigurationError: any of these is not usable.
    """

    name: str = "ductape"
    domain: str | None = None
    secure: bool = True
    samesite: Literal["lax", "strict", "none"] = "lax"
    csrf_token: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _COOKIE_NAME.fullmatch(self.name):
            raise ConfigurationError(f"cookie name={self.name!r}: use 1 to 64 letters, digits, '_' or '-'")
        if _COOKIE_PREFIX.match(self.name):
            raise ConfigurationError(f"cookie name={self.name!r}: leave the prefix out; secure= and domain= say which")
        if self.domain is not None and not (isinstance(self.domain, str) and _DOMAIN.fullmatch(self.domain)):
            raise ConfigurationError(f'cookie domain={self.domain!r}: use a host name such as "example.com"')
        if not isinstance(self.secure, bool):
            raise ConfigurationError(f"cookie secure={self.secure!r}: use True or False")
        if self.samesite not in ("lax", "strict", "none"):
            raise ConfigurationError(f'samesite={self.samesite!r}: use "lax", "strict" or "none"')
        if self.samesite == "none" and not self.secure:
            raise ConfigurationError('samesite="none" needs secure=True: browsers drop such a cookie otherwise')
        if not isinstance(self.csrf_token, bool):
            raise ConfigurationError(f"csrf_token={self.csrf_token!r}: use True or False")
        if self.domain is not None and not self.secure:
            raise ConfigurationError("domain= needs secure=True; secure=False is for one loopback host only")

    @property
    def prefix(self) -> str:
        return "" if not self.secure else "__Host-" if self.domain is None else "__Secure-"

    @property
    def access_name(self) -> str:
        return self.prefix + self.name

    @property
    def refresh_name(self) -> str:
        return f"{self.prefix}{self.name}-refresh"

    @property
    def csrf_name(self) -> str:
        return f"{self.prefix}{self.name}-csrf"

    @property
    def names(self) -> tuple[str, ...]:
        """All cookies that one session has."""
        return (self.access_name, self.refresh_name) + ((self.csrf_name,) if self.csrf_token else ())
