"""Who a request is from and what they may, in Starlette's own terms: ``request.user`` and ``request.auth``."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from starlette.authentication import BaseUser

from .models import DataT, Session


class SignedIn(Session[DataT], BaseUser):
    """A verified session, and with it the person: ``request.user`` and, with its `scopes`, ``request.auth``.

    One object for all three, since a hit among many cached ones waits for main memory for each that it touches.
    """

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.identity

    @property
    def identity(self) -> str:
        return self.identifier or ""

    @property
    def scopes(self) -> list[str]:
        """``authenticated``, ``role:<r>`` and ``permission:<p>``."""
        roles = [f"role:{name}" for name in sorted(self.roles)]
        return ["authenticated", *roles, *(f"permission:{name}" for name in sorted(self.permissions))]


class Anonymous(BaseUser):
    """Nobody, who may nothing.  All requests without a session share one, so nothing about it can be changed."""

    def _refuse(self, name: str, value: object = None) -> NoReturn:
        raise AttributeError("request.user and request.auth cannot be changed")

    __setattr__ = __delattr__ = _refuse

    @property
    def is_authenticated(self) -> bool:
        return False

    @property
    def display_name(self) -> str:
        return ""

    @property
    def identity(self) -> str:
        return ""

    @property
    def scopes(self) -> list[str]:
        return []

    def __repr__(self) -> str:
        return "<Anonymous>"


ANONYMOUS: Final = Anonymous()


def is_ours(user: Any) -> bool:
    """Whether a `user` or `auth` on a scope was laid there by a middleware of ours."""
    return isinstance(user, SignedIn | Anonymous)
