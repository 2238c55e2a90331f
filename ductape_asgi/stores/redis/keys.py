"""Where things are: 64 shards in each store, named in every session id, and the keys of a shard in one slot.

A script reaches one slot only.  So all that a step touches, of a person's sessions and the log, is in one
shard: the last two letters of a session id say which, and for a person it follows from the pseudonym.  The
shards belong to the store, not to a realm: a session id alone has to lead there.
"""

from __future__ import annotations

import re
import secrets
import zlib
from typing import Final

SHARDS: Final = 64
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: The first of the two letters leaves room for more shards.
_ROUTED: Final = re.compile(r"[A-Za-z0-9_-]{20,61}A([A-Za-z0-9_-])")


def shard_of_subject(subject: str) -> int:
    return zlib.crc32(subject.encode()) % SHARDS


def shard_of_session(session_id: str) -> int | None:
    """None: no session of ours can have this id."""
    routed = _ROUTED.fullmatch(session_id)
    return None if routed is None else _LETTERS.index(routed[1])


def route(subject: str | None) -> str:
    """How the ids of a person's sessions end; of an anonymous one, by chance."""
    shard = secrets.randbelow(SHARDS) if subject is None else shard_of_subject(subject)
    return "A" + _LETTERS[shard]


class Keys:
    """The names of all keys of one store.  What is in braces decides the slot."""

    def __init__(self, prefix: str) -> None:
        self.tags = tuple(f"{prefix}:{shard:02}" for shard in range(SHARDS))
        self._bases = tuple(f"{{{tag}}}:" for tag in self.tags)
        #: Where the log of each shard stands.
        self.heads = tuple(base + "head" for base in self._bases)
        self.channel = f"{prefix}:wake"

    def log(self, shard: int) -> str:
        return self._bases[shard] + "log"

    def deadlines(self, shard: int) -> str:
        return self._bases[shard] + "ends"

    def logged(self, shard: int) -> tuple[str, str, str]:
        """What each step that ends sessions needs first."""
        return self.heads[shard], self.log(shard), self.deadlines(shard)

    def counter(self, shard: int) -> str:
        return self._bases[shard] + "count"

    def session(self, shard: int, session_id: str) -> str:
        return f"{self._bases[shard]}s:{session_id}"

    def person(self, shard: int, realm: str, tag: str, subject: str) -> str:
        return f"{self._bases[shard]}p:{realm}|{tag}|{subject}"

    def secrets(self, realm: str) -> tuple[int, str]:
        """The shard and the key of a realm's secrets."""
        shard = shard_of_subject(realm)
        return shard, self.secrets_in(shard, realm)

    def secrets_in(self, shard: int, realm: str) -> str:
        """The copy that a shard has of them: a script sees one shard only."""
        return f"{self._bases[shard]}secrets:{realm}"
