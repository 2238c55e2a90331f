"""From a store URL to a store.  A driver is imported when its URL is used, and not before."""

from __future__ import annotations

from typing import cast
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from .base import SessionStore

_FORMS = (
    'use "memory://", "sqlite:///relative.db", "sqlite:////absolute.db", "redis://host:6379/0" or'
    ' "postgresql://host/database"'
)


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
    raise ConfigurationError(f"a store URL of kind {scheme[:20]!r} is not known: {_FORMS}")


def _sqlite(url: str) -> SessionStore:
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if not url.startswith("sqlite:///") or parts.query or parts.fragment or not path or path.endswith("/"):
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
