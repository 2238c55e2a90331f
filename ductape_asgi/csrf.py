"""Whether a request that a cookie authenticated comes from our own pages (contract: CSRF).

``Sec-Fetch-Site`` decides where the browser sends it; else ``Origin`` must name our own ``Host``; else it must be
one of the allowed origins.  A request with neither is refused: browsers that matter send one of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from .errors import CsrfRejected
from .policy import check_texts
from .problems import Scope

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]-]+")
_ORIGIN_RULE = (
    'an origin is scheme, host and port in lower case and nothing behind them, like "https://app.example.com"'
)


def checked_origins(given: Sequence[str]) -> frozenset[str]:
    """Origins of other sites, as ``allowed_origins=`` takes them.

    Raises:
        ConfigurationError: it is no list, or one of them is no origin.
    """
    return frozenset(check_texts(given, _ORIGIN, "allowed_origins", _ORIGIN_RULE))


def is_unsafe(scope: Scope) -> bool:
    """Whether the request may change something: any WebSocket handshake, and any method but the safe ones."""
    return scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS


def check_same_site(scope: Scope, allowed_origins: Collection[str] = ()) -> None:
    """Let a request of our own pages pass.

    Raises:
        CsrfRejected: it comes from elsewhere, or does not say where it comes from.
    """
    site = _only(scope, b"sec-fetch-site")
    if site in ("same-origin", "none"):
        return
    origin = _only(scope, b"origin")
    if origin is not None and origin in allowed_origins:
        return
    if site is None and origin is not None and origin in _own_origins(scope):
        return
    raise CsrfRejected(
        f"the request comes from another site (Sec-Fetch-Site: {site!r}, Origin: {origin!r}); "
        "name its origin in allowed_origins if it is yours"
    )


def _own_origins(scope: Scope) -> tuple[str, ...]:
    host = _only(scope, b"host")
    if not host:
        return ()
    # A proxy may end TLS before us: then we see http where the browser says https.  The reverse is never right.
    secure = scope.get("scheme") in ("https", "wss")
    schemes = ("https",) if secure else ("http", "https")
    return tuple(f"{scheme}://{host.lower()}" for scheme in schemes)


def _only(scope: Scope, name: bytes) -> str | None:
    """The value of a header that stands once.

    Raises:
        CsrfRejected: it stands twice.
    """
    values = [value for field, value in scope["headers"] if field == name]
    if len(values) > 1:
        raise CsrfRejected(f"two {name.decode()} headers")
    return values[0].decode("latin-1") if values else None
