"""From an access token to a `Session`: the hit, the miss, and one flight for all who wait for the same miss."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import anyio

from .audit import audit, logger
from .cache import Entry, person_key
from .errors import (
    DuctapeError,
    ExpiredToken,
    InvalidData,
    InvalidToken,
    RevokedSession,
    SessionError,
    StoreUnavailable,
)
from .identity import SignedIn
from .models import TOUCH_EVERY, Session, SessionRecord, instant
from .policy import TagPolicy
from .realms import RealmContext
from .tokens import MAX_TOKEN, Claims, Contents
from .worker import Worker

_SCHEME = b"Bearer "
_REFUSED = "revocations cannot be followed now, and on_stale='refuse'"


class _Flight:
    """One verification that several callers wait for.  Without an outcome, its leader was cancelled."""

    __slots__ = ("done", "error", "result", "stale")

    def __init__(self) -> None:
        #: Made by the first who waits; most flights carry nobody else.
        self.done: anyio.Event | None = None
        self.result: Session[Any] | None = None
        self.error: DuctapeError | None = None
        self.stale: Callable[[], bool] = lambda: False


class Verifier:
    """Verifies access tokens for one worker, through the cache that its feed keeps true."""

    def __init__(self, worker: Worker, on_stale: Literal["check_store", "refuse"]) -> None:
        self._worker = worker
        self._cache = worker.cache
        self._feed = worker.feed
        self._on_stale = on_stale
        self._flights: dict[object, _Flight] = {}

    async def verify(
        self, context: RealmContext, policies: Mapping[str, TagPolicy], token: str | None, *, fresh: bool = False
    ) -> Session[Any]:
        """The session of `token`, which must be of this realm and one of these tags.

        Raises:
            SessionError: there is none.
            StoreUnavailable: it cannot be told now.
        """
        try:
            return await self._verify(context, policies, token, fresh)
        except SessionError as error:
            audit(
                "token.refused", context.log_key, context.audience, ",".join(policies), reason=f"{error.code}: {error}"
            )
            raise

    def entry(self, token: str) -> Entry | None:
        """The cached entry of a token just verified, if it was kept."""
        return self._cached(token)

    def session_of(self, context: RealmContext, policy: TagPolicy, token: str) -> Session[Any]:
        """The session of a token that was issued here just now: no store call, no sign of life, nothing cached.

        Raises:
            InvalidToken: its data does not fit the schema any more.
        """
        claims = context.access_tokens.read(token)
        return self._session(context, policy, claims, context.access_tokens.open(claims))

    async def _verify(
        self, context: RealmContext, policies: Mapping[str, TagPolicy], token: str | None, fresh: bool
    ) -> Session[Any]:
        if isinstance(token, str) and len(token) > MAX_TOKEN:
            raise InvalidToken(f"a token has at most {MAX_TOKEN} characters")
        trusted = self._feed.fresh() or await self._prove(context, token)
        entry = self._cached(token) if trusted and not fresh else None
        if entry is not None:
            session = self._hit(context, policies, entry)
            if session is not None:
                return session
        loop = await self._worker.ready()
        return await self._miss(context, policies, token, loop if trusted and not fresh else None)

    async def _prove(self, context: RealmContext, token: str | None) -> bool:
        """Whether the cache may be trusted; else, the store is asked.

        Raises:
            SessionError: `token` is none of ours, which can be told whatever the store does.
            StoreUnavailable: it cannot be opened, or `on_stale` has it that nothing is asked.
        """
        try:
            await self._worker.ready()
            trusted = await self._feed.prove()
            if not trusted and self._on_stale == "refuse":
                raise StoreUnavailable(_REFUSED)
        except StoreUnavailable:
            context.access_tokens.read(token)
            raise
        return trusted

    def _cached(self, token: object) -> Entry | None:
        if not isinstance(token, str) or not token.isascii():
            return None
        return self._cache.find(_SCHEME + token.encode())

    def _hit(self, context: RealmContext, policies: Mapping[str, TagPolicy], entry: Entry) -> Session[Any] | None:
        """The cached session, or None where the store must be asked again."""
        session, now = entry.session, self._worker.clock()
        if session.tag not in policies or session.realm != context.realm:
            raise InvalidToken("the token is for another tag or realm")
        return session if self.usable(entry, now) else None

    def usable(self, entry: Entry, now: float) -> bool:
        """Whether a cached entry stands at `now`; notes the use when that is due.

        Raises:
            ExpiredToken: its token or session has ended.
            InvalidToken: by this clock it was issued in the future.
        """
        if now < entry.usable_from:
            raise InvalidToken("the token is from the future; check the clock of this machine")
        if now >= entry.ends_at:
            self._cache.remove(entry)
            raise ExpiredToken("the token has expired")
        if now >= entry.idle_ends_at:
            # Another worker may have seen it used; the store knows.
            self._cache.remove(entry)
            return False
        if now >= entry.touch_at:
            entry.seen(now, TOUCH_EVERY)
            self._worker.note_use(entry.session.session_id, now)
        return True

    async def _miss(
        self, context: RealmContext, policies: Mapping[str, TagPolicy], token: str | None, loop: object
    ) -> Session[Any]:
        if not isinstance(token, str) or loop is None:
            return await self._look(context, policies, token, _Flight())
        key = (loop, context.audience, token, tuple(policies))
        while (flight := self._flights.get(key)) is not None and not flight.stale():
            if flight.done is None:
                flight.done = anyio.Event()
            await flight.done.wait()
            if flight.result is not None:
                return flight.result
            if flight.error is not None:
                raise flight.error.with_traceback(None)
            # Its leader was cancelled.  The first of those who waited has verified anew by now, or will, for all.
            entry = self._cached(token)
            session = self._hit(context, policies, entry) if entry is not None else None
            if session is not None:
                return session
        return await self._lead(context, policies, token, key)

    async def _lead(
        self, context: RealmContext, policies: Mapping[str, TagPolicy], token: str, key: object
    ) -> Session[Any]:
        flight = self._flights[key] = _Flight()
        try:
            flight.result = await self._look(context, policies, token, flight)
            return flight.result
        except DuctapeError as error:
            flight.error = error
            raise
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            if flight.done is not None:
                flight.done.set()

    async def _look(
        self, context: RealmContext, policies: Mapping[str, TagPolicy], token: str | None, flight: _Flight
    ) -> Session[Any]:
        """Signature, claims, times, seal; then what the store says of the session."""
        now = self._worker.clock()
        claims = context.access_tokens.read(token)
        policy = policies.get(claims.tag)
        if policy is None or not isinstance(token, str):
            raise InvalidToken("the token is for another tag")
        claims.check_times(now, self._worker.leeway)
        contents = context.access_tokens.open(claims)
        person = person_key(claims.audience, claims.tag, claims.subject)
        with self._cache.reading(claims.session_id, person) as reading:
            flight.stale = lambda: reading.tainted
            noted = self._feed.endings.count
            record = await self._worker.guarded.verify(claims.session_id, generation=contents.generation)
            record = _checked(record, claims, now)
            await self._worker.check_not_ended(record, noted)
            if record.version > claims.version:
                contents = _updated(contents, context.data_of(record))
            session = self._session(context, policy, claims, contents)
            seen_at = self._seen(record, now)
            # Where the sign of life of a new generation could not be recorded, each use must ask again.
            if contents.generation != record.generation or record.seen_generation >= record.generation:
                entry = self._entry(claims, record, session, token, 4 * len(contents.document))
                entry.seen(seen_at, TOUCH_EVERY)
                self._cache.add(entry, reading)
        return session

    async def recall(
        self, context: RealmContext, policy: TagPolicy, session_id: str, *, issued_at: datetime, expires_at: datetime
    ) -> tuple[Session[Any], SessionRecord]:
        """A session as the store has it now.  Who asks has proven it already: here is no token that would.

        Counts as no use, and as no sign of life.

        Raises:
            SessionError: it has ended.
            StoreUnavailable: it cannot be told now.
        """
        await self._worker.ready()
        if self._on_stale == "refuse" and not await self._feed.prove():
            raise StoreUnavailable(_REFUSED)
        noted = self._feed.endings.count
        record = await self._worker.guarded.verify(session_id, generation=-1)
        if record is None or (record.realm, record.tag) != (context.audience, policy.tag):
            raise RevokedSession("the session has been ended")
        if not record.live(self._worker.clock()):
            raise ExpiredToken("the session has reached its end")
        await self._worker.check_not_ended(record, noted)
        document = context.data_of(record)
        plain = json.loads(document)
        _check_fits(policy, document)
        session: Session[Any] = SignedIn(
            session_id=record.session_id,
            tag=record.tag,
            identifier=context.identifier_of(record),
            realm=context.realm,
            data=document,
            roles=policy.roles_in(plain),
            permissions=policy.permissions_in(plain),
            issued_at=issued_at,
            expires_at=expires_at,
            auth_time=instant(record.auth_time),
            load=policy.codec.load,
        )
        return session, record

    def note_use(self, record: SessionRecord) -> None:
        """Have it written that a session was used now, if that is due."""
        self._seen(record, self._worker.clock())

    def _seen(self, record: SessionRecord, now: float) -> float:
        """The last use that the store knows of, after this one was noted if a note was due."""
        if now < record.last_seen_at + TOUCH_EVERY:
            return record.last_seen_at
        self._worker.note_use(record.session_id, now)
        return now

    def _session(self, context: RealmContext, policy: TagPolicy, claims: Claims, contents: Contents) -> Session[Any]:
        _check_fits(policy, contents.document)
        return SignedIn(
            session_id=claims.session_id,
            tag=claims.tag,
            identifier=contents.identifier,
            realm=context.realm,
            data=contents.document,
            roles=policy.roles_in(contents.plain),
            permissions=policy.permissions_in(contents.plain),
            issued_at=instant(claims.issued_at),
            expires_at=instant(claims.expires_at),
            auth_time=instant(claims.auth_time),
            load=policy.codec.load,
        )

    def _entry(self, claims: Claims, record: SessionRecord, session: Session[Any], token: str, size: int) -> Entry:
        bearer = _SCHEME + token.encode()
        return Entry(
            bearer=bearer,
            session=session,
            person=person_key(claims.audience, claims.tag, claims.subject),
            usable_from=max(claims.not_before, claims.issued_at) - self._worker.leeway,
            ends_at=min(claims.expires_at + self._worker.leeway, record.ends_at),
            idle_ttl=record.idle_ttl,
            size=len(bearer) + size,
        )


def _checked(record: SessionRecord | None, claims: Claims, now: float) -> SessionRecord:
    if record is None:
        raise RevokedSession("the session has been ended")
    if (record.session_id, record.realm, record.tag, record.subject) != (
        claims.session_id,
        claims.audience,
        claims.tag,
        claims.subject,
    ):
        raise InvalidToken("the stored session is not the one the token names")
    if not record.live(now):
        raise ExpiredToken("the session has reached its end")
    return record


def _check_fits(policy: TagPolicy, document: bytes) -> None:
    try:
        policy.codec.check(document)
    except InvalidData as error:
        logger.warning("session data of tag %s no longer fits: %s", policy.tag, error)
        raise InvalidToken(f"the session's {error}") from None


def _updated(contents: Contents, document: bytes) -> Contents:
    """The contents of a token whose session has newer data in the store."""
    return replace(contents, document=document, plain=json.loads(document))
