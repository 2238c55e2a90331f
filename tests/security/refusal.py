"""How a hostile token must end: one of our errors, at once, and nobody asked."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ductape_asgi import SessionError

from .forge import TAG, Forge

#: Thread CPU seconds a refusal may take.
BUDGET = 0.002


async def assert_refused(forge: Forge, token: Any, *, tag: str = TAG, tries: int = 5) -> SessionError:
    """`token` is refused by an error of ours, within the budget, and without a call to the store.

    CPU time of this thread, the best of several tries: other work on the machine cannot fail it.
    """
    forge.store.calls.clear()
    best = float("inf")
    for _ in range(tries):
        started = time.thread_time()
        refusal = await _refusal(forge, token, tag)
        best = min(best, time.thread_time() - started)
        if best < BUDGET:
            break
    assert best < BUDGET, f"refusing it took {best * 1000:.1f} ms"
    assert not forge.store.calls, "the store was asked about a token that should have been refused before"
    _assert_quiet(refusal, token)
    return refusal


async def _refusal(forge: Forge, token: Any, tag: str) -> SessionError:
    try:
        await forge.sessions.verify(tag=tag, token=token)
    except SessionError as error:
        return error
    pytest.fail("the token was accepted")


def _assert_quiet(refusal: SessionError, token: Any) -> None:
    """The message is one short line, and repeats nothing of the token."""
    message = str(refusal)
    assert message.isprintable()
    assert len(message) < 300
    if isinstance(token, str):
        assert not any(len(part) > 20 and part in message for part in token.split("."))


async def assert_not_inspected(forge: Forge, token: Any) -> None:
    """`inspect` refuses it as well: it takes no token whose signature or form `verify` would not take."""
    with pytest.raises(SessionError):
        await forge.sessions.inspect(token=token)
