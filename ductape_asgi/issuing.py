"""Starting and refreshing: from a sign-in or a refresh token to a record in the store and a pair of tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress

from .audit import audit
from .clients import client_from
from .cookies import MAX_COOKIE, session_cookies
from .encoding import b64encode
from .errors import (
    DataTooLarge,
    ExpiredToken,
    InvalidData,
    InvalidToken,
    RefreshReused,
    RevokedSession,
    SessionError,
    StoreUnavailable,
)
from .models import IssuedSession, Revocation, Rotation, SessionRecord, instant
from .policy import MAX_EXPIRES_IN, CookiePolicy, Duration, TagPolicy, check_identifier, dig, seconds, whole
from .realms import RealmContext
from .refresh_tokens import RefreshClaims
from .sealing import Pseudonyms
from .stores.base import SecretChanged, route_of
from .tokens import MAX_TOKEN, Contents
from .worker import Worker

#: The version is written in up to ten digits: a token that just fits must fit still when its data was updated.
_GROWTH = 12


class Issuer:
    """Makes and renews sessions for one worker."""

    def __init__(
        self, worker: Worker, cookies: CookiePolicy | None, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._worker = worker
        self._cookies = cookies
        self._cookie_headers = None if cookies is None else _cookie_writer(cookies, worker.clock)
        self._csrf = cookies is not None and cookies.csrf_token
        self._random_bytes = random_bytes

    async def start(
        self,
        context: RealmContext,
        policy: TagPolicy,
        *,
        data: object,
        identifier: str | None,
        expires_in: Duration | None,
        client: object,
        replaces: str | None,
    ) -> IssuedSession:
        document = policy.codec.dump(data)
        who = whose(policy, data, document, identifier)
        life = (
            whole(policy.expires_in) if expires_in is None else seconds(expires_in, "expires_in", most=MAX_EXPIRES_IN)
        )
        await self._worker.ready()
        try:
            return await self._start(context, policy, who, document, life, client, replaces)
        except SecretChanged:
            context.forget_subjects()
            return await self._start(context, policy, who, document, life, client, replaces)

    async def _start(
        self,
        context: RealmContext,
        policy: TagPolicy,
        who: str | None,
        document: bytes,
        life: int,
        client: object,
        replaces: str | None,
    ) -> IssuedSession:
        subjects = await self._worker.subjects(context)
        record = self._new_record(context, policy, subjects.pseudonyms, who, document, life, client)
        issued = self._issue(context, policy, record, who, document)
        self._check_size(issued.token)
        ended = await self._worker.guarded.create(
            record,
            limit=policy.max_sessions if who is not None else None,
            evict=policy.on_limit == "evict_oldest",
            replaces=replaces,
            secret=subjects.kept,
            now=record.created_at,
        )
        for session_id in ended:
            self._worker.ended(Revocation(context.audience, policy.tag, session_id=session_id))
        audit("session.started", context.log_key, context.audience, policy.tag, record.session_id)
        return issued

    async def refresh(
        self, context: RealmContext, policy: TagPolicy, *, refresh_token: str | None, client: object
    ) -> tuple[IssuedSession, SessionRecord]:
        """The next pair, and the record that it was made from."""
        try:
            return await self._refresh(context, policy, refresh_token, client)
        except SessionError as error:
            audit("refresh.refused", context.log_key, context.audience, policy.tag, reason=f"{error.code}: {error}")
            raise

    async def _refresh(
        self, context: RealmContext, policy: TagPolicy, refresh_token: str | None, client: object
    ) -> tuple[IssuedSession, SessionRecord]:
        claims = context.refresh_tokens.read(policy.tag, refresh_token)
        now = self._worker.clock()
        if not policy.refresh:
            raise InvalidToken(f"sessions of tag {policy.tag} are not refreshed")
        if now >= claims.ends_at:
            raise ExpiredToken("the session has reached its end")
        seen_from = (
            context.seal_client(policy.tag, claims.session_id, client_from(client)) if client is not None else None
        )
        await self._worker.ready()
        # Seals the pseudonym key with every access key of ours, so that each alone finds this session later.
        await self._worker.subjects(context)
        noted = self._worker.feed.endings.count
        rotation = await self._worker.guarded.rotate(
            claims.session_id,
            generation=claims.generation,
            grace=whole(policy.reuse_grace),
            refresh_key=context.active_key_id,
            client=seen_from,
            now=now,
        )
        record = self._granted(context, policy, claims, rotation)
        await self._worker.check_not_ended(record, noted)
        document, who = context.data_of(record), context.identifier_of(record)
        issued = self._issue(context, policy, record, who, document)
        if rotation.outcome == "rotated" and context.needs_reseal(record):
            await self._reseal(context.resealed(record, who, document))
        audit("session.refreshed", context.log_key, context.audience, policy.tag, record.session_id, rotation.outcome)
        return issued, record

    async def _reseal(self, record: SessionRecord) -> None:
        """Have the active key be all that opens this session; what fails now is done at the next refresh."""
        with suppress(StoreUnavailable):
            await self._worker.guarded.reseal(record)

    def check_fits(
        self, context: RealmContext, policy: TagPolicy, subject: str, who: str | None, document: bytes
    ) -> None:
        """Whether a token with this data would fit.

        Raises:
            DataTooLarge: it would not; names the sizes.
        """
        now = int(self._worker.clock())
        token = context.access_tokens.write(
            subject=subject,
            session_id=subject + route_of(self._worker.store, context.audience, subject),
            tag=policy.tag,
            issued_at=now,
            expires_at=now + 1,
            auth_time=now,
            version=1,
            contents=Contents(who, 0, document),
        )
        self._check_size(token)

    def _new_record(
        self,
        context: RealmContext,
        policy: TagPolicy,
        pseudonyms: Pseudonyms,
        who: str | None,
        document: bytes,
        life: int,
        client: object,
    ) -> SessionRecord:
        now = self._worker.clock()
        person = None if who is None else pseudonyms.of_identifier(who)
        session_id = b64encode(self._random_bytes(16)) + route_of(self._worker.store, context.audience, person)
        subject = pseudonyms.of_anonymous(session_id) if person is None else person
        return SessionRecord(
            session_id=session_id,
            realm=context.audience,
            tag=policy.tag,
            subject=subject,
            identity=context.seal_identity(policy.tag, session_id, who),
            client=context.seal_client(policy.tag, session_id, client_from(client)),
            data=context.seal_data(policy.tag, subject, document),
            refresh_key=context.active_key_id,
            created_at=now,
            last_seen_at=now,
            auth_time=int(now),
            ends_at=int(now) + (whole(policy.session_ttl) if policy.refresh else life),
            expires_in=life,
            idle_ttl=None if policy.idle_ttl is None else whole(policy.idle_ttl),
        )

    def _granted(
        self, context: RealmContext, policy: TagPolicy, claims: RefreshClaims, rotation: Rotation
    ) -> SessionRecord:
        """The record that may be issued from, or the reason why there is none."""
        record = rotation.record
        if rotation.outcome == "reused":
            self._worker.ended(Revocation(context.audience, policy.tag, session_id=claims.session_id))
            audit("session.refresh_reused", context.log_key, context.audience, policy.tag, claims.session_id)
            raise RefreshReused(claims.session_id)
        if record is None:
            raise RevokedSession("the session has been ended")
        if rotation.outcome == "expired":
            raise ExpiredToken("the session has reached its end")
        if (record.session_id, record.realm, record.tag) != (claims.session_id, context.audience, policy.tag):
            raise InvalidToken("the stored session is not the one the refresh token names")
        return record

    def _issue(
        self, context: RealmContext, policy: TagPolicy, record: SessionRecord, who: str | None, document: bytes
    ) -> IssuedSession:
        now = int(self._worker.clock())
        expires_at = min(now + record.expires_in, record.ends_at)
        token = context.access_tokens.write(
            subject=record.subject,
            session_id=record.session_id,
            tag=record.tag,
            issued_at=now,
            expires_at=expires_at,
            auth_time=record.auth_time,
            version=record.version,
            contents=Contents(who, record.generation, document),
        )
        return IssuedSession(
            token=token,
            refresh_token=self._refresh_token(context, policy, record),
            session_id=record.session_id,
            identifier=who,
            tag=record.tag,
            expires_at=instant(expires_at),
            session_expires_at=instant(record.ends_at),
            _csrf_token=context.csrf_tokens.write(record.session_id) if self._csrf else None,
            _cookie_headers=self._cookie_headers,
        )

    def _refresh_token(self, context: RealmContext, policy: TagPolicy, record: SessionRecord) -> str | None:
        if not policy.refresh:
            return None
        claims = RefreshClaims(record.session_id, record.generation, record.ends_at)
        return context.refresh_tokens.write(policy.tag, claims, key_id=record.refresh_key)

    def _check_size(self, token: str) -> None:
        name = self._cookies.access_name if self._cookies is not None else ""
        most = MAX_COOKIE - len(name) if name else MAX_TOKEN
        if len(token) + _GROWTH > most:
            room = f"a browser keeps {MAX_COOKIE} with the cookie's name" if name else f"a token may have {MAX_TOKEN}"
            raise DataTooLarge(
                f"the token would have {len(token)} bytes and {room}: "
                f"take at least {(len(token) + _GROWTH - most) * 9 // 16 + 32} bytes out of the session data"
            )


def whose(policy: TagPolicy, data: object, document: bytes, identifier: object) -> str | None:
    """The identifier: given, else found in the data; None where the tag allows anonymous sessions.

    Raises:
        InvalidData: there is none; names the selector.
    """
    if identifier is not None:
        return check_identifier(identifier)
    # Text stands in the document as it does in the data.  For all else, what JSON has made of it counts.
    text = type(dig(data, policy.selector)) is str
    found = policy.identifier_in(data if text and isinstance(data, dict) else json.loads(document))
    if found is None and not policy.anonymous:
        raise InvalidData(
            f"whose session is it? data[{policy.selector!r}] is missing: put it there, give identifier=, or allow "
            f"TagPolicy({policy.tag!r}, anonymous=True)"
        )
    return found


def check_owner(policy: TagPolicy, document: bytes, who: str | None) -> None:
    """Whether new data is still about the same person.

    Raises:
        InvalidData: its selector finds anything else than the session's identifier.
    """
    found = dig(json.loads(document), policy.selector)
    if found is None:
        return
    with suppress(InvalidData):
        if check_identifier(found) == who:
            return
    raise InvalidData(
        f"data[{policy.selector!r}] is not the session's identifier, which update never changes: leave it out, start a "
        f"new session, or have TagPolicy({policy.tag!r}, selector=...) name another place"
    )


def _cookie_writer(
    policy: CookiePolicy, clock: Callable[[], float]
) -> Callable[[IssuedSession], list[tuple[bytes, bytes]]]:
    def headers(issued: IssuedSession) -> list[tuple[bytes, bytes]]:
        return [(b"set-cookie", cookie.encode()) for cookie in session_cookies(policy, issued, clock())]

    return headers
