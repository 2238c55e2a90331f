"""How sessions lie in pairs: each with two entries that lead to it, of its person by start order, and by its end."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, fields, replace
from typing import Any

from ...errors import StoreUnavailable
from ...models import SessionRecord
from .pairs import Pairs

#: Pairs that are read at once where there may be many.
SCANNED = 200
#: The fields that hold bytes.
SEALED = ("identity", "client", "data")
_NAMES = tuple(field.name for field in fields(SessionRecord))


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it is kept: the `number`-th that was started, and found under `due` when it is over."""

    record: SessionRecord
    number: int
    due: str


async def find(pairs: Pairs, session_id: str | None) -> Kept | None:
    text = None if session_id is None else await pairs.get(key_of("session", session_id))
    if text is None:
        return None
    try:
        number, due, values = json.loads(text)
        given = {name: values[name] for name in _NAMES}
        given |= {name: b64decode(given[name], validate=True) for name in SEALED}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreUnavailable("a session in the store is damaged, or was written by something else") from error
    return Kept(SessionRecord(**given), number, due)


async def _write(pairs: Pairs, kept: Kept) -> None:
    values: dict[str, Any] = {name: getattr(kept.record, name) for name in _NAMES}
    values |= {name: b64encode(values[name]).decode() for name in SEALED}
    await pairs.put(key_of("session", kept.record.session_id), json.dumps([kept.number, kept.due, values]))


async def add(pairs: Pairs, record: SessionRecord) -> None:
    number = int(await pairs.get("started") or 0) + 1
    await pairs.put("started", str(number))
    kept = Kept(record, number, f"{due_at(end_of(record))} {number:016}")
    await pairs.put(_entry_of(kept), record.session_id)
    await pairs.put(kept.due, record.session_id)
    await _write(pairs, kept)


async def put(pairs: Pairs, kept: Kept, record: SessionRecord, *, again: bool = False) -> SessionRecord:
    """Keep what a session changed to.  Its end gets later only, which is looked up `again` when it comes up."""
    if again:
        due = f"{due_at(end_of(record))} {kept.number:016}"
        await pairs.delete(kept.due)
        await pairs.put(due, record.session_id)
        kept = replace(kept, due=due)
    await _write(pairs, replace(kept, record=record))
    return record


async def remove(pairs: Pairs, kept: Kept) -> None:
    for key in (key_of("session", kept.record.session_id), _entry_of(kept), kept.due):
        await pairs.delete(key)


async def of_person(pairs: Pairs, realm: str, tag: str, subject: str) -> list[Kept]:
    """In start order."""
    person, kept = key_of("person", realm, tag, subject), []
    start = f"{person} "
    while page := await pairs.scan(start, f"{person}!", SCANNED):
        kept += [await find(pairs, session_id) for _, session_id in page]
        start = page[-1][0] + " "
    return [one for one in kept if one is not None]


async def live_of(pairs: Pairs, realm: str, tag: str, subject: str, now: float) -> list[Kept]:
    return [one for one in await of_person(pairs, realm, tag, subject) if one.record.live(now)]


def key_of(kind: str, *names: str) -> str:
    # As JSON, which is ASCII and never begins another such key, whatever is in the names.
    return f"{kind} {json.dumps(names)}"


def _entry_of(kept: Kept) -> str:
    return f"{key_of('person', kept.record.realm, kept.record.tag, kept.record.subject)} {kept.number:016}"


def due_at(at: float) -> str:
    return f"due {max(0, int(at)):016}"


def end_of(record: SessionRecord) -> float:
    idle_end = record.idle_ends_at
    return record.ends_at if idle_end is None else min(record.ends_at, idle_end)
