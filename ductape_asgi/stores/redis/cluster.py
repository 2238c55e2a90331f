"""Which node of a cluster has a shard, by the map of its slots; and shards that have moved, or are moving."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import AuthenticationError, ClusterDownError, ResponseError
from redis.exceptions import ConnectionError as Disconnected

from .address import Address
from .keys import Keys
from .node import Command, Node, first_error
from .scripts import reads_index
from .topology import FAILURES, Topology, kind_of

#: How often one command is sent on to another node.
_REDIRECTIONS: Final = 4


class Cluster(Topology):
    def __init__(self, address: Address, keys: Keys) -> None:
        super().__init__(address)
        self._slots = [key_slot(tag.encode()) for tag in keys.tags]
        self._places: list[tuple[str, int]] = []
        self._seeds = [Node(*place, address) for place in address.hosts]

    def _node_of(self, shard: int) -> Node:
        return self._nodes[self._places[shard]]

    async def ask(self, shard: int, *commands: Command) -> list[Any]:
        await self.look()
        answers = await self._watched(self._node_of(shard), commands)
        return await self._sent_on(shard, commands, answers)

    async def ask_each(self, commands: Mapping[int, Sequence[Command]]) -> dict[int, list[Any]]:
        answers = await super().ask_each(commands)
        return {shard: await self._sent_on(shard, commands[shard], given) for shard, given in answers.items()}

    async def _sent_on(self, shard: int, commands: Sequence[Command], answers: list[Any]) -> list[Any]:
        """Follow a slot that has moved, or is moving, to where it is.

        A redirected command was not done.  Those sent together are sent again together, so they have to be such
        that doing one twice changes nothing.
        """
        for _ in range(_REDIRECTIONS):
            redirected = first_error(answers)
            kind = None if redirected is None else kind_of(redirected)
            if kind == "MOVED":
                self._places[shard] = self._known(redirected)
                self._stale = True
                answers = await self._watched(self._node_of(shard), commands)
            elif kind == "ASK" and not any(map(reads_index, commands)):
                node = self._nodes[self._known(redirected)]
                asked = [one for command in commands for one in (("ASKING",), command)]
                answers = (await self._watched(node, asked))[1::2]
            elif kind in ("ASK", "TRYAGAIN"):
                # Of a slot that is moving the new node has a part only.  There, sessions that are still at the old one
                # look as if they had expired: they would be taken out of the index, and survive a `revoke_all`.
                await asyncio.sleep(0.05)
                answers = await self._watched(self._node_of(shard), commands)
            else:
                break
        return answers

    def _known(self, redirected: ResponseError | None) -> tuple[str, int]:
        """The place where a redirection leads (``"5495 host:port"``), with a node there."""
        host, _, port = str(redirected).rpartition(" ")[2].rpartition(":")
        place = (host or self._address.hosts[0][0], int(port))
        if place not in self._nodes:
            self._nodes[place] = Node(*place, self._address)
        return place

    async def _look(self) -> None:
        failure: Exception | None = None
        for node in [*self.nodes, *self._seeds]:
            try:
                (slots,) = await node.ask(("CLUSTER", "SLOTS"))
                if isinstance(slots, ResponseError):
                    raise slots
                self._places = self._mapped(slots, node)
            except AuthenticationError:
                raise
            except FAILURES as error:
                failure = error
                continue
            await self._keep(list(dict.fromkeys(self._places)))
            return
        raise failure or Disconnected("no node of the cluster answers")

    def _mapped(self, slots: list[Any], told_by: Node) -> list[tuple[str, int]]:
        places = []
        for slot in self._slots:
            holder = next((held[2] for held in slots if held[0] <= slot <= held[1]), None)
            if holder is None:
                raise ClusterDownError("CLUSTERDOWN not all slots are covered")
            # A node that does not know its own name means: where you have reached me.
            places.append((holder[0].decode() if holder[0] else told_by.place[0], int(holder[1])))
        return places

    def _all_nodes(self) -> Sequence[Node]:
        return [*self.nodes, *self._seeds]
