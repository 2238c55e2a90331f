"""Follows the log in the background, so that no request pays for it: a fixed number of tasks, whatever the load.

A wake-up says that there may be something to read; a heartbeat reads anyway.  Neither is believed: the log decides.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from random import uniform
from typing import Any

import anyio

from .audit import logger
from .errors import StoreUnavailable
from .revocations import Feed
from .stores.guarded import GuardedStore

#: Wake-ups that come so soon after a reading share the next one, in seconds.  A storm of revocations is read in
#: pages, and not by as many questions.
_GATHER = 0.01
#: How soon a store that failed is asked again, in seconds.
_AGAIN = 0.5


class _Bell:
    """Rung by the store; whoever waits is late by no ring that came after the last wait ended."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, at_most: float) -> None:
        with anyio.move_on_after(at_most):
            await self._rung.wait()
        self._rung = anyio.Event()


def following(store: GuardedStore, feed: Feed, heartbeat: float) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
    """What to run in this event loop, until cancelled: one task that is woken, and one that reads the log then, and
    every `heartbeat` seconds.

    Nothing where the store announces its sequence: there, each request sees by itself that there is news.
    """
    if store.announced() is not None:
        return ()
    bell = _Bell()
    return partial(_follow, feed, bell, heartbeat), partial(_listen, store, bell)


async def _follow(feed: Feed, bell: _Bell, heartbeat: float) -> None:
    try:
        while True:
            pause = _jittered(heartbeat if await _read(feed) else min(heartbeat, _AGAIN))
            await anyio.sleep(min(_GATHER, pause))
            await bell.wait(pause)
    finally:
        feed.distrust()  # nobody hears of anything any more


async def _read(feed: Feed) -> bool:
    """Whether the log could be read; the feed tells the log of ours about it, once."""
    try:
        await feed.catch_up()
    except StoreUnavailable:
        return False
    except Exception:  # A task that dies here would leave each request to read for itself.
        logger.exception("the store's log could not be read, and will be tried again")
        return False
    return True


async def _listen(store: GuardedStore, bell: _Bell) -> None:
    """Be woken, for as long as the store has a way to do so."""
    while True:
        try:
            await store.listen(bell.ring)
            return
        except Exception as error:
            logger.warning("the store's wake-ups have ended, and will be asked for again: %s", type(error).__name__)
        bell.ring()
        await anyio.sleep(_jittered(_AGAIN))


def _jittered(seconds: float) -> float:
    """After a failover, a thousand workers must not ask in step."""
    return seconds * uniform(0.8, 1.0)  # noqa: S311 - nobody gains by guessing it
