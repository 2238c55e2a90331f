"""The log in pairs: one for each entry, and one that says where it stands."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import fields

from ...models import LogPage, Position, Revocation
from .kept import Kept, remove
from .pairs import Pairs

#: Entries that are kept.  Who is further behind forgets all it has cached.
LOG_KEPT = 10_000


async def end_each(pairs: Pairs, ending: Iterable[Kept]) -> None:
    for kept in ending:
        await remove(pairs, kept)
        record = kept.record
        await append(pairs, Revocation(record.realm, record.tag, session_id=record.session_id))


async def append(pairs: Pairs, entry: Revocation) -> None:
    head = await standing(pairs)
    sequence = head.sequence + 1
    values = [getattr(entry, field.name) for field in fields(Revocation)]
    await pairs.put(logged(sequence), json.dumps(values))
    await pairs.put("head", f"{head.epoch} {sequence}")
    if sequence > LOG_KEPT:
        await pairs.delete(logged(sequence - LOG_KEPT))


async def standing(pairs: Pairs) -> Position:
    """Where the log stands; where there is none, another one begins, which must never be taken for the old one."""
    text = await pairs.get("head")
    if text is None:
        text = f"{secrets.token_urlsafe(12)} 0"
        await pairs.put("head", text)
    epoch, sequence = text.split()
    return Position(epoch, int(sequence))


def logged(sequence: int) -> str:
    return f"log {sequence:016}"


async def log_after(pairs: Pairs, position: Position | None) -> LogPage:
    here = await standing(pairs)
    if position is None or position == here:
        return LogPage(here)
    missing = here.sequence - position.sequence
    if position.epoch != here.epoch or position.sequence < 0 or not 0 < missing <= LOG_KEPT:
        return LogPage(here, complete=False)
    entries = await pairs.scan(logged(position.sequence + 1), logged(here.sequence + 1), missing)
    return LogPage(here, tuple(Revocation(*json.loads(text)) for _, text in entries))
