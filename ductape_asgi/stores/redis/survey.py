"""What the Redis store counts for operators.

There is no index of people, only one of sessions in each shard.  All sessions of a person are in one shard, so that
whole shards are walked, in small steps: each keeps the server for a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from ...errors import InvalidData
from ...figures import Census, PeoplePage, Person
from ..rules import counted, read_place, write_place
from .keys import SHARDS, shard_of_session
from .opened import Opened, draw, unavailable
from .records import HEAD_BYTES, Glance, glance
from .scripts import SURVEY

#: How many sessions a part of a census has, if no shard has more.
PART: Final = 10_000
#: Sessions that are looked at in one go.
STEP: Final = 500


async def census(opened: Opened, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
    first = 0 if cursor is None else _shard_in(read_place("census", realm, tag, cursor))
    sizes = await _sizes(opened, first)
    shards = _within(sizes, PART)
    found = await _sessions(opened, {shard: sizes[shard] for shard in shards}, realm, tag)
    part = counted(((one.subject, one.created_at, now < one.deadline) for one in found), since)
    after = shards[-1] + 1
    following = None if after == SHARDS else write_place("census", realm, tag, str(after))
    return Census(part.held, part.live, part.people, part.days, following)


async def people(opened: Opened, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
    """By shard, and in each by subject."""
    after = (0, "") if cursor is None else _place_in(read_place("people", realm, tag, cursor))
    sizes = await _sizes(opened, after[0])
    found: list[Person] = []
    while sizes and len(found) <= limit:
        shards = _within(sizes, STEP)
        walked = await _sessions(opened, {shard: sizes.pop(shard) for shard in shards}, realm, tag, whole=True)
        found += [person for person in _grouped(walked, now) if _place(person) > after]
    page = tuple(found[:limit])
    following = None
    if len(found) > limit:
        shard, subject = _place(page[-1])
        following = write_place("people", realm, tag, f"{shard:02}{subject}")
    return PeoplePage(page, following)


def _shard_in(place: str) -> int:
    if not (place.isdecimal() and place.isascii() and len(place) <= 2 and int(place) < SHARDS):
        raise InvalidData("cursor is not one of this list: pass the `next_cursor` of the page before, or none")
    return int(place)


def _place_in(place: str) -> tuple[int, str]:
    return _shard_in(place[:2]), place[2:]


def _place(person: Person) -> tuple[int, str]:
    """Not by the subject: the shard of an anonymous session is drawn by chance."""
    return shard_of_session(person.session_id) or 0, person.subject


async def _sizes(opened: Opened, first: int) -> dict[int, int]:
    """How many sessions each shard has, from the first one on, of whatever realm and tag."""
    ask = {shard: [("ZCOUNT", opened.keys.deadlines(shard), "-inf", "+inf")] for shard in range(first, SHARDS)}
    answers = {shard: answer for shard, (answer,) in (await opened.ask_each(ask)).items()}
    for answer in answers.values():
        if isinstance(answer, ResponseError):
            raise unavailable(answer) from answer
    return answers


def _within(sizes: dict[int, int], most: int) -> list[int]:
    """The first shards that together have so many sessions at most; one at least."""
    shards: list[int] = []
    for shard in sorted(sizes):
        most -= sizes[shard]
        if shards and most < 0:
            break
        shards.append(shard)
    return shards


async def _sessions(
    opened: Opened, sizes: dict[int, int], realm: str, tag: str, *, whole: bool = False
) -> list[Glance]:
    """All sessions of a realm and tag in some shards; their identities only where they are read as a whole."""
    found: dict[str, Glance] = {}
    waiting = {shard: size for shard, size in sizes.items() if size}
    while waiting:
        shards = _within(waiting, STEP)
        walks = dict.fromkeys(shards, b"0")
        while walks:
            walks = await _step(opened, walks, -1 if whole else HEAD_BYTES - 1, found)
        for shard in shards:
            del waiting[shard]
    return [one for one in found.values() if (one.realm, one.tag) == (realm, tag)]


async def _step(opened: Opened, walks: dict[int, bytes], last: int, found: dict[str, Glance]) -> dict[int, bytes]:
    """Go on with each walk; those that are not at their end."""
    calls = {shard: (opened.keys.logged(shard), (draw(), walk, STEP, last)) for shard, walk in walks.items()}
    going_on = {}
    for shard, (walk, *records) in (await opened.run_each(SURVEY, calls)).items():
        found |= {one.session_id: one for one in map(glance, records)}
        if walk != b"0":
            going_on[shard] = walk
    return going_on


def _grouped(found: Sequence[Glance], now: float) -> list[Person]:
    """The people with live sessions among them, in order."""
    by_subject: dict[str, list[Glance]] = {}
    for one in found:
        if now < one.deadline:
            by_subject.setdefault(one.subject, []).append(one)
    return sorted(map(_described, by_subject.values()), key=_place)


def _described(live: Sequence[Glance]) -> Person:
    newest = max(live, key=lambda one: one.created_at)
    return Person(
        subject=newest.subject,
        live=len(live),
        first_created_at=min(one.created_at for one in live),
        last_seen_at=max(one.last_seen_at for one in live),
        session_id=newest.session_id,
        identity=newest.identity,
    )
