"""Why a request was not sent.

None of these is a `SessionError`.  An app that calls another one may let them out of a handler; answered with 401, they
would sign out its own visitor, whose session is well.
"""

from __future__ import annotations

from ..errors import DuctapeError


class NoSession(DuctapeError):
    """There is no session to send with: sign in, and hand the tokens to ``auth.set_tokens(...)``."""

    code = "no_session"
    status = 502

    def __init__(self) -> None:
        super().__init__("there is no session to send with: sign in, then auth.set_tokens(tokens)")


class SessionOver(DuctapeError):
    """The session has ended, and no request will be sent with it any more.  `session_id` names it.

    Sign in again, and hand the new tokens to ``auth.set_tokens(...)``.
    """

    code = "session_over"
    status = 502

    def __init__(self, session_id: str) -> None:
        super().__init__("the session is over: sign in again, then auth.set_tokens(tokens)")
        self.session_id = session_id


class RefreshFailed(DuctapeError):
    """The access token is no longer good, and the server did not say what comes after it.

    The session may well live: try again.
    """

    code = "refresh_failed"
    status = 503
