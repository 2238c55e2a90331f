"""Sessions in Redis or Valkey: one server, one watched by Sentinel, or a cluster."""

from .store import RedisStore

__all__ = ["RedisStore"]
