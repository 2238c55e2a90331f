"""Looking after sessions that exist: list, update, revoke."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from .audit import audit
from .cache import person_key
from .errors import InvalidData, StoreUnavailable
from .issuing import Issuer, check_owner
from .models import ClientInfo, Revocation, SessionInfo, SessionPage, SessionRecord, instant
from .policy import TagPolicy, check_identifier
from .realms import RealmContext
from .worker import Worker

_MOST_LISTED = 1000


class Inventory:
    """The sessions of a store, as one worker sees and changes them."""

    def __init__(self, worker: Worker, issuer: Issuer) -> None:
        self._worker = worker
        self._issuer = issuer

    async def revoke(self, context: RealmContext, policy: TagPolicy, session_id: str) -> bool:
        await self._worker.ready()
        cache, store = self._worker.cache, self._worker.guarded
        entry = Revocation(context.audience, policy.tag, session_id=session_id)
        with _forgetting(partial(cache.forget_session, session_id)):
            live = await self._worker.feed.appended(
                entry, store.revoke(context.audience, policy.tag, session_id, now=self._worker.clock())
            )
        if not live:
            cache.forget_session(session_id)
        else:
            self._worker.ended(entry)
            audit("session.revoked", context.log_key, context.audience, policy.tag, session_id)
        return live

    async def revoke_all(self, context: RealmContext, policy: TagPolicy, identifier: object, spare: str | None) -> int:
        subject = await self._subject(context, identifier)
        now, store = self._worker.clock(), self._worker.guarded
        entry = Revocation(context.audience, policy.tag, subject=subject, spared=spare)
        with _forgetting(partial(self._forget, person_key(context.audience, policy.tag, subject), None)):
            ended = await self._worker.feed.appended(
                entry, store.revoke_all(context.audience, policy.tag, subject, spare=spare, now=now)
            )
        self._worker.ended(entry, before=now)
        audit("session.revoked_all", context.log_key, context.audience, policy.tag, reason=f"ended={ended}")
        return ended

    async def list(
        self, context: RealmContext, policy: TagPolicy, identifier: object, limit: int, cursor: str | None
    ) -> SessionPage:
        check_limit(limit)
        subject = await self._subject(context, identifier)
        page = await self._worker.guarded.list(
            context.audience, policy.tag, subject, limit=limit, cursor=cursor, now=self._worker.clock()
        )
        who = check_identifier(identifier)
        infos = tuple(_info(record, who, context.client_of(record)) for record in page.records)
        return SessionPage(page.count, infos, page.next_cursor)

    async def update(
        self, context: RealmContext, policy: TagPolicy, data: object, identifier: object, session_id: str | None
    ) -> int:
        document = policy.codec.dump(data)
        if session_id is None:
            who: str | None = check_identifier(identifier)
            subject = await self._subject(context, identifier)
        else:
            record = await self._record(context, policy, session_id)
            if record is None:
                return 0
            who, subject = context.identifier_of(record), record.subject
        check_owner(policy, document, who)
        self._issuer.check_fits(context, policy, subject, who, document)
        forget = partial(self._forget, person_key(context.audience, policy.tag, subject), session_id)
        with _forgetting(forget):
            changed = await self._worker.guarded.update(
                context.audience,
                policy.tag,
                subject=subject if session_id is None else None,
                session_id=session_id,
                data=context.seal_data(policy.tag, subject, document),
                now=self._worker.clock(),
            )
        forget()
        audit("session.updated", context.log_key, context.audience, policy.tag, session_id, f"changed={changed}")
        return changed

    def _forget(self, person: str, session_id: str | None) -> None:
        if session_id is None:
            self._worker.cache.forget_person(person)
        else:
            self._worker.cache.forget_session(session_id)

    async def _subject(self, context: RealmContext, identifier: object) -> str:
        who = check_identifier(identifier)
        await self._worker.ready()
        # Asked each time: with the key of a store that was replaced since, nobody would be found, and nobody ended.
        return (await context.ask_subjects(self._worker.guarded)).pseudonyms.of_identifier(who)

    async def _record(self, context: RealmContext, policy: TagPolicy, session_id: str) -> SessionRecord | None:
        """The live session of this id, realm and tag.  Generation -1 belongs to nobody, so nothing is recorded."""
        await self._worker.ready()
        record = await self._worker.guarded.verify(session_id, generation=-1)
        if record is None or (record.realm, record.tag) != (context.audience, policy.tag):
            return None
        return record if record.live(self._worker.clock()) else None


def check_limit(limit: object) -> None:
    """Whether a page may have so many entries.

    Raises:
        InvalidData: no.
    """
    if type(limit) is not int or not 1 <= limit <= _MOST_LISTED:
        raise InvalidData(f"limit={limit!r}: give 1 to {_MOST_LISTED}")


@contextmanager
def _forgetting(forget: Callable[[], None]) -> Iterator[None]:
    """A step whose answer is lost may have been done: here, at least, the store decides from then on."""
    try:
        yield
    except StoreUnavailable:
        forget()
        raise


def _info(record: SessionRecord, identifier: str, client: ClientInfo) -> SessionInfo:
    return SessionInfo(
        session_id=record.session_id,
        tag=record.tag,
        identifier=identifier,
        created_at=instant(record.created_at),
        last_seen_at=instant(record.last_seen_at),
        expires_at=instant(record.ends_at),
        client=client,
    )
