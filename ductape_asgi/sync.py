"""The verbs for ``def`` handlers, which servers run in worker threads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio
import anyio.from_thread
from anyio.lowlevel import EventLoopToken, current_token

from .lifetime import Lifetime

if TYPE_CHECKING:
    from .sessions import Sessions

_NO_LOOP = "no event loop has these sessions open: await the verb, or call it from a server's thread"

P = ParamSpec("P")
R = TypeVar("R")


class SyncSessions:
    """The same verbs as `Sessions` has, for code in a worker thread of a running event loop.

    Servers run ``def`` handlers in such threads.  In the loop's own thread, or where no loop has opened the
    `Sessions`, a verb raises ``RuntimeError``: there, await it, or use ``anyio.run``.  `inspect` works anywhere.
    """

    def __init__(self, sessions: Sessions) -> None:
        def bridged(verb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
            return _from_thread(verb, sessions.worker.lifetime)

        self.start = bridged(sessions.start)
        self.verify = bridged(sessions.verify)
        self.refresh = bridged(sessions.refresh)
        self.revoke = bridged(sessions.revoke)
        self.revoke_all = bridged(sessions.revoke_all)
        self.list = bridged(sessions.list)
        self.update = bridged(sessions.update)
        self.ticket = bridged(sessions.ticket)
        self.inspect = _at_once(sessions.inspect)
        self.stats = bridged(sessions.stats)
        self.users = bridged(sessions.users)
        self.user = bridged(sessions.user)
        self.purge = bridged(sessions.purge)
        self.health = bridged(sessions.health)


def _from_thread(verb: Callable[P, Coroutine[Any, Any, R]], lifetime: Lifetime) -> Callable[P, R]:
    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        call = partial(verb, *args, **kwargs)
        try:
            return anyio.from_thread.run(call)
        except anyio.NoEventLoopError:
            # Not a thread of anyio's: Litestar's, say.  Then the loop that has opened the sessions does it.
            token = _elsewhere(lifetime)
        try:
            return anyio.from_thread.run(call, token=token)
        except anyio.RunFinishedError:
            raise RuntimeError(_NO_LOOP) from None

    return run


def _at_once(verb: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """For a verb that waits for nothing, and so needs no loop."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            verb(*args, **kwargs).send(None)
        except StopIteration as done:
            answer: R = done.value
            return answer
        raise RuntimeError(f"{verb.__name__} was to wait for nothing")

    return run


def _elsewhere(lifetime: Lifetime) -> EventLoopToken:
    token = lifetime.token
    if token is None:
        raise RuntimeError(_NO_LOOP)
    try:
        current_token()
    except RuntimeError:  # anyio's own error for no loop is one, too
        return token
    raise RuntimeError("sessions.sync would block the event loop it is called in: await the verb instead")
