"""Tickets issued for a session, and taken for it once.

A ticket is a record of its own in the store, of a tag that nobody can configure.  To take it is to rotate that
record: of all who try, in any process, one is told ``"rotated"``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from .audit import audit
from .encoding import b64encode
from .errors import ExpiredToken, InvalidData, InvalidToken, RevokedSession, SessionError
from .models import Session, SessionRecord, instant
from .policy import TagPolicy
from .realms import RealmContext
from .stores.base import SecretChanged, route_of
from .tickets import TICKET_TTL, TicketClaims
from .verification import Verifier
from .worker import Worker

#: No session type begins with a dot.
_TAG: Final = ".ticket"
#: So many tickets of a session may be under way at once, used or not: within `TICKET_TTL` seconds, that is.
MAX_TICKETS: Final = 32


class Admission:
    """The tickets of one worker."""

    def __init__(self, worker: Worker, verifier: Verifier, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._worker = worker
        self._verifier = verifier
        self._random_bytes = random_bytes

    async def issue(
        self, context: RealmContext, policy: TagPolicy, session: Session[Any] | None, session_id: str | None
    ) -> str:
        """A ticket for a session that was just verified, or for one that is looked up."""
        await self._worker.ready()
        if session is not None:
            if session.tag != policy.tag or session.realm != context.realm:
                raise InvalidData(f"the session is of tag {session.tag} and realm {session.realm}")
            session_id, expires_at = session.session_id, int(session.expires_at.timestamp())
        else:
            expires_at = await self._token_end(context, policy, session_id or "")
        claims = await self._record(context, policy, session_id or "", expires_at)
        audit("ticket.issued", context.log_key, context.audience, policy.tag, session_id)
        return context.tickets.write(claims)

    async def redeem(self, context: RealmContext, policies: Mapping[str, TagPolicy], ticket: str) -> Session[Any]:
        """The session of a ticket, which is used up by it.

        Raises:
            SessionError: it is none of ours, was used, is too old, or its session has ended.
            StoreUnavailable: it cannot be told now.
        """
        try:
            return await self._redeem(context, policies, ticket)
        except SessionError as error:
            audit(
                "ticket.refused", context.log_key, context.audience, ",".join(policies), reason=f"{error.code}: {error}"
            )
            raise

    async def _redeem(self, context: RealmContext, policies: Mapping[str, TagPolicy], ticket: str) -> Session[Any]:
        claims = context.tickets.read(policies, ticket)
        now = self._worker.clock()
        if now >= claims.ends_at or now >= claims.expires_at + self._worker.leeway:
            raise ExpiredToken("the ticket has expired")
        await self._worker.ready()
        rotation = await self._worker.guarded.rotate(
            claims.ticket_id, generation=0, grace=0, refresh_key=context.active_key_id, client=None, now=now
        )
        if rotation.outcome != "rotated":
            raise InvalidToken(f"the ticket was used, or has ended ({rotation.outcome})")
        session, record = await self._verifier.recall(
            context,
            policies[claims.tag],
            claims.session_id,
            issued_at=instant(claims.ends_at - TICKET_TTL),
            expires_at=instant(claims.expires_at),
        )
        self._verifier.note_use(record)
        return session

    async def _token_end(self, context: RealmContext, policy: TagPolicy, session_id: str) -> int:
        """When an access token that were issued now would end."""
        record = await self._worker.guarded.verify(session_id, generation=-1)
        now = self._worker.clock()
        if record is None or (record.realm, record.tag) != (context.audience, policy.tag):
            raise RevokedSession("there is no such session, or it has been ended")
        if not record.live(now):
            raise ExpiredToken("the session has reached its end")
        return min(int(now) + record.expires_in, record.ends_at)

    async def _record(self, context: RealmContext, policy: TagPolicy, session_id: str, expires_at: int) -> TicketClaims:
        try:
            return await self._create(context, policy, session_id, expires_at)
        except SecretChanged:
            context.forget_subjects()
            return await self._create(context, policy, session_id, expires_at)

    async def _create(self, context: RealmContext, policy: TagPolicy, session_id: str, expires_at: int) -> TicketClaims:
        subjects = await self._worker.subjects(context)
        now = self._worker.clock()
        # All tickets of a session have one subject, so that the store counts them.
        subject = subjects.pseudonyms.of_anonymous(session_id)
        ticket_id = b64encode(self._random_bytes(16)) + route_of(self._worker.store, context.audience, subject)
        record = SessionRecord(
            session_id=ticket_id,
            realm=context.audience,
            tag=_TAG,
            subject=subject,
            identity=b"",
            client=b"",
            data=b"",
            refresh_key=context.active_key_id,
            created_at=now,
            last_seen_at=now,
            auth_time=int(now),
            ends_at=int(now) + TICKET_TTL,
            expires_in=TICKET_TTL,
        )
        await self._worker.guarded.create(
            record, limit=MAX_TICKETS, evict=False, replaces=None, secret=subjects.kept, now=now
        )
        return TicketClaims(policy.tag, ticket_id, session_id, record.ends_at, expires_at)
