"""base64url without padding, in its one canonical spelling, compact JSON, and HMAC."""

from __future__ import annotations

import binascii
import hashlib
import json
from functools import lru_cache
from typing import Any, Final

_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_LAST_OF_TWO: Final = "AQgw"
_LAST_OF_THREE: Final = "AEIMQUYcgkosw048"


def b64encode(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_URLSAFE).decode()


def b64decode(text: str) -> bytes | None:
    """The bytes, or None where `text` is not exactly what `b64encode` writes for them."""
    over = len(text) % 4
    if over == 1 or "=" in text or "+" in text or "/" in text:
        return None
    # Unused bits of the last character must be zero: one value, one spelling.
    if (over == 2 and text[-1] not in _LAST_OF_TWO) or (over == 3 and text[-1] not in _LAST_OF_THREE):
        return None
    try:
        return binascii.a2b_base64(text.encode().translate(_STANDARD) + b"=" * (-over % 4), strict_mode=True)
    except ValueError:  # a character that is not base64's, or that has no UTF-8
        return None


_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> tuple[Any, Any]:
    """SHA-256 after the inner and after the outer pad of a key (RFC 2104 section 4)."""
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def mac(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256.  Both states of a key are kept and copied: `hmac` would take two to three times as long."""
    inner, outer = _keyed(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(text)
    outer.update(inner.digest())
    digest: bytes = outer.digest()
    return digest


#: Compact JSON that keeps letters as they are and refuses NaN.  `json.dumps` would build an encoder at each call.
to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
