"""From a store URL to a store.  A driver is imported when its URL is used, and not before."""

from __future__ import annotations

import re
from typing import cast
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from .base import SessionStore

_FORMS = (
    'use "memory://", "sqlite:///relative.db", "sqlite:////absolute.db", "redis://host:6379/0" or'
    ' "postgresql://host/database"'
)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://")


def store_from(given: object) -> SessionStore:
    """The store that a URL names, or the store itself.

    Raises:
        ConfigurationError: not a URL of ours, and not a store.
    """
    if not isinstance(given, str):
        if given is None or not hasattr(given, "rotate"):
            raise ConfigurationError(f"store={type(given).__name__} is no store: {_FORMS}, or give a SessionStore")
        return cast("SessionStore", given)
    if given == "memory://":
        from .memory import MemoryStore

        return MemoryStore()
    if given.startswith("sqlite:"):
        return _sqlite(given)
    if given.startswith(("postgresql:", "postgres:")):
        from .postgres import PostgresStore

        return PostgresStore(given)
    scheme = given.partition(":")[0]
    if scheme.partition("+")[0] in ("redis", "rediss"):
        return _redis(given)
    if not _SCHEME.match(given):  # a key or a password, perhaps: nothing of it is repeated
        raise ConfigurationError(f"store= is no URL: {_FORMS}")
    raise ConfigurationError(f"a store URL of kind {scheme!r} is not known: {_FORMS}")


def _sqlite(url: str) -> SessionStore:
    # Without a host there is none that `urlsplit` could find malformed.
    parts = urlsplit(url) if url.startswith("sqlite:///") else None
    path = unquote(parts.path)[1:] if parts is not None and not parts.query and not parts.fragment else ""
    if not path or path.endswith("/"):
        raise ConfigurationError('a SQLite URL is "sqlite:///relative.db" or "sqlite:////absolute.db"')
    if ":memory:" in path:
        raise ConfigurationError('an in-memory SQLite database is not shared between threads; use "memory://"')
    from .sqlite import SQLiteStore

    return SQLiteStore(path)


def _redis(url: str) -> SessionStore:
    try:
        from .redis import RedisStore
    except ImportError as error:
        raise ConfigurationError(
            "the store is a Redis server, and redis-py is not installed: pip install 'ductape-asgi[redis]'"
        ) from error
    return RedisStore(url)
