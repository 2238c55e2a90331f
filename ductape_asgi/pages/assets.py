"""Stylesheet, scripts and icon, served as files of the package.

A link holds a digest of what it leads to, so that browsers may keep a file for ever and never see an old one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: `link` leads to it, from a page that stands beside the folder ``static/``."""

    name: str
    body: bytes = field(repr=False)

    @property
    def version(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:16]

    @property
    def link(self) -> str:
        return f"static/{self.name}?v={self.version}"


@cache
def assets() -> dict[str, Asset]:
    """All of them by name."""
    found = (
        entry for entry in (files("ductape_asgi.pages") / "static").iterdir() if entry.name.rpartition(".")[2] in _TYPES
    )
    return {entry.name: Asset(entry.name, entry.read_bytes()) for entry in found}


async def serve_asset(request: Request, name: str) -> Response:
    """The answer to ``GET static/{name}``; 404 for any other name."""
    asset = assets().get(name)
    if asset is None:
        return Response(status_code=404, headers={"cache-control": "no-store"})
    # While workers are replaced, an old one may be asked for what only a new one has: that must not be kept.
    current = request.query_params.get("v") == asset.version
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if current else "no-cache",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(asset.body, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)
