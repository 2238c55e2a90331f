"""For tests of applications, and of stores.  Needs pytest and anyio, which production code does not load from here."""

from .contract import StoreContract

__all__ = ["StoreContract"]
