"""The tree of errors.  Each class has a `code` that never changes and an HTTP `status`.

Messages are for developers and logs; `code` is for programs.  Neither ever
holds a token, a key or session data.
"""

from __future__ import annotations

import re
from typing import ClassVar

#: How what we issue begins; what a publishable key holds is public.
_SECRET = re.compile(r"(dak|drt|dtk)_|eyJ")


def quoted(value: object) -> str:
    """A value that will not do, as messages show it: not if it looks like a key or token, given in the wrong place."""
    text = repr(value)
    return "(a key or token)" if _SECRET.search(text) else text


class DuctapeError(Exception):
    """Root of everything this library raises on purpose."""

    code: ClassVar[str] = "ductape_error"
    status: ClassVar[int] = 500


class ConfigurationError(DuctapeError):
    """Something was built or called with settings that cannot work; the message says how to mend it."""

    code = "configuration_error"
    status = 500


class PublishableKeyError(DuctapeError):
    """A session verb was called on a `Sessions` that holds only a publishable key.

    Publishable keys (``dpk_...``) may live in a frontend: they can `inspect` and nothing else.
    """

    code = "publishable_key_error"
    status = 500


class StoreUnavailable(DuctapeError):
    """The store failed or did not answer in time.  Nobody is signed out by it; try again."""

    code = "store_unavailable"
    status = 503


class SessionError(DuctapeError):
    """There is no usable session: the caller is not authenticated."""

    code = "session_error"
    status = 401


class MissingToken(SessionError):
    """No token was presented."""

    code = "missing_token"


class InvalidToken(SessionError):
    """The token is malformed, forged, or meant for another realm, tag or purpose."""

    code = "invalid_token"


class ExpiredToken(InvalidToken):
    """The token was genuine, and its time or its session's time is over."""

    code = "expired_token"


class RevokedSession(SessionError):
    """The token is genuine, but its session has been ended."""

    code = "revoked_session"


class RefreshReused(SessionError):
    """A refresh token came back after it had been rotated away.

    Either it leaked, or somebody kept an old copy.  The whole session is
    revoked before this is raised; `session_id` names it.
    """

    code = "refresh_reused"

    def __init__(self, session_id: str) -> None:
        super().__init__("refresh token was already used; the session is revoked")
        self.session_id = session_id


class AccessDenied(DuctapeError):
    """The session is good, but it may not do this.  `required` names the scopes that were asked for."""

    code = "access_denied"
    status = 403

    def __init__(self, message: str, *, required: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.required = required


class StepUpRequired(AccessDenied):
    """The sign-in is too old for this action.  Sign in again; `max_age` is the oldest allowed, in seconds.

    Source: RFC 9470.
    """

    code = "step_up_required"
    status = 401

    def __init__(self, max_age: int) -> None:
        super().__init__(f"this needs a sign-in within the last {max_age} s; ask the user to sign in again")
        self.max_age = max_age


class CsrfRejected(DuctapeError):
    """A cookie authenticated an unsafe request that did not come from our own pages."""

    code = "csrf_rejected"
    status = 403


class SessionLimitReached(DuctapeError):
    """The person has `max_sessions` live sessions and the policy says ``on_limit="reject"``."""

    code = "session_limit_reached"
    status = 409


class DataTooLarge(DuctapeError):
    """The session data does not fit into a token of the size that browsers and servers accept."""

    code = "data_too_large"
    status = 413


class InvalidData(DuctapeError):
    """An argument or the session data is not acceptable; the message names it."""

    code = "invalid_data"
    status = 422
