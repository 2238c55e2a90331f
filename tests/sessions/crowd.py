"""Many sessions at once, written through the store's own `create`: their people, times and tags are drawn by chance."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from ductape_asgi import Sessions
from ductape_asgi.models import SessionRecord
from ductape_asgi.stores.base import route_of

from .support import TAG

DAY = 86_400
#: Creating at once: as many as the stores have connections, and then some.
_AT_ONCE = 32


@dataclass
class Crowd:
    """What was written, as the tests know it: records with the identifier of each."""

    records: list[SessionRecord] = field(default_factory=list)
    identifiers: dict[str, str] = field(default_factory=dict)

    def identifier(self, record: SessionRecord) -> str:
        return self.identifiers[record.session_id]


async def gather(sessions: Sessions, size: int, *, seed: int = 1) -> Crowd:
    """Write `size` sessions of some `size` / 3 people, begun in the last 45 days; one in eight is over by its time."""
    drawn, crowd = random.Random(seed), Crowd()
    context, store, now = sessions.context(), sessions.worker.store, sessions.worker.clock()
    subjects = await context.ask_subjects(store)
    sessions.worker._purge_at = float("inf")  # nobody but `thin` shall
    names = [f"user-{number}" for number in range(max(1, size // 3))]
    for _ in range(size):
        name = drawn.choice(names)
        subject = subjects.pseudonyms.of_identifier(name)
        session_id = secrets.token_urlsafe(16) + route_of(store, context.audience, subject)
        # A few by a clock that runs ahead.
        created_at = now - drawn.uniform(-3600, 45 * DAY) * drawn.random()
        over = drawn.random() < 1 / 8
        idle = drawn.choice([None, None, DAY])
        crowd.identifiers[session_id] = name
        crowd.records.append(
            SessionRecord(
                session_id=session_id,
                realm=context.audience,
                tag=TAG if drawn.random() < 0.9 else "checkout-session",
                subject=subject,
                identity=context.seal_identity(TAG, session_id, name),
                client=b"",
                data=b"sealed",
                refresh_key=context.active_key_id,
                created_at=created_at,
                last_seen_at=now - drawn.uniform(0, DAY) if idle is None else now - drawn.uniform(0, 1.2 * DAY),
                auth_time=int(created_at),
                ends_at=int(now - drawn.uniform(0, 7000)) if over else int(now + drawn.uniform(1, 30 * DAY)),
                expires_in=900,
                idle_ttl=idle,
            )
        )
    create = partial(store.create, limit=None, evict=False, replaces=None, secret=subjects.kept)
    await _all([partial(create, record, now=record.created_at) for record in crowd.records])
    return crowd


async def thin(sessions: Sessions, crowd: Crowd, *, seed: int = 2) -> None:
    """End one in twenty, and purge what has been over for an hour; `crowd` is what is left."""
    store, now = sessions.worker.store, sessions.worker.clock()
    ended = random.Random(seed).sample(crowd.records, len(crowd.records) // 20)
    await _all([partial(store.revoke, one.realm, one.tag, one.session_id, now=now) for one in ended])
    while await store.purge(before=now - 3600, limit=500):
        pass
    gone = {one.session_id for one in ended}
    crowd.records = [one for one in crowd.records if one.session_id not in gone and one.live(now - 3600)]


async def _all(steps: list[Callable[[], Awaitable[Any]]]) -> None:
    waiting = iter(steps)

    async def take() -> None:
        for step in waiting:
            await step()

    async with anyio.create_task_group() as tasks:
        for _ in range(_AT_ONCE):
            tasks.start_soon(take)
