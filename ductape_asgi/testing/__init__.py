"""For tests of applications, and of stores.  Needs pytest and anyio, which production code does not load from here.

The fixtures are in `ductape_asgi.testing.fixtures`.
"""

from .clock import SessionClock
from .contract import StoreContract
from .flaky import FlakyStore
from .override import override_session
from .revocation import assert_revoked_within
from .visitors import AsyncVisitor, Visitor

__all__ = [
    "AsyncVisitor",
    "FlakyStore",
    "SessionClock",
    "StoreContract",
    "Visitor",
    "assert_revoked_within",
    "override_session",
]
