"""`KeyValueStore`: each verb as one step on pairs.  How sessions and the log lie in them, `kept` and `log` say."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from ...errors import InvalidData, SessionLimitReached, StoreUnavailable
from ...models import LogPage, Position, RecordPage, Revocation, Rotation, SessionRecord
from ..base import SecretChanged
from ..rules import decide_rotation, mark_needed, read_cursor, rotated, write_cursor
from .kept import SCANNED, SEALED, Kept, add, due_at, end_of, find, key_of, live_of, of_person, put, remove
from .log import append, end_each, log_after
from .pairs import Pairs, Step

T = TypeVar("T")


class KeyValueStore:
    """A `SessionStore` on pairs.  Sub-classes have `transact`, and `open` and `close` if there is something to do.

    A person's sessions are read one after another where they are counted, listed or ended; nothing else depends
    on how many sessions there are.
    """

    async def open(self) -> None:
        """Get ready; may be called again after `close`."""

    async def close(self) -> None:
        """Let go of what `open` took."""

    async def transact(self, step: Step[T]) -> T:
        """Run ``await step(pairs)`` in one serializable transaction, commit durably, and answer what it answered.

        No other step may come between its reads and its writes; where that is found out at the commit only, `step` is
        run again on new pairs.  If it raises, or is cancelled, nothing has changed.

        Raises:
            StoreUnavailable: the backend failed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no transact(); it is what a KeyValueStore is made of")

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        async def step(pairs: Pairs) -> dict[str, bytes]:
            found = {name: await pairs.get(key_of("secret", realm, name)) for name in offers}
            kept = {name: b64decode(text) for name, text in found.items() if text is not None}
            for name, secret in {} if kept else offers.items():
                await pairs.put(key_of("secret", realm, name), b64encode(secret).decode())
            return kept or dict(offers)

        return await self.transact(step)

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        async def step(pairs: Pairs) -> tuple[str, ...]:
            kept = await pairs.get(key_of("secret", record.realm, record.refresh_key))
            if kept != b64encode(secret).decode():
                raise SecretChanged
            if await find(pairs, record.session_id) is not None:
                raise StoreUnavailable("this session id is taken; draw another")
            replaced = [one for one in [await find(pairs, replaces)] if one and one.record.realm == record.realm]
            excess: list[Kept] = []
            if limit is not None:
                theirs = await live_of(pairs, record.realm, record.tag, record.subject, now)
                others = [one for one in theirs if one.record.session_id != replaces]
                excess = others[: max(0, len(others) + 1 - limit)]
            if excess and not evict:
                raise SessionLimitReached(f"this person has {limit} live sessions of {record.tag!r} already")
            await end_each(pairs, [*replaced, *excess])
            await add(pairs, record)
            return tuple(one.record.session_id for one in [*replaced, *excess] if one.record.live(now))

        return await self.transact(step)

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        async def read(pairs: Pairs) -> SessionRecord | None:
            kept = await find(pairs, session_id)
            return None if kept is None else kept.record

        async def mark(pairs: Pairs) -> SessionRecord | None:
            kept = await find(pairs, session_id)
            if kept is None or not mark_needed(kept.record, generation):
                return None if kept is None else kept.record
            return await put(pairs, kept, replace(kept.record, seen_generation=generation))

        record = await self.transact(read)
        if record is None or not mark_needed(record, generation):
            return record
        try:
            return await self.transact(mark)
        except StoreUnavailable:
            return record

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
        async def step(pairs: Pairs) -> Rotation:
            kept = await find(pairs, session_id)
            if kept is None:
                return Rotation("gone")
            outcome = decide_rotation(kept.record, generation=generation, grace=grace, now=now)
            if outcome == "reused":
                await end_each(pairs, [kept])
            if outcome != "rotated":
                return Rotation(outcome, kept.record)
            child = rotated(kept.record, generation=generation, refresh_key=refresh_key, client=client, now=now)
            return Rotation(outcome, await put(pairs, kept, child))

        return await self.transact(step)

    async def reseal(self, record: SessionRecord) -> None:
        async def step(pairs: Pairs) -> None:
            kept = await find(pairs, record.session_id)
            if kept is not None and kept.record.version == record.version:
                sealed = {name: getattr(record, name) for name in SEALED}
                await put(pairs, kept, replace(kept.record, **sealed))

        await self.transact(step)

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        async def step(pairs: Pairs) -> bool:
            kept = await find(pairs, session_id)
            if kept is None or (kept.record.realm, kept.record.tag) != (realm, tag):
                return False
            await end_each(pairs, [kept])
            return kept.record.live(now)

        return await self.transact(step)

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        async def step(pairs: Pairs) -> int:
            theirs = await of_person(pairs, realm, tag, subject)
            live = {one.record.session_id for one in theirs if one.record.live(now)}
            if spare is not None and spare not in live:
                raise InvalidData("the session to keep is not a live session of this person and tag; nothing was ended")
            ending = [one for one in theirs if one.record.session_id != spare]
            for one in ending:
                await remove(pairs, one)
            if ending:
                await append(pairs, Revocation(realm, tag, subject=subject, spared=spare))
            return len(live) - (spare is not None)

        return await self.transact(step)

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        async def step(pairs: Pairs) -> int:
            if subject is not None:
                changing = await live_of(pairs, realm, tag, subject, now)
            else:
                found = [one for one in [await find(pairs, session_id)] if one and one.record.live(now)]
                changing = [one for one in found if (one.record.realm, one.record.tag) == (realm, tag)]
            for one in changing:
                await put(pairs, one, replace(one.record, data=data, version=one.record.version + 1))
            if changing:
                await append(pairs, Revocation(realm, tag, session_id=session_id, subject=subject, ended=False))
            return len(changing)

        return await self.transact(step)

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        before = 2**63 if cursor is None else read_cursor(realm, tag, subject, cursor)
        live = await self.transact(lambda pairs: live_of(pairs, realm, tag, subject, now))
        rest = [one for one in reversed(live) if one.number < before]
        more = write_cursor(realm, tag, subject, rest[limit - 1].number) if len(rest) > limit else None
        return RecordPage(len(live), tuple(one.record for one in rest[:limit]), more)

    async def touch(self, seen: Mapping[str, float]) -> None:
        async def step(pairs: Pairs) -> None:
            for session_id, at in seen.items():
                kept = await find(pairs, session_id)
                if kept is not None and kept.record.last_seen_at < at:
                    await put(pairs, kept, replace(kept.record, last_seen_at=at))

        await self.transact(step)

    async def purge(self, *, before: float, limit: int) -> int:
        async def step(pairs: Pairs) -> int:
            removed, start, end = 0, "due ", due_at(before + 1)
            while removed < limit and (due := await pairs.scan(start, end, min(SCANNED, limit - removed))):
                for key, session_id in due:
                    start = key + " "
                    kept = await find(pairs, session_id)
                    if kept is not None and end_of(kept.record) <= before:
                        await remove(pairs, kept)
                        removed += 1
                    elif kept is not None:  # it was used since
                        await put(pairs, kept, kept.record, again=True)
            return removed

        return await self.transact(step)

    async def log_since(self, position: Position | None) -> LogPage:
        return await self.transact(lambda pairs: log_after(pairs, position))

    def announced(self) -> memoryview | None:
        """None: workers read the log some times in each `max_staleness`."""
        return None

    async def listen(self, wake: Callable[[], None]) -> None:
        """Returns at once, unless a sub-class has a way to tell that the log has grown."""
