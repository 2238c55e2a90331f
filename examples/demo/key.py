"""The demo's access key: drawn at the first start, then kept in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from ductape_asgi import new_access_key


def access_key(folder: Path) -> str:
    """A real app reads its key from the environment or a secret manager: see `Sessions.from_env`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "access-key"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(new_access_key())
    return path.read_text()
