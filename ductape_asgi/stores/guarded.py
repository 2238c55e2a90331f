"""Every call to a store ends in time, and a store that is down is left alone for a while.

A request waits for one deadline at most, or for half of it where the store has just fallen silent.  After
some failures in a row the circuit opens: calls fail at once, but for one every half second that looks whether
the store is back.  Readings of the log have a circuit of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Literal, ParamSpec, TypeVar

import anyio

from ..errors import DuctapeError, StoreUnavailable
from ..figures import Census, PeoplePage
from ..models import LogPage, Position, RecordPage, Rotation, SessionRecord
from .base import SessionStore, StepRefused, surveyed

P = ParamSpec("P")
T = TypeVar("T")

#: How long one call may take, in seconds.  Whoever waits for it shall have an answer within a second.
DEADLINE: Final = 0.9
#: The same for a call that follows a silence, so that both together take no longer than `DEADLINE`.
HURRIED: Final = 0.45
#: The same for a part of what operators ask for, which no request of anybody else waits for.
UNHURRIED: Final = 10.0
#: So many failures in a row, none later than `_NEAR` seconds after the one before, open the circuit.
FAILURES: Final = 5
_NEAR: Final = 5.0
#: How long an open circuit keeps calls away before one may try again, in seconds.
PAUSE: Final = 0.5


class Circuit:
    """Closed while calls go through.  Each call is `admit`-ted, and then `succeeded`, `failed` or `abandoned`."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._row = 0
        self._failed_at = float("-inf")
        self._again_at: float | None = None

    @property
    def state(self) -> Literal["closed", "open"]:
        return "closed" if self._again_at is None else "open"

    def admit(self) -> None:
        """Let a call through.

        Raises:
            StoreUnavailable: the circuit is open, and it is not yet time to try again.
        """
        if self._again_at is None:
            return
        now = self._elapsed()
        if now < self._again_at:
            raise StoreUnavailable("the session store has failed repeatedly and is left alone for a moment")
        # One at a time may try; who comes meanwhile is turned away as before.
        self._again_at = now + DEADLINE + PAUSE

    def succeeded(self) -> None:
        self._row, self._again_at = 0, None

    def failed(self) -> None:
        now = self._elapsed()
        self._row = self._row + 1 if now - self._failed_at <= _NEAR else 1
        self._failed_at = now
        if self._again_at is not None or self._row >= FAILURES:
            self._again_at = now + PAUSE

    def abandoned(self) -> None:
        """Whoever tried was cancelled; the next call may try."""
        if self._again_at is not None:
            self._again_at = min(self._again_at, self._elapsed())


@contextmanager
def _fail_after(seconds: float) -> Iterator[None]:
    """As `anyio.fail_after`, also where a store makes another `CancelledError` of ours, as `asyncio.gather` does.

    anyio does not know that one for its own.  Whoever called was cancelled by nobody, and would die of it: a request
    without an answer, a background task for good.
    """
    try:
        with anyio.fail_after(seconds):
            yield
    except asyncio.CancelledError as error:  # never on trio
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TimeoutError from error


