"""Who a request is from and what they may, in Starlette's own terms: ``request.user`` and ``request.auth``."""

from __future__ import annotations

from typing import Any, NoReturn

from starlette.authentication import BaseUser

from .models import Session


def _refuse(self: object, name: str, value: object = None) -> NoReturn:
    raise AttributeError("request.user and request.auth of a session cannot be changed")


class SessionUser(BaseUser):
    """The person of a session, or of none; ``request.user``, and with its `scopes` also ``request.auth``.

    All requests with one cached token share it, so nothing about it can be changed.
    """

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

    @property
    def scopes(self) -> list[str]:
        """``authenticated``, ``role:<r>`` and ``permission:<p>``; without a session, none."""
        if self.session is None:
            return []
        roles = [f"role:{name}" for name in sorted(self.session.roles)]
        return ["authenticated", *roles, *(f"permission:{name}" for name in sorted(self.session.permissions))]

    def __repr__(self) -> str:
        return f"<SessionUser {'signed in' if self.session is not None else 'anonymous'}>"


ANONYMOUS = SessionUser(None)
