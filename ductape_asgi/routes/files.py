"""What is the same for everybody: the public keys, and the script for browsers."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from .options import RouteOptions
from .refusals import NotFound

_KINDS = {"client.js": "text/javascript; charset=utf-8", "client.d.ts": "text/plain; charset=utf-8"}


async def jwks(request: Request, options: RouteOptions) -> Response:
    """``GET /jwks.json``: the public keys that access tokens are signed with (RFC 7517)."""
    # A new key is published before it signs (roll it out as [old, new]), so that five minutes are soon enough.
    headers = {"cache-control": "public, max-age=300", "content-type": "application/jwk-set+json"}
    return Response(json.dumps(options.sessions.keyring.jwks()), headers=headers)


async def client_script(request: Request, options: RouteOptions) -> Response:
    """``GET /client.js``: an ES module without dependencies."""
    return _file(request, "client.js")


async def client_types(request: Request, options: RouteOptions) -> Response:
    """``GET /client.d.ts``: its types."""
    return _file(request, "client.d.ts")


def _file(request: Request, name: str) -> Response:
    content, tag = _content(name)
    headers = {
        "cache-control": "no-cache",  # Kept, and asked about each time: an update of the package is seen at once.
        "etag": tag,
        "x-content-type-options": "nosniff",
        "content-type": _KINDS[name],
    }
    known = [item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")]
    if tag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


@lru_cache(maxsize=len(_KINDS))
def _content(name: str) -> tuple[bytes, str]:
    file = resources.files("ductape_asgi.routes") / "static" / name
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{name} is not in this package") from None
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