class GuardedStore:
    """A `SessionStore` around another one.  Opening and closing stay with whoever has the store itself.

    A class of stores may say for itself, as ``deadline = None``, that its calls end in time and touch no network:
    those are neither timed nor counted.  Sub-classes and wrappers must say it again, since they may hang in ways
    of their own.
    """

    def __init__(self, store: SessionStore, elapsed: Callable[[], float]) -> None:
        self._store = store
        self._elapsed = elapsed
        self._remote = "deadline" not in vars(type(store)) or vars(type(store))["deadline"] is not None
        self._silent_at = float("-inf")
        self.circuit = Circuit(elapsed)
        # Of a cluster, the log needs every node and a session one: that the one cannot be read says nothing of the
        # other.  In one circuit, readings of the log that fail would keep away the calls that stand in for them.
        self.log_circuit = Circuit(elapsed)

    @property
    def state(self) -> Literal["closed", "open"]:
        """Open while some calls are kept away."""
        return "open" if "open" in (self.circuit.state, self.log_circuit.state) else "closed"

    def _ask(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return self._ask_in_time(call, *args, **kwargs) if self._remote else call(*args, **kwargs)

    async def _ask_in_time(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._timed(self._patience()):
            return await call(*args, **kwargs)

    def _patience(self) -> float:
        return HURRIED if self._elapsed() < self._silent_at + DEADLINE else DEADLINE

    @contextmanager
    def _timed(self, seconds: float, *, refusals_count: bool = True, circuit: Circuit | None = None) -> Iterator[None]:
        circuit = circuit or self.circuit
        circuit.admit()
        try:
            with _fail_after(seconds):
                yield
        except TimeoutError as error:
            self.fell_silent()
            circuit.failed()
            raise StoreUnavailable(
                "the session store did not answer in time; it may still do what was asked"
            ) from error
        except OSError as error:
            circuit.failed()
            raise StoreUnavailable(f"the session store cannot be reached: {type(error).__name__}") from error
        except StepRefused:
            circuit.succeeded()
            raise
        except StoreUnavailable:
            if refusals_count:
                circuit.failed()
            else:
                circuit.abandoned()
            raise
        except DuctapeError:  # an answer
            circuit.succeeded()
            raise
        except BaseException:
            circuit.abandoned()
            raise
        circuit.succeeded()

    def fell_silent(self) -> None:
        """Whoever has just waited in vain, or for another's question, shall not wait as long once more."""
        self._silent_at = self._elapsed()

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def claim_secret(self, realm: str, offers: Mapping[str, bytes]) -> dict[str, bytes]:
        return await self._ask(self._store.claim_secret, realm, offers)

    async def create(
        self, record: SessionRecord, *, limit: int | None, evict: bool, replaces: str | None, secret: bytes, now: float
    ) -> tuple[str, ...]:
        create = partial(
            self._store.create, record, limit=limit, evict=evict, replaces=replaces, secret=secret, now=now
        )
        if not self._remote:
            return await create()
        # An id that is taken, or a secret that is not kept, is reported like a store that is down: no sign of it.
        with self._timed(self._patience(), refusals_count=False):
            return await create()

    async def verify(self, session_id: str, *, generation: int) -> SessionRecord | None:
        return await self._ask(self._store.verify, session_id, generation=generation)

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
        return await self._ask(
            self._store.rotate,
            session_id,
            generation=generation,
            grace=grace,
            refresh_key=refresh_key,
            client=client,
            now=now,
        )

    async def reseal(self, record: SessionRecord) -> None:
        await self._ask(self._store.reseal, record)

    async def revoke(self, realm: str, tag: str, session_id: str, *, now: float) -> bool:
        return await self._ask(self._store.revoke, realm, tag, session_id, now=now)

    async def revoke_all(self, realm: str, tag: str, subject: str, *, spare: str | None, now: float) -> int:
        return await self._ask(self._store.revoke_all, realm, tag, subject, spare=spare, now=now)

    async def update(
        self, realm: str, tag: str, *, subject: str | None, session_id: str | None, data: bytes, now: float
    ) -> int:
        return await self._ask(
            self._store.update, realm, tag, subject=subject, session_id=session_id, data=data, now=now
        )

    async def list(
        self, realm: str, tag: str, subject: str, *, limit: int, cursor: str | None, now: float
    ) -> RecordPage:
        return await self._ask(self._store.list, realm, tag, subject, limit=limit, cursor=cursor, now=now)

    async def census(self, realm: str, tag: str, *, since: float, cursor: str | None, now: float) -> Census:
        """As the store's.

        Raises:
            ConfigurationError: it has none.
        """
        store = surveyed(self._store)
        return await self._unhurried(partial(store.census, realm, tag, since=since, cursor=cursor, now=now))

    async def people(self, realm: str, tag: str, *, limit: int, cursor: str | None, now: float) -> PeoplePage:
        """As `census`."""
        store = surveyed(self._store)
        return await self._unhurried(partial(store.people, realm, tag, limit=limit, cursor=cursor, now=now))

    async def _unhurried(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call that may take its time; how it ends says nothing of how the store does for everybody else."""
        if not self._remote:
            return await call()
        self.circuit.admit()
        try:
            with anyio.fail_after(UNHURRIED):
                return await call()
        except TimeoutError as error:
            raise StoreUnavailable("the session store could not count sessions in time; try again") from error
        except OSError as error:
            raise StoreUnavailable(f"the session store cannot be reached: {type(error).__name__}") from error
        finally:
            self.circuit.abandoned()

    async def touch(self, seen: Mapping[str, float]) -> None:
        await self._ask(self._store.touch, seen)

    async def purge(self, *, before: float, limit: int) -> int:
        return await self._ask(self._store.purge, before=before, limit=limit)

    async def log_since(self, position: Position | None, *, within: float = DEADLINE) -> LogPage:
        """As the store's; `within` so many seconds, however silent it has been."""
        if not self._remote:
            return await self._store.log_since(position)
        with self._timed(within, circuit=self.log_circuit):
            page = await self._store.log_since(position)
        self.circuit.succeeded()  # it answers
        return page

    def announced(self) -> Sequence[int] | None:
        """The store's word; None also where it was written before there were words."""
        announced = getattr(self._store, "announced", None)
        return None if announced is None else announced()

    async def listen(self, wake: Callable[[], None]) -> None:
        """As the store's, for as long as it takes; returns at once where it was written before there was push."""
        listen = getattr(self._store, "listen", None)
        if listen is not None:
            await listen(wake)
