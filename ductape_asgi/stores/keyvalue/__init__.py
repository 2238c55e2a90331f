"""A session store out of anything that keeps ordered pairs of text and has transactions: a file, LMDB, etcd.

Give `KeyValueStore` one method, `transact`, and it has all verbs of `ductape_asgi.stores.base.SessionStore`.
"""

from .pairs import Pairs, Step
from .store import KeyValueStore

__all__ = ["KeyValueStore", "Pairs", "Step"]
