"""What only an endpoint refuses, each with a code that clients may rely on.

`headers` are sent along: what is allowed, and when to try again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..errors import DuctapeError, MissingToken

RawHeader = tuple[bytes, bytes]


class EndpointRefusal(DuctapeError):
    """Root of these; they reach clients and logs, never a handler."""

    def __init__(self, message: str, *headers: RawHeader) -> None:
        super().__init__(message)
        self.headers = headers


class NotFound(EndpointRefusal):
    """No such endpoint, or no live session of this id that the caller may know of."""

    code = "not_found"
    status = 404


class MethodNotAllowed(EndpointRefusal):
    """The endpoint takes other methods."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, methods: Iterable[str]) -> None:
        allowed = ", ".join(sorted(methods))
        super().__init__(f"this endpoint takes {allowed}", (b"allow", allowed.encode()))


class BodyTooLarge(EndpointRefusal):
    """The body is longer than the endpoint reads."""

    code = "body_too_large"
    status = 413


class NotJson(EndpointRefusal):
    """The body does not say that it is JSON."""

    code = "unsupported_media_type"
    status = 415


class BadBody(EndpointRefusal):
    """The body is not the JSON object that the endpoint takes."""

    code = "invalid_body"
    status = 422


class BadQuery(EndpointRefusal):
    """A parameter of the query is not what the endpoint takes."""

    code = "invalid_query"
    status = 422


class TooManyAttempts(EndpointRefusal):
    """Too many sign-ins were tried from here, or for this person."""

    code = "too_many_attempts"
    status = 429

    def __init__(self, wait: float) -> None:
        self.wait = max(1, math.ceil(wait))
        super().__init__(f"too many sign-ins; the next in {self.wait} s", (b"retry-after", str(self.wait).encode()))


class SignInRefused(MissingToken):
    """`authenticate` does not know these credentials."""

    code = "sign_in_refused"
