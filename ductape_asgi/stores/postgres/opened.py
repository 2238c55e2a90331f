"""A store while it is open: its connections and its statements.  Bound to one event loop of one process."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from . import opening
from .driver import ServerError
from .pool import Pool, Step
from .statements import Statements, statements_for

T = TypeVar("T")


def needs_asyncio() -> None:
    """See to it that asyncpg can run here.

    Raises:
        ConfigurationError: no, this is trio.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise ConfigurationError(
            "the PostgreSQL store runs on asyncio only, as asyncpg does: run the app on asyncio (uvicorn and granian"
            " do), or use sqlite:///, which runs on trio as well"
        )


class Opened:
    """What opening made."""

    sql: Statements

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        open_here.add(self)

    async def prepare(self, schema: str | None) -> None:
        """See to the tables.

        Raises:
            ConfigurationError, StoreUnavailable: as `SessionStore.open`; nothing is left open.
        """
        try:
            place, ready = await self._first(lambda connection: opening.look(connection, schema))
            if not ready:
                until = self.pool.loop.time() + opening.MIGRATION_PATIENCE
                await self._first(lambda connection: opening.migrate(connection, place), until)
        except BaseException:
            self.pool.abandon()
            raise
        self.sql = statements_for(place)

    async def _first(self, step: Step[T], until: float | None = None) -> T:
        """Do a step whose failure may be the user's to mend."""
        try:
            return await self.pool.do(step, until=until)
        except StoreUnavailable as error:
            cause = error.__cause__
            refused = None if cause is None else opening.refusal(cause)
            if refused is None:
                raise
            raise refused from (cause if isinstance(cause, ServerError) else None)

    def usable(self) -> bool:
        """Whether it is open in this process and the running event loop."""
        return not self.pool.closed and self.pool.belongs_here()


#: What is open in this process; see `_after_fork`.
open_here: weakref.WeakSet[Opened] = weakref.WeakSet()
#: What this process got from a parent by fork: its event loop is the parent's, too, and must not be touched again.
_inherited: list[Opened] = []


def _after_fork() -> None:
    for opened in list(open_here):
        opened.pool.disown()
        _inherited.append(opened)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
