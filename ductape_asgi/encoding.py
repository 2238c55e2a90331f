"""base64url without padding, in its one canonical spelling, compact JSON, and HMAC."""

from __future__ import annotations

import binascii
import hmac
import json
import re
from functools import lru_cache
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_LAST_OF_TWO: Final = "AQgw"
_LAST_OF_THREE: Final = "AEIMQUYcgkosw048"


def b64encode(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_URLSAFE).decode()


def b64decode(text: str) -> bytes | None:
    """The bytes, or None where `text` is not exactly what `b64encode` writes for them."""
    over = len(text) % 4
    if over == 1 or not text.isascii() or not _ALPHABET.fullmatch(text):
        return None
    # Unused bits of the last character must be zero: one value, one spelling.
    if (over == 2 and text[-1] not in _LAST_OF_TWO) or (over == 3 and text[-1] not in _LAST_OF_THREE):
        return None
    return binascii.a2b_base64(text.encode().translate(_STANDARD) + b"=" * (-over % 4))


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def mac(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256.  A keyed state is kept and copied: `hmac.digest` would have the hash looked up at each call."""
    state = _keyed(key).copy()
    state.update(text)
    return state.digest()


#: Compact JSON that keeps letters as they are and refuses NaN.  `json.dumps` would build an encoder at each call.
to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
