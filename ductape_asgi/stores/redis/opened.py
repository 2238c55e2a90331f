"""A store while it is open: bound to the event loop and the process in which it was opened."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import (
    ConnectionError as Disconnected,
)
from redis.exceptions import (
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from ...errors import StoreUnavailable
from ..base import StepRefused
from .address import Address
from .cluster import Cluster
from .keys import Keys
from .node import Command
from .scripts import Script
from .topology import FAILURES, OneServer, Topology, Watched, refused

#: How long a caller waits for everything: for a free connection, for finding the server, for its answer.
LONGEST_WAIT: Final = 1.4


class Opened:
    def __init__(self, address: Address, keys: Keys) -> None:
        self.address = address
        self.keys = keys
        self.topology = _topology(address, keys)
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()

    def here(self) -> bool:
        """Whether this is the event loop and the process in which it was opened."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio
            return False
        return self._pid == os.getpid() and loop is self._loop

    async def run(self, script: Script, shard: int, keys: Sequence[str], *args: object) -> list[Any]:
        """What the script answered after its first argument, which stands for the question.

        Raises:
            StoreUnavailable: it failed, or did not answer in time; it may still have been done.
        """
        (answer,) = await self._run(script, shard, (), keys, args)
        return _checked(answer)

    async def run_after(
        self, command: Command, script: Script, shard: int, keys: Sequence[str], *args: object
    ) -> tuple[Any, list[Any]]:
        """As `run`, for a script that may be done twice, with the answer to another command on the same connection."""
        first, answer = await self._run(script, shard, (command,), keys, args)
        return first, _checked(answer)

    async def _run(
        self, script: Script, shard: int, before: Sequence[Command], keys: Sequence[str], args: Sequence[object]
    ) -> list[Any]:
        with explained():
            async with asyncio.timeout(LONGEST_WAIT):
                answers = await self.topology.ask(shard, *before, ("EVALSHA", script.sha, len(keys), *keys, *args))
                if isinstance(answers[-1], NoScriptError):
                    answers = await self.topology.ask(shard, *before, ("EVAL", script.text, len(keys), *keys, *args))
        return answers

    async def run_each(
        self, script: Script, calls: Mapping[int, tuple[Sequence[str], Sequence[object]]]
    ) -> dict[int, list[Any]]:
        """As `run`, for a script that may be done twice: once in each of several shards, with keys and args."""
        answers = await self.ask_each(
            {shard: [("EVALSHA", script.sha, len(keys), *keys, *args)] for shard, (keys, args) in calls.items()}
        )
        unknown = [shard for shard, (answer,) in answers.items() if isinstance(answer, NoScriptError)]
        if unknown:
            again = {shard: calls[shard] for shard in unknown}
            answers |= await self.ask_each(
                {shard: [("EVAL", script.text, len(keys), *keys, *args)] for shard, (keys, args) in again.items()}
            )
        return {shard: _checked(answer) for shard, (answer,) in answers.items()}

    async def ask_each(self, commands: Mapping[int, Sequence[Command]]) -> dict[int, list[Any]]:
        """The answers to commands for several shards.  Each batch must be such that doing it twice changes nothing.

        Raises:
            StoreUnavailable: not all was answered in time.
        """
        with explained():
            async with asyncio.timeout(LONGEST_WAIT):
                return await self.topology.ask_each(commands)

    def require_master(self, role: Any) -> None:
        """Refuse to believe a replica, which may lag behind without knowing; `role` is what it answered to ROLE.

        Raises:
            StoreUnavailable: it is one.
        """
        if isinstance(role, list) and role[0] != b"master":
            self.topology.doubt()
            raise StoreUnavailable(
                "the session store is a replica, or a master that was replaced; it has to be a master"
            )

    async def close(self) -> None:
        await self.topology.close()

    def abandon(self) -> None:
        self.topology.abandon()


def _topology(address: Address, keys: Keys) -> Topology:
    if address.form == "cluster":
        return Cluster(address, keys)
    return Watched(address) if address.form == "sentinel" else OneServer(address)


def answered(answer: Any) -> Any:
    """The answer to a command, unless the server refused it.

    Raises:
        StoreUnavailable: it did.
    """
    if isinstance(answer, ResponseError):
        raise unavailable(answer) from answer
    return answer


def _checked(answer: Any) -> list[Any]:
    """The answer of a script without its sign, which has been compared."""
    values: list[Any] = answered(answer)[1:]
    return values


def crossed() -> StoreUnavailable:
    return StepRefused("Redis holds another session under this id, and it was thrown away; who else writes there?")


def draw() -> str:
    """A text that nobody else has."""
    return secrets.token_urlsafe(9)


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise unavailable(error) from error


def unavailable(error: BaseException) -> StoreUnavailable:
    """What callers get for a failure of Redis or the way there.  Its text is only in the cause: it may name hosts."""
    kind = type(_wrapped(error)).__name__
    if isinstance(error, ReadOnlyError):
        kind += ", a replica or a master that was replaced"
    return (StepRefused if refused(error) else StoreUnavailable)(
        f"the session store failed ({kind}); see Redis and the way there, and try again"
    )


def _wrapped(error: BaseException) -> BaseException:
    """What redis-py made its `ConnectionError` of: it tells whether there is nobody, no such name or no TLS."""
    inner = error.__cause__ or error.__context__
    return _wrapped(inner) if isinstance(error, Disconnected) and isinstance(inner, FAILURES) else error
