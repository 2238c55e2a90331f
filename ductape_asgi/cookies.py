"""Cookies from raw header bytes, and back.  Byte-exact: no quoting, no trimming beyond RFC 6265, no second guess.

Framework parsers take the last of two cookies, strip odd blanks or stop at a foreign cookie; any of that lets a
sibling sub-domain plant a session or signs people out.  Here two cookies of one name are none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from .errors import InvalidToken
from .models import IssuedSession
from .policy import CookiePolicy

MAX_COOKIE = 4096
Headers = Iterable[tuple[bytes, bytes]]


def read_cookie(headers: Headers, name: str) -> str | None:
    """The value of the one cookie of this name, or None.

    Several ``cookie`` headers are one list (RFC 9113 section 8.2.3).

    Raises:
        InvalidToken: there are two of them, or the value is not ASCII.
    """
    wanted = name.encode()
    values = [value for field, line in headers if field == b"cookie" for value in _values(line, wanted)]
    if len(values) > 1:
        raise InvalidToken(f"{len(values)} cookies are named {name}; delete those of parent domains")
    if not values:
        return None
    if not values[0].isascii():
        raise InvalidToken(f"the cookie {name} is not ASCII")
    return values[0].decode()


def _values(line: bytes, wanted: bytes) -> list[bytes]:
    # Only blank and tab are stripped: bytes.strip() alone would also take \x0b, \x0c and line ends.
    pairs = (pair.strip(b" \t").partition(b"=") for pair in line.split(b";"))
    return [value for name, _, value in pairs if name == wanted]


def session_cookies(policy: CookiePolicy, issued: IssuedSession, now: float | None = None) -> list[str]:
    """``Set-Cookie`` values that carry a session's tokens until its end.

    Without a refresh token, the one that an earlier session may have left is removed: it would bring that one back.
    """
    life = max(0, int(issued.session_expires_at.timestamp() - (time.time() if now is None else now)))
    cookies = [_serialise(policy, policy.access_name, issued.token, life)]
    kept = issued.refresh_token
    cookies.append(_serialise(policy, policy.refresh_name, kept or "", life if kept else 0))
    if policy.csrf_token:
        token = issued._csrf_token
        cookies.append(_serialise(policy, policy.csrf_name, token or "", life if token else 0))
    return cookies


def expired_cookies(policy: CookiePolicy) -> list[str]:
    """``Set-Cookie`` values that remove them all."""
    return [_serialise(policy, name, "", 0) for name in policy.names]


def _serialise(policy: CookiePolicy, name: str, value: str, max_age: int) -> str:
    parts = [f"{name}={value}", f"Max-Age={max_age}", "Path=/"]
    if name != policy.csrf_name:  # which a page's script has to read
        parts.append("HttpOnly")
    parts.append(f"SameSite={policy.samesite.capitalize()}")
    if policy.domain is not None:
        parts.append(f"Domain={policy.domain}")
    if policy.secure:
        parts.append("Secure")
    return "; ".join(parts)


def add_cookies(response: Any, cookies: Iterable[str]) -> None:
    """Add ``Set-Cookie`` values to a Starlette or Litestar response.

    Raises:
        TypeError: it is neither; use ``issued.cookie_headers()`` for raw ASGI.
    """
    headers = getattr(response, "raw_headers", None)
    if hasattr(response, "headers"):
        # An answer that carries tokens is for one client, once.
        for name in [name for name in response.headers if is_for_caches(name.encode())]:
            del response.headers[name]
        response.headers["cache-control"] = "no-store"
    for cookie in cookies:
        if isinstance(headers, list):
            headers.append((b"set-cookie", cookie.encode()))
        elif hasattr(response, "set_cookie"):
            response.set_cookie(**_as_arguments(cookie))
        else:
            raise TypeError(f"cannot set cookies on a {type(response).__name__}; use issued.cookie_headers()")


def is_for_caches(name: bytes) -> bool:
    """Whether a header tells caches what they may keep; some heed another one before ``cache-control`` (RFC 9213)."""
    name = name.lower()
    return name in (b"cache-control", b"expires", b"surrogate-control") or name.endswith(b"-cache-control")


def _as_arguments(cookie: str) -> dict[str, Any]:
    first, *attributes = cookie.split("; ")
    key, _, value = first.partition("=")
    given = {name: text for name, _, text in (attribute.partition("=") for attribute in attributes)}
    return {
        "key": key,
        "value": value,
        "max_age": int(given["Max-Age"]),
        "path": given["Path"],
        "domain": given.get("Domain"),
        "secure": "Secure" in given,
        "httponly": "HttpOnly" in given,
        "samesite": given["SameSite"].lower(),
    }
