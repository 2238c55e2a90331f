"""The log of all shards as one: what was appended since a position, or that this cannot be told."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ...models import LogPage, Position, Revocation
from .keys import SHARDS
from .opened import Opened, answered, draw
from .scripts import BEGIN, HEADS, LOG_KEPT

Place = tuple[str, int]

_NOWHERE: Final[Place] = ("", 0)
_HEAD: Final = re.compile(rb"[A-Za-z0-9_-]+ [0-9]{1,15} [A-Za-z0-9_-]+")
_ALL: Final = range(SHARDS)


@dataclass(frozen=True, slots=True)
class Heads:
    """Where each shard's log stands."""

    epochs: tuple[str, ...]
    places: tuple[Place, ...]

    def position(self, places: Sequence[Place] | None = None) -> Position:
        places = self.places if places is None else tuple(places)
        # One epoch for all: another one of any shard makes another log.
        epoch = hashlib.sha256("".join(self.epochs).encode()).hexdigest()[:16]
        return Position(epoch, sum(sequence for _, sequence in places), shards=tuple(places))


async def log_since(opened: Opened, position: Position | None) -> LogPage:
    heads = await _heads(opened)
    here = heads.position()
    if position is None or position == here:
        return LogPage(here)
    if not _comparable(position, here):
        return LogPage(here, complete=False)
    changed = [shard for shard in _ALL if position.shards[shard] != here.shards[shard]]
    news = await _entries(opened, {shard: position.shards[shard][1] for shard in changed})
    entries: list[Revocation] = []
    places = list(here.shards)
    for shard in changed:
        places[shard] = _chained(position.shards[shard], news[shard], entries)
        if places[shard][1] < here.shards[shard][1]:
            return LogPage(here, complete=False)
    return LogPage(heads.position(places), tuple(entries))


def _comparable(position: Position, here: Position) -> bool:
    """Whether there may be an unbroken way from there to here."""
    if position.epoch != here.epoch or len(position.shards) != SHARDS:
        return False
    if position.sequence != sum(sequence for _, sequence in position.shards):
        return False
    steps = [(then, now) for then, now in zip(position.shards, here.shards, strict=True) if then != now]
    # Standing at the same number under another mark, or further back: the server forgot what had been read.
    return all(0 < now[1] - then[1] <= LOG_KEPT for then, now in steps)


async def _heads(opened: Opened) -> Heads:
    texts = await _head_texts(opened)
    missing = [shard for shard in _ALL if not _HEAD.fullmatch(texts[shard])]
    if missing:
        calls = {shard: (opened.keys.logged(shard)[:2], (draw(),)) for shard in missing}
        for shard, (head,) in (await opened.run_each(BEGIN, calls)).items():
            texts[shard] = head
    return _read(tuple(texts))


@lru_cache(maxsize=8)
def _read(texts: tuple[bytes, ...]) -> Heads:
    """Kept, since mostly nothing has happened since the last look."""
    words = [text.decode().split(" ") for text in texts]
    return Heads(tuple(epoch for epoch, _, _ in words), tuple((mark, int(number)) for _, number, mark in words))


async def _head_texts(opened: Opened) -> list[bytes]:
    """What stands in the head of each shard; nothing where there is none.

    One server is asked for all at once, and whether it is still the one to ask: a replica lags behind.
    """
    heads = opened.keys.heads
    if opened.address.form == "cluster":
        answers = await opened.ask_each({shard: [("GET", heads[shard])] for shard in _ALL})
        return [answered(answers[shard][0]) or b"" for shard in _ALL]
    role, (together,) = await opened.run_after(("ROLE",), HEADS, 0, heads, draw())
    opened.require_master(role)
    texts: list[bytes] = together.split(b"\n")
    return texts


async def _entries(opened: Opened, after: dict[int, int]) -> dict[int, list[Any]]:
    """The raw entries of some shards that come after a sequence."""
    answers = await opened.ask_each(
        {shard: [("XRANGE", opened.keys.log(shard), f"{number + 1}-0", "+")] for shard, number in after.items()}
    )
    return {shard: answered(entries) for shard, (entries,) in answers.items()}


def _chained(place: Place, raw: list[Any], entries: list[Revocation]) -> Place:
    """Append what follows `place` without a gap to `entries`.  Returns the place after it; `_NOWHERE` at a gap, which
    an entry of somebody else's is as well."""
    mark, sequence = place
    for name, fields in raw:
        try:
            own, previous, realm, tag, session_id, subject, spared, kind = [value.decode() for value in fields[1::2]]
        except ValueError:
            return _NOWHERE
        if previous != mark or name != f"{sequence + 1}-0".encode():
            return _NOWHERE
        mark, sequence = own, sequence + 1
        entries.append(
            Revocation(realm, tag, session_id or None, subject or None, spared or None, ended=kind == "ended")
        )
    return mark, sequence
