"""One person's sessions as their page shows them: the one at hand, and the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..models import SessionInfo
from ..sessions import Sessions

_AT_ONCE = 1000


class Holder(Protocol):
    """Whose request it is.  `auth_time` is Unix seconds."""

    @property
    def session_id(self) -> str: ...

    @property
    def identifier(self) -> str | None: ...

    @property
    def auth_time(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Devices:
    """A page of the list.  `others` counts all of them; `current` is None where it has ended just now."""

    current: SessionInfo | None
    listed: tuple[SessionInfo, ...]
    others: int
    next_cursor: str | None


async def devices_of(sessions: Sessions, tag: str, holder: Holder, *, limit: int, cursor: str | None) -> Devices:
    """The sessions of whoever holds this one, newest first.

    Raises:
        InvalidData: a cursor that is not ours.
        StoreUnavailable: they cannot be told now.
    """
    if holder.identifier is None:
        return Devices(None, (), 0, None)
    page = await sessions.list(tag=tag, identifier=holder.identifier, limit=limit, cursor=cursor)
    current = next((info for info in page if info.session_id == holder.session_id), None)
    if current is None:
        current = await find_own(sessions, tag, holder, holder.session_id)
    listed = tuple(info for info in page if info.session_id != holder.session_id)
    return Devices(current, listed, page.count - (current is not None), page.next_cursor)


async def find_own(sessions: Sessions, tag: str, holder: Holder, session_id: str) -> SessionInfo | None:
    """The live session of this id, if it is of the same person; else None."""
    if holder.identifier is None:
        return None
    cursor: str | None = None
    while True:
        page = await sessions.list(tag=tag, identifier=holder.identifier, limit=_AT_ONCE, cursor=cursor)
        found = next((info for info in page if info.session_id == session_id), None)
        cursor = page.next_cursor
        if found is not None or cursor is None:
            return found
