"""What this worker knows to have ended, kept for the day on which the store has forgotten it.

A failover or a restored backup can bring ended sessions back to life.  Who saw them end refuses them all the
same, and writes their end again (`restoring`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .models import Revocation, SessionRecord

#: Endings that are kept, the newest; about 300 bytes each.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Ending:
    """One known ending, the `number`-th that was noted.

    Of a person it concerns the sessions created before `before` (Unix seconds) and not the one that was spared.
    """

    number: int
    revocation: Revocation
    before: float

    def concerns(self, record: SessionRecord) -> bool:
        ended = self.revocation
        if record.realm != ended.realm or record.session_id == ended.spared:
            return False
        if ended.session_id is not None:
            return record.session_id == ended.session_id
        return (record.tag, record.subject) == (ended.tag, ended.subject) and record.created_at < self.before


class Endings:
    """At most `most` of them; the oldest go first."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: dict[object, Ending] = {}
        #: How many were noted so far.
        self.count = 0
        #: Whether the store may have forgotten some of them.
        self.due = False

    def __len__(self) -> int:
        return len(self._kept)

    def note(self, revocation: Revocation, *, before: float) -> None:
        """Keep an ending.  Noted again, it stays known from the first time on."""
        if not revocation.ended:
            return
        key = revocation.session_id or (revocation.realm, revocation.tag, revocation.subject)
        old = self._kept.pop(key, None)
        if old is not None and old.revocation == revocation:
            number, before = old.number, max(old.before, before)
        else:
            self.count += 1
            number = self.count
        self._kept[key] = Ending(number, revocation, before)
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

    def known(self, record: SessionRecord, *, noted: int) -> bool:
        """Whether the session of `record` was known to have ended when `count` was `noted`.

        Asked of a record that the store shows live.  What ended while the store was being asked does not count:
        the question began before.
        """
        return any(
            ending is not None and ending.number <= noted and ending.concerns(record)
            for ending in (
                self._kept.get(record.session_id),
                self._kept.get((record.realm, record.tag, record.subject)),
            )
        )

    def newest_first(self) -> list[Ending]:
        return list(reversed(self._kept.values()))
