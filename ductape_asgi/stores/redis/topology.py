"""Which server has a shard: the one there is, or the one that Sentinel names.  `cluster` has the third way."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as Disconnected,
)
from redis.sentinel import MasterNotFoundError

from .address import Address
from .node import Command, Node

#: How often at most it is asked anew who has what, in seconds: each failed command gives a reason to.
_LOOK_EVERY: Final = 0.1

FAILURES: Final = (RedisError, OSError, TimeoutError)

#: Refusals by a server that is no longer the one to ask.
_DOUBTFUL: Final = ("READONLY", "CLUSTERDOWN", "MASTERDOWN")
_KINDS: Final = (
    (MovedError, "MOVED"),
    (AskError, "ASK"),
    (TryAgainError, "TRYAGAIN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (ReadOnlyError, "READONLY"),
)


def kind_of(error: ResponseError) -> str:
    """The first word of what the server said; newer versions of redis-py make a class of it."""
    return next((kind for known, kind in _KINDS if isinstance(error, known)), str(error).partition(" ")[0])


def refused(error: BaseException) -> bool:
    """Whether a server said no to this command, with its memory full, say, and is the one to ask all the same."""
    return isinstance(error, ResponseError) and kind_of(error) not in (*_DOUBTFUL, "MOVED", "ASK", "TRYAGAIN")


class Topology(ABC):
    """Finds the node of a shard, and looks again after each failure."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._nodes: dict[tuple[str, int], Node] = {}
        self._stale = True
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    @property
    def nodes(self) -> Sequence[Node]:
        """All that hold data."""
        return list(self._nodes.values())

    async def ask(self, shard: int, *commands: Command) -> list[Any]:
        """The answers of the node that has `shard`; one that it refused answers its `ResponseError`.

        Raises:
            RedisError, OSError, TimeoutError: not all was answered; some of it may have been done.
        """
        await self.look()
        return await self._watched(self._node_of(shard), commands)

    async def ask_each(self, commands: Mapping[int, Sequence[Command]]) -> dict[int, list[Any]]:
        """The answers for several shards, asked in one go of each node: one connection each."""
        await self.look()
        shares: dict[Node, list[int]] = {}
        for shard in commands:
            shares.setdefault(self._node_of(shard), []).append(shard)
        outcomes: dict[Node, list[Any] | Exception] = {}

        async def share(node: Node) -> None:
            try:
                outcomes[node] = await self._watched(node, [one for shard in shares[node] for one in commands[shard]])
            except Exception as error:  # raised below, when none is left running behind it
                outcomes[node] = error

        # Not `asyncio.gather`: cancelled from a scope of anyio, it raises a `CancelledError` that the scope does not
        # know for its own, and whoever set a deadline is cancelled in earnest.
        async with anyio.create_task_group() as tasks:
            for node in shares:
                tasks.start_soon(share, node)
        answers: dict[int, list[Any]] = {}
        for node, shards in shares.items():
            outcome = outcomes[node]
            if isinstance(outcome, Exception):
                raise outcome
            all_of_node = iter(outcome)
            answers |= {shard: [next(all_of_node) for _ in commands[shard]] for shard in shards}
        return answers

    async def look(self) -> None:
        """Find out who has what, unless that is known.

        Raises:
            RedisError, OSError, TimeoutError: nobody could say, and nobody ever has.
        """
        if self._stale:
            async with self._looking:
                if self._stale and (not self._nodes or time.monotonic() - self._looked_at >= _LOOK_EVERY):
                    self._looked_at = time.monotonic()
                    await self._look_up()

    async def _look_up(self) -> None:
        try:
            await self._look()
        except FAILURES:
            if not self._nodes:
                raise
        else:
            self._stale = False

    def doubt(self) -> None:
        """Look again before the next command."""
        self._stale = True

    async def _watched(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        try:
            answers = await node.ask(*commands)
        except FAILURES:
            self._stale = True
            raise
        if any(isinstance(answer, ResponseError) and kind_of(answer) in _DOUBTFUL for answer in answers):
            self._stale = True
        return answers

    async def _keep(self, places: Sequence[tuple[str, int]]) -> None:
        """Have nodes at these places only."""
        for place in places:
            if place not in self._nodes:
                self._nodes[place] = Node(*place, self._address)
        for place in self._nodes.keys() - set(places):
            await self._nodes.pop(place).close()

    @abstractmethod
    def _node_of(self, shard: int) -> Node: ...

    @abstractmethod
    async def _look(self) -> None: ...

    def listening_node(self) -> Node:
        """One that hears of everything that is published."""
        if not self._nodes:
            raise Disconnected("no server is known yet")
        return random.choice(self.nodes)  # noqa: S311 - to spread the listeners

    async def close(self) -> None:
        for node in self._all_nodes():
            await node.close()

    def abandon(self) -> None:
        for node in self._all_nodes():
            node.abandon()

    def _all_nodes(self) -> Sequence[Node]:
        return self.nodes


class OneServer(Topology):
    def _node_of(self, shard: int) -> Node:
        return next(iter(self._nodes.values()))

    async def _look(self) -> None:
        await self._keep(self._address.hosts)


class Watched(Topology):
    """One server at a time; Sentinel says which."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._sentinels = [Node(*place, address, sentinel=True) for place in address.hosts]

    def _node_of(self, shard: int) -> Node:
        return next(iter(self._nodes.values()))

    async def _look(self) -> None:
        failure: Exception | None = None
        for sentinel in list(self._sentinels):
            try:
                master = await self._named_by(sentinel)
            except FAILURES as error:
                failure = error
                continue
            # Who answered is asked first the next time.
            self._sentinels.sort(key=lambda one: one is not sentinel)
            await self._keep([master])
            return
        raise Disconnected(
            f"no Sentinel names a master of {self._address.service!r} that answers; is that the name of the service?"
        ) from failure

    async def _named_by(self, sentinel: Node) -> tuple[str, int]:
        (named,) = await sentinel.ask(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.service))
        if not isinstance(named, list):
            raise named if isinstance(named, ResponseError) else MasterNotFoundError("Sentinel knows no such service")
        place = named[0].decode(), int(named[1])
        # Right after a failover a Sentinel may still name the old one.
        node = self._nodes.get(place) or Node(*place, self._address)
        try:
            (role,) = await node.ask(("ROLE",))
        finally:
            if place not in self._nodes:
                await node.close()
        if isinstance(role, NoPermissionError):
            return place
        if isinstance(role, ResponseError) or role[0] != b"master":
            raise Disconnected("the server that Sentinel names is no master")
        return place

    def _all_nodes(self) -> Sequence[Node]:
        return [*self.nodes, *self._sentinels]
