"""Who a request is from, in Starlette's own terms: ``request.user`` and ``request.auth``.

All requests with one cached token share these objects, so nothing about them can be changed.
"""

from __future__ import annotations

from typing import Any, NoReturn

from starlette.authentication import AuthCredentials, BaseUser

from .frozen import freeze
from .models import Session


def _refuse(self: object, name: str, value: object = None) -> NoReturn:
    raise AttributeError("request.user and request.auth of a session cannot be changed")


class SessionUser(BaseUser):
    """The person of a session, or of none."""

    __slots__ = ("session",)
    session: Session[Any] | None
    __setattr__ = __delattr__ = _refuse

    def __init__(self, session: Session[Any] | None) -> None:
        object.__setattr__(self, "session", session)

    @property
    def is_authenticated(self) -> bool:
        return self.session is not None

    @property
    def display_name(self) -> str:
        return self.identity

    @property
    def identity(self) -> str:
        return (self.session.identifier or "") if self.session is not None else ""

    def __repr__(self) -> str:
        return f"<SessionUser {'signed in' if self.session is not None else 'anonymous'}>"


class SessionCredentials(AuthCredentials):
    """The scopes of a session: ``authenticated``, ``role:<r>``, ``permission:<p>``; of none, no scopes."""

    scopes: list[str]
    __setattr__ = __delattr__ = _refuse

    def __init__(self, session: Session[Any] | None) -> None:
        scopes: list[str] = []
        if session is not None:
            roles = [f"role:{name}" for name in sorted(session.roles)]
            permissions = [f"permission:{name}" for name in sorted(session.permissions)]
            scopes = ["authenticated", *roles, *permissions]
        object.__setattr__(self, "scopes", freeze(scopes))


ANONYMOUS = SessionUser(None)
NO_CREDENTIALS = SessionCredentials(None)
