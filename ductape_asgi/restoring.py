"""Writes known endings again, after the store has lost writes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from .endings import Ending, Endings
from .stores.base import SessionStore, StepRefused

#: Endings looked at before deciding whether older ones may be lost as well.
_STEP = 1000
_PAGE = 1000


async def end_again(store: SessionStore, endings: Endings, clock: Callable[[], float], leeway: float) -> int:
    """End what the store shows live although it is known to have ended.  Returns how many sessions that were.

    `leeway` is how much the clocks of those who start sessions may differ, in seconds.

    Goes from the newest to the oldest, since what is lost are the last writes, and stops after a thousand of which
    none was lost: a thousand workers do this at the same time.

    Raises:
        StoreUnavailable: part of it may be done; it can be called again.
    """
    restored = 0
    newest_first = iter(endings.newest_first())
    while step := list(islice(newest_first, _STEP)):
        lost = 0
        for ending in step:
            lost += await _end_one(store, ending, clock(), leeway)
        restored += lost
        if not lost:
            break
    return restored


async def _end_one(store: SessionStore, ending: Ending, now: float, leeway: float) -> int:
    ended = ending.revocation
    if ended.session_id is None:
        return await _end_person(store, ending, now, leeway)
    # Reading first: it is cheaper, and nearly always nothing is to be done.  Generation -1 belongs to nobody.
    try:
        record = await store.verify(ended.session_id, generation=-1)
    except StepRefused:  # it is damaged, and can be ended all the same
        return int(await store.revoke(ended.realm, ended.tag, ended.session_id, now=now))
    if record is None or not ending.concerns(record):
        return 0
    return int(await store.revoke(record.realm, record.tag, record.session_id, now=now))


async def _end_person(store: SessionStore, ending: Ending, now: float, leeway: float) -> int:
    """The person's sessions one by one: those that began since are none of the ended."""
    ended, restored, cursor = ending.revocation, 0, None
    while True:
        page = await store.list(ended.realm, ended.tag, ended.subject or "", limit=_PAGE, cursor=cursor, now=now)
        for record in [record for record in page.records if ending.concerns(record, leeway)]:
            restored += await store.revoke(record.realm, record.tag, record.session_id, now=now)
        cursor = page.next_cursor
        if cursor is None:
            return restored
