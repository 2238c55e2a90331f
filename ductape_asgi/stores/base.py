"""The protocol of a store, in exact prose.  `ductape_asgi.testing.StoreContract` holds every store to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from ..errors import ConfigurationError, StoreUnavailable
from ..figures import Census, PeoplePage
from ..models import LogPage, Position, RecordPage, Rotation, SessionRecord


class RoutedStore(Protocol):
    """What a store may have besides, if it must find a session's place by its id alone."""

    def route(self, realm: str, subject: str | None) -> str:
        """What a new session id has to end with: up to 8 of ``A-Za-z0-9_-``.

        The same for all sessions of a subject; without one (anonymous sessions) whatever the store likes.
        """
        ...


def route_of(store: object, realm: str, subject: str | None) -> str:
    """What `store` wants a new session id to end with: nothing, unless it says so."""
    route = getattr(store, "route", None)
    return "" if route is None else cast("RoutedStore", store).route(realm, subject)


class SurveyedStore(Protocol):
    """What a store may have besides, for `Sessions.stats`, `users` and `user`, which refuse a store without it.

    A call looks at some ten thousand sessions at most, but for people who have more than that, and keeps nobody else
    waiting for long: neither the event loop, nor a server's other clients.
    """

    async def census(self, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
        """Count some people's sessions of this realm and tag, live or not, unless they were ended or purged.

        Each person is in one part only.  The first part is asked for without a cursor, the next with the
        `next_cursor` of the one before; it is None in the last.  A part may be empty.

        `days` tells of the sessions with ``created_at >= since``, by the day in UTC that `created_at` is in.
        Sessions that are started, used or ended while the parts are asked for may be counted as before or after;
        all others are counted once.

        Raises:
            InvalidData: the cursor is not one of ours.
        """
        ...

    async def people(self, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
        """A page of the people who have live sessions of this realm and tag.

        The order is the store's own, and nothing that happens to their sessions moves anybody in it: who has live
        sessions throughout is on one page, once.  `next_cursor` is None on the last page.

        Raises:
            InvalidData: the cursor is not one of ours.
        """
        ...


def surveyed(store: object) -> SurveyedStore:
    """`store`, if it can count.

    Raises:
        ConfigurationError: it cannot.
    """
    if not hasattr(store, "census") or not hasattr(store, "people"):
        raise ConfigurationError(
            f"{type(store).__name__} does not count sessions, which stats, users and user need: give it `census` and "
            "`people`, as ductape_asgi.stores.base.SurveyedStore tells"
        )
    return cast("SurveyedStore", store)


class StepRefused(StoreUnavailable):
    """The backend answered in good time, and does not do this step: its memory is full, this one session is damaged.

    No sign that others would fail, too: whoever counts failures takes it for an answer.
    """


class SecretChanged(StoreUnavailable):
    """`SessionStore.create` was given a secret that the store does not keep: it was emptied, or is another one."""

    def __init__(self) -> None:
        super().__init__("the session store was emptied or replaced meanwhile; try again")


class SessionStore(Protocol):
    """Where session records live.

    Absence is an answer, not an error: look-ups return ``None`` and revoking an unknown session does
    nothing.  A store raises `StoreUnavailable`, and only when its backend failed, besides the errors named
    below.  Every method may be called from many tasks at once, and each is one atomic step that either
    happened or did not.  What a method changed is durable, and visible to every other worker, when it answers.

    After some failures in a row nothing is asked for a moment.  A failure of one step alone, which says nothing of
    others, may be told as `StepRefused`, which does not count.

    A session is *live* while ``record.live(now)`` holds; only live sessions are counted, listed or ended.
    `now` is Unix seconds by the caller's clock.  The three sealed fields are opaque to the store.

    Every step that ends sessions or changes their data appends to a log, in the same atomic step.  Its
    sequence grows by one for each entry and has no gaps.

    `listen` may be left out: then a worker reads the log on its own, some times in each `max_staleness`.  Every
    call but `open`, `close` and `listen` is given up after a second, by cancelling it; a class that ends all its
    calls by itself, and touches no network, may say so with ``deadline = None``.

    A store whose connections belong to no event loop says so with ``any_loop = True``: then several loops may use it
    at once, in threads.  Each of them opens it, which does nothing where it is open, and the last one closes it.
    Without that word, one `Sessions` opens it in one loop at a time, and refuses another.
    """

    async def open(self) -> None:
        """Get ready.  Called again after `close`, also in another event loop.

        Raises:
            ConfigurationError: the backend cannot be used at all; says what to do.
        """
        ...

    async def close(self) -> None:
        """Let go of every file, thread and socket; what was acknowledged stays.  Closing twice does nothing."""
        ...

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        """Keep `offers` (name -> sealed secret) unless something is kept under one of these names; then keep none.

        Returns what is kept under these names afterwards.
        """
        ...

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        """Add a new session, after ending `replaces` (any tag of the same realm) if it is given.

        With a `limit`, the person (realm, tag, subject) has at most so many live sessions afterwards: the
        earliest started are ended if `evict`, else nothing at all happens and `SessionLimitReached` is raised.
        Returns the ids that were ended.  Never overwrites: a taken id is `StoreUnavailable`.

        The subject was made with a key that the caller got from `claim_secret`.  In the same atomic step, `secret`
        has to be what is kept for the record's realm under the name `refresh_key`: in a store that was emptied, or
        put in another's place, nobody would find the session under its subject.

        Raises:
            SecretChanged: it is not; nothing has happened.
        """
        ...

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        """Read a session, live or not, for an access token of `generation`.

        The first time its newest generation is seen, if that is above 0, this is recorded before the answer:
        the record answered then has ``seen_generation >= generation``.  Where it cannot be recorded,
        the record is answered as it stands.
        """
        ...

    async def rotate(
        self,
        session_id: str,
        *,
        generation: int,
        grace: int,
        refresh_key: str,
        client: bytes | None,
        now: float,
    ) -> Rotation:
        """Decide what the refresh token of `generation` may have.

        The newest generation, or a later one (the store lost writes): ``rotated``.  The record then has
        ``generation + 1``, `refresh_key`, ``rotated_at = now``, `last_seen_at` of `now` unless it is later already, and
        `client` unless None.
        The one before it: ``same``, nothing written, while ``now < rotated_at + grace`` or the newest
        has shown no sign of life.  Any other: ``reused``, and the session is ended.
        """
        ...

    async def reseal(self, record: SessionRecord) -> None:
        """Replace the three sealed fields by the record's, if the session is there and still at its `version`."""
        ...

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        """End one session of this realm and tag.  Returns whether it was live."""
        ...

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        """End a person's sessions of one tag, but for `spare`.  Returns how many were live.

        Raises:
            InvalidData: `spare` is not a live session of this person and tag; nothing was ended.
        """
        ...

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        """Replace the sealed data of the live sessions of a subject, or of one session; their `version` grows by one.

        Exactly one of `subject` and `session_id` is given.  Returns how many were changed.
        """
        ...

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        """A page of a person's live sessions, newest first: those started one after another in that order.

        `next_cursor` is None on the last page.

        Raises:
            InvalidData: the cursor is not one of ours.
        """
        ...

    async def touch(self, seen: Mapping[str, float]) -> None:
        """Note last uses (session id -> Unix seconds).  Never moves one back; unknown ids do nothing."""
        ...

    async def purge(self, *, before: float, limit: int) -> int:
        """Remove up to `limit` sessions that were live at no time since `before`.  Returns how many."""
        ...

    async def log_since(self, position: Position | None) -> LogPage:
        """The log after `position`, oldest first, and where it stands now.

        Without a position: no entries, complete.  Of another epoch, or from before what is still kept: not complete.
        """
        ...

    def announced(self) -> Sequence[int] | None:
        """Something whose first item is live: the sequence of the newest entry that may have been committed.

        A view of shared memory, say.  Written under the store's write lock before the commit, so that who reads it
        after a step was acknowledged sees that step or a later one.  It may run ahead of the log, never stay behind
        what was acknowledged; ``None`` where there is no such thing and readers go by `log_since` alone.  Ask again
        after each `log_since`: the store may have put another in its place.
        """
        return None

    async def listen(self, wake: Callable[[], None]) -> None:
        """Run until cancelled, and call `wake` whenever the log may have grown.

        A wake-up is a hint: it may come late, twice, for nothing or not at all; the log decides.  `wake` is called
        in the event loop that awaits this, and also when the connection was lost or made anew, since hints may
        have been missed.  Reconnects by itself; returns at once where there is no push.
        """
        return
