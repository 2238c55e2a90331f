"""The scripts in `lua/`: each is one verb, atomic with its entry in the log."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from ...models import TOUCH_EVERY

#: Entries that each shard's log keeps at least.  Who is further behind forgets all it has cached.
LOG_KEPT: Final = 2_000


class Script:
    """One script, and the hash by which a server that has seen it knows it."""

    def __init__(self, name: str) -> None:
        shared = f"local TOUCH_EVERY, LOG_KEPT = {TOUCH_EVERY}, {LOG_KEPT}\n"
        self.name = name
        self.text = shared + "".join(_text(part) for part in ("record", "log", name))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name}>"


def _text(name: str) -> str:
    return (files(__name__.rpartition(".")[0]) / "lua" / f"{name}.lua").read_text()


def reads_index(command: tuple[object, ...]) -> bool:
    """Whether it runs a script that goes by an index to sessions which it cannot name beforehand."""
    return command[0] in ("EVALSHA", "EVAL") and command[1] in _INDEXED


BEGIN = Script("begin")
CLAIM = Script("claim")
CREATE = Script("create")
HEADS = Script("heads")
LIST = Script("list")
PURGE = Script("purge")
RESEAL = Script("reseal")
REVOKE = Script("revoke")
REVOKE_ALL = Script("revoke_all")
ROTATE = Script("rotate")
SURVEY = Script("survey")
TOUCH = Script("touch")
UPDATE = Script("update")
VERIFY = Script("verify")

_INDEXED = {name for script in (CREATE, LIST, PURGE, REVOKE_ALL, SURVEY, UPDATE) for name in (script.sha, script.text)}
