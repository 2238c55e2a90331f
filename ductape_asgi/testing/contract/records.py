# ruff: noqa: S101 - tests assert
"""Records to test with, and the shortest words for what tests do most."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from ...models import Position, RecordPage, Revocation, Rotation, SessionRecord
from ...stores.base import SecretChanged, SessionStore, route_of

#: The time of all tests, Unix seconds.  Stores go by the times they are given, never by a clock of their own.
NOW = 1_800_000_000.0
REALM = "shop:prd"
TAG = "user-session"
ANN = "ann-pseudonym"
BOB = "bob-pseudonym"
#: What the key behind these pseudonyms is, sealed.
SECRET = b"the secret"
#: A session's absolute end in these tests, if nothing else is said.
ENDS_AT = 1_800_003_600

Step = Callable[[], Awaitable[Any]]


def new_record(store: SessionStore | None = None, **changes: Any) -> SessionRecord:
    """Ann's new session, which lives for an hour from `NOW`."""
    subject, realm = changes.get("subject", ANN), changes.get("realm", REALM)
    record = SessionRecord(
        session_id=secrets.token_urlsafe(16) + ("" if store is None else route_of(store, realm, subject)),
        realm=realm,
        tag=TAG,
        subject=subject,
        identity=secrets.token_bytes(24),
        client=secrets.token_bytes(40),
        data=secrets.token_bytes(120),
        refresh_key="key-1",
        created_at=NOW,
        last_seen_at=NOW,
        auth_time=int(NOW),
        ends_at=ENDS_AT,
        expires_in=900,
    )
    return replace(record, **changes)


async def start(store: SessionStore, **changes: Any) -> SessionRecord:
    """Create a session without limit or replacement."""
    record = new_record(store, **changes)
    await create(store, record)
    return record


async def start_limited(
    store: SessionStore, limit: int, *, evict: bool = True, replaces: str | None = None, **changes: Any
) -> tuple[SessionRecord, tuple[str, ...]]:
    """Create a session within a limit.  Returns it and the ids that were ended for it."""
    record = new_record(store, **changes)
    return record, await create(store, record, limit=limit, evict=evict, replaces=replaces)


async def create(
    store: SessionStore,
    record: SessionRecord,
    *,
    limit: int | None = None,
    evict: bool = False,
    replaces: str | None = None,
) -> tuple[str, ...]:
    """Create a session with `SECRET`, which the store is made to keep if it does not."""
    add = partial(store.create, record, limit=limit, evict=evict, replaces=replaces, secret=SECRET, now=NOW)
    try:
        return await add()
    except SecretChanged:
        await store.claim_secret(record.realm, {record.refresh_key: SECRET})
        return await add()


async def refresh(store: SessionStore, session_id: str, generation: int, **changes: Any) -> Rotation:
    """Present the refresh token of `generation` at `NOW`, with a grace of ten seconds."""
    arguments: dict[str, Any] = {"grace": 10, "refresh_key": "key-1", "client": None, "now": NOW, **changes}
    return await store.rotate(session_id, generation=generation, **arguments)


async def read(store: SessionStore, session_id: str) -> SessionRecord | None:
    """The record as it stands.  Generation 0 is never a sign of life."""
    return await store.verify(session_id, generation=0)


async def must_read(store: SessionStore, session_id: str) -> SessionRecord:
    record = await read(store, session_id)
    assert record is not None, "the session is gone"
    return record


async def page_of(store: SessionStore, subject: str = ANN, **changes: Any) -> RecordPage:
    arguments: dict[str, Any] = {"limit": 100, "cursor": None, "now": NOW, **changes}
    return await store.list(arguments.pop("realm", REALM), arguments.pop("tag", TAG), subject, **arguments)


async def ids_of(store: SessionStore, subject: str = ANN, **changes: Any) -> list[str]:
    return [record.session_id for record in (await page_of(store, subject, **changes)).records]


async def position(store: SessionStore) -> Position:
    return (await store.log_since(None)).position


async def log_of(store: SessionStore, step: Step) -> tuple[Revocation, ...]:
    """What the log gained while `step` was done."""
    before = await position(store)
    await step()
    page = await store.log_since(before)
    assert page.complete, "a log that was read to its end a moment ago is not complete"
    return page.entries


async def all_at_once(steps: Sequence[Step]) -> list[Any]:
    """Do all steps in tasks of their own.  Returns their answers, or the errors they raised, in no order."""
    outcomes: list[Any] = []

    async def note(step: Step) -> None:
        try:
            outcomes.append(await step())
        except Exception as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        for step in steps:
            tasks.start_soon(note, step)
    return outcomes
