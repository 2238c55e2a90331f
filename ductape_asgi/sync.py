"""The verbs for ``def`` handlers, which servers run in worker threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio.from_thread

if TYPE_CHECKING:
    from .sessions import Sessions

P = ParamSpec("P")
R = TypeVar("R")


class SyncSessions:
    """The same verbs as `Sessions` has, for code in a worker thread of a running event loop.

    Starlette, FastAPI and Litestar run ``def`` handlers in such threads.  Anywhere else a verb raises
    ``RuntimeError``; there, ``anyio.run`` or ``asyncio.run`` does.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.start = _from_thread(sessions.start)
        self.verify = _from_thread(sessions.verify)
        self.refresh = _from_thread(sessions.refresh)
        self.revoke = _from_thread(sessions.revoke)
        self.revoke_all = _from_thread(sessions.revoke_all)
        self.list = _from_thread(sessions.list)
        self.update = _from_thread(sessions.update)
        self.inspect = _from_thread(sessions.inspect)
        self.purge = _from_thread(sessions.purge)


def _from_thread(verb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return anyio.from_thread.run(partial(verb, *args, **kwargs))

    return run
