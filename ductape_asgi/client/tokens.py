"""The tokens of one session, as a client holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..errors import InvalidData
from ..models import IssuedSession

#: What may follow ``Bearer`` in a header.  Others would be refused by the client, with the token in its message.
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """What a login or a refresh answered.

    Instants are UTC; `expires_at` is the access token's end, `session_expires_at` the session's.  A session that
    cannot be refreshed has no `refresh_token`.

    Raises:
        InvalidData: a value is not of its kind; the message names it.
    """

    token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    session_id: str
    expires_at: datetime
    session_expires_at: datetime

    def __post_init__(self) -> None:
        _check_token(self.token, "token")
        if self.refresh_token is not None:
            _check_token(self.refresh_token, "refreshToken")
        if not isinstance(self.session_id, str) or not self.session_id:
            raise InvalidData("sessionId must be a non-empty string")
        for name, instant in (("expiresAt", self.expires_at), ("sessionExpiresAt", self.session_expires_at)):
            if not isinstance(instant, datetime) or instant.tzinfo is None:
                raise InvalidData(f"{name} must be an instant with its offset from UTC")

    @classmethod
    def from_json(cls, document: object) -> SessionTokens:
        """Read ``{"token", "refreshToken", "sessionId", "expiresAt", "sessionExpiresAt"}``, as the routes answer it.

        Raises:
            InvalidData: it is something else; the message names the property.
        """
        if not isinstance(document, Mapping):
            raise InvalidData(f"tokens must be a JSON object, not {type(document).__name__}")
        given: Mapping[str, Any] = document
        return cls(
            token=given.get("token", ""),
            refresh_token=given.get("refreshToken"),
            session_id=given.get("sessionId", ""),
            expires_at=_instant(given, "expiresAt"),
            session_expires_at=_instant(given, "sessionExpiresAt"),
        )

    def to_json(self) -> dict[str, str | None]:
        """The same document, to be kept where you keep passwords."""
        return {
            "token": self.token,
            "refreshToken": self.refresh_token,
            "sessionId": self.session_id,
            "expiresAt": self.expires_at.isoformat(),
            "sessionExpiresAt": self.session_expires_at.isoformat(),
        }


def tokens_from(given: object) -> SessionTokens:
    """Tokens from whatever a login answered: `SessionTokens`, an `IssuedSession`, or the JSON of the routes.

    Raises:
        InvalidData: none of these.
    """
    if isinstance(given, SessionTokens):
        return given
    if isinstance(given, IssuedSession):
        return SessionTokens(
            token=given.token,
            refresh_token=given.refresh_token,
            session_id=given.session_id,
            expires_at=given.expires_at,
            session_expires_at=given.session_expires_at,
        )
    return SessionTokens.from_json(given)


def _check_token(value: object, name: str) -> None:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise InvalidData(f"{name} must be a non-empty string of visible ASCII")


def _instant(document: Mapping[str, Any], name: str) -> datetime:
    try:
        return datetime.fromisoformat(document[name])
    except (KeyError, TypeError, ValueError):
        raise InvalidData(f'{name} must be an RFC 3339 instant such as "2027-01-15T08:00:00Z"') from None
