"""What travels between the parts: frozen values, none of which shows a token, a key or data in its `repr`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, cast

from .errors import ConfigurationError, quoted
from .frozen import dump_json, freeze

if TYPE_CHECKING:
    import typing_extensions

    DataT = typing_extensions.TypeVar("DataT", default=dict[str, Any])
else:
    DataT = TypeVar("DataT")

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


def instant(seconds: float) -> datetime:
    """Unix seconds as a UTC `datetime`."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True)
class Realm:
    """A protection space: one product in one environment.  Its text form is the claim ``aud``, ``"product:env"``."""

    product: str
    env: str

    def __post_init__(self) -> None:
        for name, value in (("product", self.product), ("env", self.env)):
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise ConfigurationError(
                    f"{name}={quoted(value)} is not a name: use 1 to 64 of a-z, 0-9, '_' and '-', e.g. {name}="
                    + ('"shop"' if name == "product" else '"prd"')
                )

    @property
    def audience(self) -> str:
        return f"{self.product}:{self.env}"

    def __str__(self) -> str:
        return self.audience


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Where a session is used from, for people who look at their list of devices."""

    ip: str | None = None
    user_agent: str | None = None
    label: str | None = None


@lru_cache(maxsize=1024)
def _shared(names: frozenset[str]) -> frozenset[str]:
    """One object for all equal sets: most people have the roles that most people have."""
    return names


def _small(document: bytes) -> bool:
    """Whether a document stays small when it is parsed, so that a cache of sessions may keep it so."""
    return len(document) <= 1024 and document.count(b"[") + document.count(b"{") <= 8


class Session(Generic[DataT]):
    """A verified session.  It cannot be changed, and each access to `data` answers a fresh value.

    Instants are UTC; `expires_at` is the end of the access token that was verified.
    """

    __slots__ = (
        "_document",
        "_load",
        "_plain",
        "auth_time",
        "expires_at",
        "identifier",
        "issued_at",
        "permissions",
        "realm",
        "roles",
        "session_id",
        "tag",
    )
    session_id: str
    tag: str
    identifier: str | None
    realm: Realm
    roles: frozenset[str]
    permissions: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    auth_time: datetime
    _document: bytes
    _load: Callable[[bytes], DataT] | None
    _plain: dict[str, Any] | None

    def __init__(
        self,
        *,
        session_id: str,
        tag: str,
        identifier: str | None,
        realm: Realm,
        data: Mapping[str, Any] | bytes,
        roles: Iterable[str] = (),
        permissions: Iterable[str] = (),
        issued_at: datetime,
        expires_at: datetime,
        auth_time: datetime,
        load: Callable[[bytes], DataT] | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "session_id", session_id)
        put(self, "tag", tag)
        put(self, "identifier", identifier)
        put(self, "realm", realm)
        put(self, "roles", _shared(frozenset(roles)))
        put(self, "permissions", _shared(frozenset(permissions)))
        put(self, "issued_at", issued_at)
        put(self, "expires_at", expires_at)
        put(self, "auth_time", auth_time)
        put(self, "_document", data if isinstance(data, bytes) else dump_json(dict(data)))
        put(self, "_load", load)
        put(self, "_plain", None)

    @property
    def data(self) -> DataT:
        """What `start` or the last `update` put in: a read-only dict, or an instance of the tag's schema."""
        if self._load is not None:
            return self._load(self._document)
        plain = self._plain
        if plain is None:
            plain = json.loads(self._document)
            if _small(self._document):
                object.__setattr__(self, "_plain", plain)
        # A copy for each access: whatever a handler manages to do to it, the next request does not see it.
        return cast("DataT", freeze(plain))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Session cannot be changed; use sessions.update(...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Session cannot be changed; use sessions.update(...)")

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in Session.__slots__ if name not in ("_load", "_plain"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Session) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.session_id, self.issued_at))

    def __copy__(self) -> Session[DataT]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Session[DataT]:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session is not pickled; pass its session_id, or the token to verify again")

    def __repr__(self) -> str:
        return f"<Session {self.session_id} tag={self.tag!r} realm='{self.realm}' expires_at={self.expires_at:%FT%TZ}>"


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """What `start` and `refresh` answer: the tokens, to be handed to the client and kept nowhere else."""

    token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    session_id: str
    identifier: str | None
    tag: str
    expires_at: datetime
    session_expires_at: datetime
    _csrf_token: str | None = field(default=None, repr=False, compare=False)
    _cookie_headers: Callable[[IssuedSession], list[tuple[bytes, bytes]]] | None = field(
        default=None, repr=False, compare=False
    )

    def cookie_headers(self) -> list[tuple[bytes, bytes]]:
        """Raw ``Set-Cookie`` headers for this session, for an ASGI response of one's own.

        Raises:
            ConfigurationError: the `Sessions` was built with ``cookies=None``.
        """
        if self._cookie_headers is None:
            raise ConfigurationError("cookies are switched off: build Sessions with cookies=CookiePolicy()")
        return self._cookie_headers(self)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One live session in a list of devices.  Holds no token."""

    session_id: str
    tag: str
    identifier: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    client: ClientInfo


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of live sessions, newest first.  `count` is all of them, not the page's."""

    count: int
    sessions: tuple[SessionInfo, ...]
    next_cursor: str | None

    def __iter__(self) -> Iterator[SessionInfo]:
        return iter(self.sessions)


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The readable part of an access token whose signature holds.  Says nothing about revocation."""

    session_id: str
    tag: str
    realm: Realm
    subject: str
    issued_at: datetime
    not_before: datetime
    expires_at: datetime
    auth_time: datetime
    version: int
    kid: str


@dataclass(frozen=True, slots=True)
class Health:
    """How one worker stands with its store, for probes.

    `ok`: the store answers and the cache is trusted.  `staleness` is seconds since the last proof that no revocation
    was missed, infinite where there was none; the cache is `trusted` while it is below `max_staleness`.  An open
    `circuit` keeps calls away from a store that has failed repeatedly.
    """

    ok: bool
    store: Literal["ok", "unavailable"]
    staleness: float
    trusted: bool
    cache_entries: int
    circuit: Literal["closed", "open"]


#: How long after its `idle_ttl` an unused session may live on: last use is written at most once in this time.
TOUCH_EVERY = 60


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as a store keeps it.  Instants are Unix seconds; `identity`, `client` and `data` are sealed.

    `generation` is the newest one issued; `seen_generation` the newest that showed a sign of life;
    `refresh_key` names the access key that made the newest refresh token.
    """

    session_id: str
    realm: str
    tag: str
    subject: str
    identity: bytes = field(repr=False)
    client: bytes = field(repr=False)
    data: bytes = field(repr=False)
    refresh_key: str
    created_at: float
    last_seen_at: float
    auth_time: int
    ends_at: int
    expires_in: int
    idle_ttl: int | None = None
    version: int = 1
    generation: int = 0
    seen_generation: int = 0
    rotated_at: float = 0.0

    @property
    def idle_ends_at(self) -> float | None:
        """When an unused session ends; late by `TOUCH_EVERY`, so that a use not yet written ends nobody."""
        return None if self.idle_ttl is None else self.last_seen_at + self.idle_ttl + TOUCH_EVERY

    def live(self, now: float) -> bool:
        idle_end = self.idle_ends_at
        return now < self.ends_at and (idle_end is None or now < idle_end)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What one refresh token may have.  `record` is the session after the step; None only for ``"gone"``.

    ``"rotated"``: a new generation.  ``"same"``: the child that exists already.  ``"reused"``: a token
    older than both, and the session is ended.  ``"expired"``: the session's time is over.
    """

    outcome: Literal["rotated", "same", "reused", "expired", "gone"]
    record: SessionRecord | None = None


@dataclass(frozen=True, slots=True)
class RecordPage:
    count: int
    records: tuple[SessionRecord, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of the log: forget what is cached of a session, or of all a person's sessions of a tag.

    `ended` is False where only the data changed.  `spared` lives on (revoke_all but the current one).
    """

    realm: str
    tag: str
    session_id: str | None = None
    subject: str | None = None
    spared: str | None = None
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a store's log.  Another `epoch` means another log; sequences have no gaps.

    `shards` is the store's own, where its log is kept in several parts; `sequence` then counts all of them.
    """

    epoch: str
    sequence: int
    shards: tuple[tuple[str, int], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class LogPage:
    """The log since a position.  Not `complete`: entries are missing, so all that was cached must go."""

    position: Position
    entries: tuple[Revocation, ...] = ()
    complete: bool = True
