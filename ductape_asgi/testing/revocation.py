"""How soon a session that was ended is refused."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, overload

import anyio

from ..errors import ConfigurationError, DuctapeError, RevokedSession, StoreUnavailable

#: Between two questions, in seconds.
_PAUSE = 0.01
_REFUSED = re.compile(r'error="?invalid_token\b')


@overload
def assert_revoked_within(  # pyright: ignore[reportOverlappingOverload]
    seconds: float, ask: Callable[[], Awaitable[Any]]
) -> Awaitable[None]: ...
@overload
def assert_revoked_within(seconds: float, ask: Callable[[], Any]) -> None: ...
def assert_revoked_within(seconds: float, ask: Callable[[], Any]) -> Awaitable[None] | None:
    """Ask until the session is refused, for so many seconds of the wall clock, and once more after that.

    Args:
        seconds: from now.
        ask: sends a request and answers the response, ``lambda: client.get("/me")``, or verifies,
            ``lambda: sessions.verify(tag=tag, token=token)``.  Where it is to be awaited, so is this function.

    Raises:
        AssertionError: it was still accepted at the end, or was refused for another reason: a request without a
            credential proves nothing.
        ConfigurationError: not a number of seconds.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise ConfigurationError(f"assert_revoked_within({seconds!r}, ...): give seconds from 0")
    watch = _Watch(seconds)
    try:
        answer = ask()
    except DuctapeError as error:
        answer = error
    if inspect.isawaitable(answer):
        return _awaited(watch, ask, answer)
    while not watch.refused(answer):
        time.sleep(_PAUSE)
        watch.begin()
        try:
            answer = ask()
        except DuctapeError as error:
            answer = error
    return None


async def _awaited(watch: _Watch, ask: Callable[[], Awaitable[Any]], asked: Awaitable[Any]) -> None:
    while True:
        try:
            answer = await asked
        except DuctapeError as error:
            answer = error
        if watch.refused(answer):
            return
        await anyio.sleep(_PAUSE)
        watch.begin()
        asked = ask()


class _Watch:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._late = seconds == 0

    def begin(self) -> None:
        """Another question is asked; however long its answer takes, the question counts."""
        self._late = time.monotonic() >= self._until

    def refused(self, answer: Any) -> bool:
        verdict = _verdict(answer)
        if verdict is not None and self._late:
            raise AssertionError(f"{verdict} {self._seconds} s after the revocation")
        return verdict is None


def _verdict(answer: Any) -> str | None:
    """None where the session is refused as it should be, else what happened.

    Raises:
        AssertionError: it will never be, for this reason.
    """
    if isinstance(answer, RevokedSession):
        return None
    if isinstance(answer, StoreUnavailable):
        return "the store was still unavailable"
    if isinstance(answer, DuctapeError):
        raise AssertionError(f"refused, but not as revoked: {answer.code}: {answer}") from answer
    status = getattr(answer, "status_code", None)
    if status != 401:
        return "the session was still accepted" if status is None else f"the answer was still {status}"
    if _REFUSED.search(answer.headers.get("www-authenticate", "")) is None:
        raise AssertionError("refused, but not for its token: does the request carry one?")
    return None
