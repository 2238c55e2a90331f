"""A refresh inside a request: one flight for all who bring the same refresh token, and the session that comes of it.

The session is made from the token just issued.  It is not verified: that would be a sign of life of a generation
that the client may never see (contract: P3), and nothing is cached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from .audit import audit
from .errors import DuctapeError, InvalidToken, RevokedSession, SessionError, StoreUnavailable
from .issuing import Issuer
from .models import IssuedSession, Session, SessionRecord
from .policy import TagPolicy
from .realms import RealmContext
from .refresh_tokens import RefreshClaims
from .verification import Verifier
from .worker import Worker

#: Asks a store for a session without showing it a sign of life: no generation is so old.
_NONE_SEEN = -1


@dataclass(frozen=True, slots=True)
class Presented:
    """A genuine refresh token, and what it says."""

    token: str = field(repr=False)
    policy: TagPolicy
    claims: RefreshClaims


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh gave.  `at` is when, by the worker's clock, and `noted` how many endings were when it began."""

    issued: IssuedSession
    session: Session[Any]
    record: SessionRecord
    at: float
    noted: int


class _Flight:
    """One refresh that several callers wait for.  Without an outcome, its leader was cancelled."""

    __slots__ = ("done", "error", "heir", "result", "stale")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: Refreshed | None = None
        self.error: DuctapeError | None = None
        self.stale: Callable[[], bool] = lambda: False
        #: The flight of the first who went on then.
        self.heir: _Flight | None = None


class Refresher:
    """Refreshes for requests of one worker."""

    def __init__(self, worker: Worker, issuer: Issuer, verifier: Verifier) -> None:
        self._worker = worker
        self._issuer = issuer
        self._verifier = verifier
        self._flights: dict[object, _Flight] = {}

    def read(self, context: RealmContext, policies: Mapping[str, TagPolicy], token: str) -> Presented:
        """What a refresh token says, if it is genuine and of one of these tags.  Costs no store call.

        Raises:
            InvalidToken: it is not.
        """
        refused: SessionError = InvalidToken("sessions of these tags are not refreshed")
        for policy in policies.values():
            if not policy.refresh:
                continue
            try:
                # The token does not tell its tag; its MAC covers it.
                return Presented(token, policy, context.refresh_tokens.read(policy.tag, token))
            except SessionError as error:
                refused = error
        reason = f"{refused.code}: {refused}"
        audit("refresh.refused", context.log_key, context.audience, ",".join(policies), reason=reason)
        raise refused

    async def refresh(self, context: RealmContext, presented: Presented, client: object) -> Refreshed:
        """Rotate, or get what the one under way gets.

        Raises:
            ExpiredToken, RevokedSession, RefreshReused: the session is over.
            InvalidToken: its record cannot be used.
            StoreUnavailable: it cannot be told now.
        """
        loop = await self._worker.ready()
        # What ended before this call is known from here on, so that no flight of before is joined (P1).
        if not await self._worker.feed.prove():
            return await self._refresh(context, presented, client)
        key = (loop, context.audience, presented.token)
        flight = self._flights.get(key)
        heirless = None
        while flight is not None and not flight.stale():
            await flight.done.wait()
            if flight.result is not None:
                return flight.result
            if flight.error is not None:
                raise flight.error.with_traceback(None)
            flight, heirless = flight.heir, flight
        own = self._flights[key] = _Flight()
        if heirless is not None:
            heirless.heir = own
        return await self._lead(context, presented, client, key, own)

    async def is_newest(self, refreshed: Refreshed) -> bool:
        """Whether the session lives and nobody has gone on from these tokens; False where that cannot be told."""
        record = refreshed.record
        if self.known_to_have_ended(refreshed):
            return False
        try:
            kept = await self._worker.guarded.verify(record.session_id, generation=_NONE_SEEN)
        except StoreUnavailable:
            return False
        return kept is not None and kept.generation == record.generation

    def known_to_have_ended(self, refreshed: Refreshed) -> bool:
        # What was known before the refresh began was looked at by it.
        return self._worker.feed.endings.came(refreshed.record, noted=refreshed.noted)

    async def _lead(
        self, context: RealmContext, presented: Presented, client: object, key: object, flight: _Flight
    ) -> Refreshed:
        try:
            with self._worker.cache.reading(presented.claims.session_id, None) as reading:
                flight.stale = lambda: reading.tainted
                flight.result = await self._refresh(context, presented, client)
            return flight.result
        except DuctapeError as error:
            flight.error = error
            raise
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.done.set()

    async def _refresh(self, context: RealmContext, presented: Presented, client: object) -> Refreshed:
        policy, noted = presented.policy, self._worker.feed.endings.count
        issued, record = await self._issuer.refresh(context, policy, refresh_token=presented.token, client=client)
        session = self._verifier.session_of(context, policy, issued.token)
        refreshed = Refreshed(issued, session, record, self._worker.clock(), noted)
        if self.known_to_have_ended(refreshed):
            raise RevokedSession("the session has been ended")
        return refreshed
