"""A store that fails on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import anyio

from ..errors import ConfigurationError, StoreUnavailable
from ..latch import Latch
from ..stores.base import SessionStore

#: The coroutines of a store.
VERBS = (
    "open",
    "close",
    "claim_secret",
    "create",
    "verify",
    "rotate",
    "reseal",
    "revoke",
    "revoke_all",
    "update",
    "list",
    "touch",
    "purge",
    "log_since",
    "listen",
)
#: Those that not every store has.
OPTIONAL = ("census", "people")


@dataclass
class _Trouble:
    kind: Literal["fail", "lose", "hang", "delay"]
    times: int | None = None
    seconds: float = 0
    healed: Latch = field(default_factory=Latch)

    def begin(self) -> bool:
        """Whether it strikes now; one that was to strike so many times counts down."""
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


def _verb(name: str) -> Any:
    async def call(self: FlakyStore, *args: Any, **kwargs: Any) -> Any:
        return await self._call(name, *args, **kwargs)

    call.__name__ = name
    return call


class FlakyStore:
    """Hands every call on to `store`, until it is told to err: ``Sessions(store=FlakyStore(MemoryStore()))``.

    Troubles are for the verbs that are named, ``flaky.fail("verify", "log_since")``, or for all but ``close``.
    A later trouble of a verb takes the place of the one before.  `calls` counts what was asked, by verb.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()
        self._troubles: dict[str, _Trouble] = {}

    def fail(self, *verbs: str, times: int | None = None) -> None:
        """Raise `StoreUnavailable` and do nothing; so many times, or until `heal`."""
        self._begin(verbs, "fail", times=times)

    def lose(self, *verbs: str, times: int | None = None) -> None:
        """Do what is asked and lose the answer: raise `StoreUnavailable` afterwards."""
        self._begin(verbs, "lose", times=times)

    def hang(self, *verbs: str, times: int | None = None) -> None:
        """Answer nothing until `heal`; then do what was asked."""
        self._begin(verbs, "hang", times=times)

    def delay(self, seconds: float, *verbs: str, times: int | None = None) -> None:
        """Wait for so many seconds of the wall clock, then do what was asked."""
        self._begin(verbs, "delay", times=times, seconds=seconds)

    def heal(self, *verbs: str) -> None:
        """Work again, and let go of what hangs.  From any thread."""
        for verb in _checked(verbs):
            trouble = self._troubles.pop(verb, None)
            if trouble is not None:
                trouble.healed.open()

    open = _verb("open")
    close = _verb("close")
    claim_secret = _verb("claim_secret")
    create = _verb("create")
    verify = _verb("verify")
    rotate = _verb("rotate")
    reseal = _verb("reseal")
    revoke = _verb("revoke")
    revoke_all = _verb("revoke_all")
    update = _verb("update")
    list = _verb("list")
    touch = _verb("touch")
    purge = _verb("purge")
    log_since = _verb("log_since")
    listen = _verb("listen")

    def announced(self) -> Sequence[int] | None:
        return self.store.announced()

    def __getattr__(self, name: str) -> Any:
        if name == "store":  # not there yet, while this is being copied
            raise AttributeError(name)
        found = getattr(self.store, name)
        return partial(self._call, name) if name in OPTIONAL else found

    def __repr__(self) -> str:
        return f"<FlakyStore of {type(self.store).__name__}>"

    def _begin(self, verbs: Iterable[str], kind: Any, *, times: int | None, seconds: float = 0) -> None:
        if times is not None and (type(times) is not int or times < 1):
            raise ConfigurationError(f"times={times!r}: give a whole number from 1, or None for: until heal()")
        for verb in _checked(verbs):
            previous = self._troubles.get(verb)
            self._troubles[verb] = _Trouble(kind, times, seconds)
            if previous is not None:
                previous.healed.open()

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        self.calls[verb] += 1
        trouble = self._troubles.get(verb)
        if trouble is None or not trouble.begin():
            return await getattr(self.store, verb)(*args, **kwargs)
        if trouble.kind == "fail":
            raise StoreUnavailable(f"FlakyStore: {verb} was told to fail")
        if trouble.kind == "hang":
            await trouble.healed.wait_async()
        await anyio.sleep(trouble.seconds)
        answer = await getattr(self.store, verb)(*args, **kwargs)
        if trouble.kind == "lose":
            raise StoreUnavailable(f"FlakyStore: the answer of {verb} was lost")
        return answer


def _checked(verbs: Iterable[str]) -> tuple[str, ...]:
    known = (*VERBS, *OPTIONAL)
    given = tuple(verbs) or tuple(verb for verb in known if verb != "close")
    unknown = [verb for verb in given if verb not in known]
    if unknown:
        raise ConfigurationError(f"a store has no {', '.join(map(str, unknown))}; it has {', '.join(known)}")
    return given
