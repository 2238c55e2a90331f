"""Sessions in one SQLite file, shared by all processes of a machine."""

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
