"""`RedisStore`: the verbs, each one script in the shard where all it touches is."""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from ...errors import ConfigurationError, InvalidData, SessionLimitReached, StoreUnavailable
from ...figures import Census, PeoplePage
from ...models import LogPage, Position, RecordPage, Rotation, SessionRecord
from ..base import SecretChanged
from ..rules import read_cursor, write_cursor
from . import scripts, survey
from .address import read_url
from .keys import SHARDS, Keys, route, shard_of_session, shard_of_subject
from .listener import listen
from .log import log_since
from .opened import Opened, answered, crossed, draw
from .opening import check, require_asyncio
from .records import decode, encode

#: How much longer than its time Redis keeps a session, in seconds: so that a late refresh is told that it is late,
#: and `purge`, which comes first, takes it out of all indexes.
_KEPT_AFTER_END = 7200
#: Sessions touched, or purged, by one script: it keeps everybody else waiting.
_AT_ONCE = 200


class RedisStore:
    """A `SessionStore` in Redis (7.0 or later) or Valkey, for any number of processes on any number of machines.

    Runs on asyncio only.  What an answer has promised is as durable as the server makes it: see docs/stores.md.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``redis+sentinel://host:port,.../service[/db]`` or
            ``redis+cluster://host:port,...``; ``rediss`` with TLS.  Options: ``prefix`` of all keys
            (``"ductape"``), ``max_connections`` to each server (32), ``sentinel_username``,
            ``sentinel_password``, ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``.

    Raises:
        ConfigurationError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self._address = read_url(url)
        self._keys = Keys(self._address.prefix)
        self._opened: Opened | None = None
        self._forgotten: weakref.finalize[..., RedisStore] | None = None

    def __repr__(self) -> str:
        return f"RedisStore({str(self._address)!r})"

    async def open(self) -> None:
        require_asyncio()
        if self._opened is not None and self._opened.here():
            return
        opened = Opened(self._address, self._keys)
        try:
            await check(opened)
        except BaseException:
            await opened.close()
            raise
        if self._opened is not None and self._opened.here():  # another task was faster
            await opened.close()
            return
        left = self._let_go()
        if left is not None:
            left.abandon()
        self._opened = opened
        self._forgotten = weakref.finalize(self, opened.abandon)
        self._forgotten.atexit = False

    async def close(self) -> None:
        opened = self._let_go()
        if opened is None:
            return
        if opened.here():
            await opened.close()
        else:
            opened.abandon()

    def _let_go(self) -> Opened | None:
        opened, self._opened = self._opened, None
        if self._forgotten is not None:
            self._forgotten.detach()
        return opened

    def _here(self) -> Opened:
        opened = self._opened
        if opened is None:
            raise StoreUnavailable("the session store is not open; await its open() first")
        require_asyncio()
        if not opened.here():
            raise StoreUnavailable(
                "the session store was opened in another event loop or before a fork; open it again here"
            )
        return opened

    def route(self, realm: str, subject: str | None) -> str:
        return route(subject)

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        if not offers:
            return {}
        shard, key = self._keys.secrets(realm)
        (kept,) = await self._secrets({shard: key}, list(offers))
        if kept:
            return kept
        # Before another is drawn: a node may have come back empty, and the others have copies.
        copies = {other: self._keys.secrets_in(other, realm) for other in range(SHARDS) if other != shard}
        found = Counter(copy for share in await self._secrets(copies, list(offers)) for copy in share.items())
        best = [copy for copy, _ in found.most_common(1)]
        flat = [part for offer in best or offers.items() for part in offer]
        claimed = await self._here().run(scripts.CLAIM, shard, [key], realm, *flat)
        return {name.decode(): secret for name, secret in zip(claimed[::2], claimed[1::2], strict=True)}

    async def _secrets(self, keys: Mapping[int, str], names: Sequence[str]) -> Sequence[dict[str, bytes]]:
        """What is kept under these names, in each of several shards."""
        commands = {shard: [("HGET", key, name) for name in names] for shard, key in keys.items()}
        shares = [map(answered, answers) for answers in (await self._here().ask_each(commands)).values()]
        return [{name: secret for name, secret in zip(names, share, strict=True) if secret} for share in shares]

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        shard = _must_route(record)
        old_shard = None if replaces is None else shard_of_session(replaces)
        create = partial(
            self._create, record, shard, limit, evict, replaces if old_shard == shard else None, secret, now
        )
        ended = await create()
        if ended is None:
            await self._copy_secret(shard, record, secret)
            ended = await create()
        if ended is None:
            raise SecretChanged
        if replaces is None or old_shard is None or old_shard == shard:
            return ended
        try:
            was_live = await self._revoke(old_shard, replaces, record.realm, "", now)
        except BaseException:
            # Nobody has been given the new session.  If this fails too, it lives on unused until its end.
            await self._take_back(record, shard, now)
            raise
        return (replaces, *ended) if was_live else ended

    async def _take_back(self, record: SessionRecord, shard: int, now: float) -> None:
        with suppress(StoreUnavailable):
            await asyncio.shield(self._revoke(shard, record.session_id, record.realm, record.tag, now))

    async def _copy_secret(self, shard: int, record: SessionRecord, secret: bytes) -> None:
        """Have the shard know the secret behind a subject, if it is the one that the realm's own shard keeps."""
        home, key = self._keys.secrets(record.realm)
        (kept,) = await self._secrets({home: key}, [record.refresh_key])
        if home == shard or kept.get(record.refresh_key) != secret:
            raise SecretChanged
        copy = self._keys.secrets_in(shard, record.realm)
        (written,) = (await self._here().ask_each({shard: [("HSET", copy, record.refresh_key, secret)]}))[shard]
        answered(written)

    async def _create(
        self,
        record: SessionRecord,
        shard: int,
        limit: int | None,
        evict: bool,
        replaces: str | None,
        secret: bytes,
        now: float,
    ) -> tuple[str, ...] | None:
        """The ids that were ended; None where the shard does not know the secret, or knows another."""
        life = max(1.0, record.ends_at - now + _KEPT_AFTER_END)
        keys = [
            *self._keys.logged(shard),
            self._keys.session(shard, record.session_id),
            self._keys.person(shard, record.realm, record.tag, record.subject),
            self._keys.counter(shard),
            self._keys.secrets_in(shard, record.realm),
        ]
        answer = await self._here().run(
            scripts.CREATE,
            shard,
            keys,
            *self._logging(),
            repr(now),
            encode(record),
            int(life * 1000),
            -1 if limit is None else limit,
            int(evict),
            replaces or "",
            secret,
        )
        outcome, *ended = answer
        if outcome == b"unproven":
            return None
        if outcome == b"full":
            raise SessionLimitReached(f"this person has {limit} live sessions of {record.tag!r} already")
        if outcome == b"taken":
            raise StoreUnavailable("this session id is taken; draw another")
        return tuple(session_id.decode() for session_id in ended)

    def _logging(self) -> tuple[str, str]:
        """What a script needs to append to the log."""
        return draw(), self._keys.channel

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        opened, shard = self._here(), shard_of_session(session_id)
        if shard is None:
            return None
        key = self._keys.session(shard, session_id)
        (raw,) = await opened.run(scripts.VERIFY, shard, [key], session_id, generation)
        return _read(raw, session_id)

    async def rotate(
        self,
        session_id: str,
        *,
        generation: int,
        grace: int,
        refresh_key: str,
        client: bytes | None,
        now: float,
    ) -> Rotation:
        opened, shard = self._here(), shard_of_session(session_id)
        if shard is None:
            return Rotation("gone")
        answer = await opened.run(
            scripts.ROTATE,
            shard,
            [*self._keys.logged(shard), self._keys.session(shard, session_id)],
            *self._logging(),
            repr(now),
            session_id,
            generation,
            grace,
            refresh_key,
            int(client is not None),
            client or b"",
        )
        outcome, raw = answer
        return Rotation(outcome.decode(), _read(raw, session_id))

    async def reseal(self, record: SessionRecord) -> None:
        opened, shard = self._here(), shard_of_session(record.session_id)
        if shard is None:
            return
        sealed = (record.identity, record.client, record.data)
        key = self._keys.session(shard, record.session_id)
        args = (record.session_id, record.version, *sealed)
        await opened.run(scripts.RESEAL, shard, [key], *args)

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        shard = shard_of_session(session_id)
        if shard is None or not tag:
            return False
        return await self._revoke(shard, session_id, realm, tag, now)

    async def _revoke(self, shard: int, session_id: str, realm: str, tag: str, now: float) -> bool:
        """End a session of this realm, and of this tag or, where that is ``""``, of any."""
        keys = [*self._keys.logged(shard), self._keys.session(shard, session_id)]
        args = (*self._logging(), repr(now), session_id, realm, tag)
        (was_live,) = await self._here().run(scripts.REVOKE, shard, keys, *args)
        return bool(was_live)

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        opened, shard = self._here(), shard_of_subject(subject)
        ended = -1
        if spare is None or shard_of_session(spare) == shard:
            keys = [*self._keys.logged(shard), self._keys.person(shard, realm, tag, subject)]
            args = (*self._logging(), repr(now), subject, realm, tag, spare or "")
            (ended,) = await opened.run(scripts.REVOKE_ALL, shard, keys, *args)
        if ended < 0:
            raise InvalidData("the session to keep is not a live session of this person and tag; nothing was ended")
        return int(ended)

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        opened = self._here()
        if subject is not None:
            shard: int | None = shard_of_subject(subject)
        else:
            shard = shard_of_session(session_id or "")
        if shard is None:
            return 0
        if subject is not None:
            whose = self._keys.person(shard, realm, tag, subject)
        else:
            whose = self._keys.session(shard, session_id or "")
        keys = [*self._keys.logged(shard)[:2], whose]
        args = (*self._logging(), repr(now), session_id or "", subject or "", realm, tag, data)
        (changed,) = await opened.run(scripts.UPDATE, shard, keys, *args)
        return int(changed)

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        before = 2**53 if cursor is None else read_cursor(realm, tag, subject, cursor)
        shard = shard_of_subject(subject)
        keys = [self._keys.heads[shard], self._keys.person(shard, realm, tag, subject)]
        answer = await self._here().run(scripts.LIST, shard, keys, subject, repr(now), before, limit)
        count, more, *page = answer
        records = tuple(map(decode, page[1::2]))
        if any((record.realm, record.tag, record.subject) != (realm, tag, subject) for record in records):
            raise crossed()
        following = write_cursor(realm, tag, subject, int(page[-2])) if more == b"1" and page else None
        return RecordPage(int(count), records, following)

    async def census(self, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
        return await survey.census(self._here(), realm, tag, since=since, cursor=cursor, now=now)

    async def people(self, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
        return await survey.people(self._here(), realm, tag, limit=limit, cursor=cursor, now=now)

    async def touch(self, seen: Mapping[str, float]) -> None:
        opened = self._here()
        shares: dict[int, list[tuple[str, float]]] = {}
        for session_id, at in seen.items():
            shard = shard_of_session(session_id)
            if shard is not None:
                shares.setdefault(shard, []).append((self._keys.session(shard, session_id), at))
        while shares:
            step = {shard: list(islice(share, _AT_ONCE)) for shard, share in shares.items()}
            calls = {
                shard: ([key for key, _ in share], (draw(), *(repr(at) for _, at in share)))
                for shard, share in step.items()
            }
            await opened.run_each(scripts.TOUCH, calls)
            shares = {shard: share[_AT_ONCE:] for shard, share in shares.items() if len(share) > _AT_ONCE}

    async def purge(self, *, before: float, limit: int) -> int:
        """Redis removes sessions by itself as well, two hours later, but not from the indexes."""
        opened = self._here()
        count = {shard: [("ZCOUNT", self._keys.deadlines(shard), "-inf", repr(before))] for shard in range(SHARDS)}
        removed = 0
        for shard, (due,) in (await opened.ask_each(count)).items():
            more = bool(due)
            while more and removed < limit:
                step = min(_AT_ONCE, limit - removed)
                args = (*self._logging(), repr(before), step)
                gone, looked_at = await opened.run(scripts.PURGE, shard, self._keys.logged(shard), *args)
                removed += gone
                more = looked_at == step
        return removed

    async def log_since(self, position: Position | None) -> LogPage:
        return await log_since(self._here(), position)

    async def listen(self, wake: Callable[[], None]) -> None:
        await listen(self._here(), wake)

    def announced(self) -> memoryview | None:
        return None


def _must_route(record: SessionRecord) -> int:
    shard = shard_of_session(record.session_id)
    if shard is None:
        raise ConfigurationError(
            "a session id in the Redis store ends with what its route() answers, which this one does not:"
            " append it where the id is drawn, as Sessions does"
        )
    return shard


def _read(raw: bytes, session_id: str) -> SessionRecord | None:
    if not raw:
        return None
    record = decode(raw)
    if record.session_id != session_id:
        raise crossed()
    return record
