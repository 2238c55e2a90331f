"""The OpenAPI documents that are checked in, and the command that writes them anew.

    python -m tests.integrations.expectations

Read the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any

from ductape_asgi import Sessions, TagPolicy, new_access_key
from tests.asgi_client import call

from .documented import DOCUMENTED

FOLDER = Path(__file__).parent / "openapi"


async def served(name: str) -> Any:
    """The document as the app serves it, but for the version of OpenAPI, which is the framework's choice."""
    sessions = Sessions(
        access_key=new_access_key(), product="shop", env="test", store="memory://", tags=[TagPolicy("user-session")]
    )
    build, path = DOCUMENTED[name]
    async with sessions:
        issued = await sessions.start(tag="user-session", data={"userId": "ann"})
        headers = [(b"authorization", f"Bearer {issued.token}".encode())]
        answer = await call(build(sessions), path=path, headers=headers)
    assert answer.status == 200
    document = answer.json()
    document["openapi"] = document["openapi"].rpartition(".")[0] + ".*"
    return document


def expectation(name: str) -> Path:
    return FOLDER / f"{name}.json"


def written(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    for name in DOCUMENTED:
        expectation(name).write_text(written(asyncio.run(served(name))))


if __name__ == "__main__":
    main()
