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

    Of a person it concerns the sessions created before `before` (Unix seconds) and not the one that was spared.  Their
    times are those of whoever started them: with `leeway`, so many seconds before `before` count as after it.
    """

    number: int
    revocation: Revocation
    before: float

    def concerns(self, record: SessionRecord, leeway: float = 0) -> bool:
        ended = self.revocation
        if record.realm != ended.realm or record.session_id == ended.spared:
            return False
        if ended.session_id is not None:
            return record.session_id == ended.session_id
        return (record.tag, record.subject) == (ended.tag, ended.subject) and record.created_at + leeway < self.before


class Endings:
    """At most `most` of them; the oldest go first."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: dict[object, Ending] = {}
        #: How many were noted so far.
        self.count = 0
        #: Whether some of them may have to be written again.
        self.due = False
        #: Whether the store's log has shown that writes were lost, and not all endings were written again since.
        self.doubted = False

    def __len__(self) -> int:
        return len(self._kept)

    def note(self, revocation: Revocation, *, before: float) -> None:
        """Keep an ending.  Noted again, it stays known from the first time on, unless it concerns more than then."""
        if not revocation.ended:
            return
        key = revocation.session_id or (revocation.realm, revocation.tag, revocation.subject)
        ending = self._kept.pop(key, None)
        if ending is None or ending.revocation != revocation or ending.before < before:
            self.count += 1
            ending = Ending(self.count, revocation, before)
        self._kept[key] = ending
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

    def known(self, record: SessionRecord, *, noted: int, leeway: float = 0) -> Ending | None:
        """What was known of the end of `record`'s session when `count` was `noted`.

        Asked of a record that the store shows live.  What ended while the store was being asked does not count:
        the question began before.
        """
        for ending in self._of(record, leeway):
            if ending.number <= noted:
                return ending
        return None

    def came(self, record: SessionRecord, *, noted: int) -> bool:
        """Whether `record`'s session has ended by itself, or with its person's others since `count` was `noted`."""
        return any(
            ending.revocation.session_id is not None or ending.number > noted for ending in self._of(record, leeway=0)
        )

    def _of(self, record: SessionRecord, leeway: float) -> list[Ending]:
        kept = self._kept.get(record.session_id), self._kept.get((record.realm, record.tag, record.subject))
        if kept == (None, None):  # of nearly all who ask, and each cold verification asks
            return []
        return [ending for ending in kept if ending is not None and ending.concerns(record, leeway)]

    def newest_first(self) -> list[Ending]:
        return list(reversed(self._kept.values()))
