"""What happened to sessions, as log records that hold no token, key, data or session id in the clear.

Two loggers: ``ductape_asgi`` for developers, ``ductape_asgi.audit`` with one record an event, whose ``extra``
has ``event``, ``session`` (a keyed hash of the session id), ``tag``, ``realm`` and ``reason``.
"""

from __future__ import annotations

import hmac
import logging

from .encoding import b64encode

logger = logging.getLogger("ductape_asgi")
_audit = logging.getLogger("ductape_asgi.audit")


def audit(event: str, log_key: bytes, realm: str, tag: str, session_id: str | None = None, reason: str = "") -> None:
    """Log one event, e.g. ``"session.started"``, ``"session.refresh_reused"``, ``"token.refused"``."""
    level = logging.WARNING if event == "session.refresh_reused" else logging.INFO
    if not _audit.isEnabledFor(level):
        return
    session = hashed(log_key, session_id) if session_id else "-"
    fields = {"event": event, "session": session, "tag": tag, "realm": realm, "reason": reason}
    said = f" {reason}" if reason else ""
    _audit.log(level, "%s session=%s tag=%s realm=%s%s", event, session, tag, realm, said, extra=fields)


def hashed(log_key: bytes, session_id: str) -> str:
    """A short keyed hash, the same for the same session, that leads nobody back to its id."""
    return b64encode(hmac.digest(log_key, session_id.encode(), "sha256")[:9])
