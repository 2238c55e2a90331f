"""base64url without padding, in its one canonical spelling, and length-safe joining for MACs."""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


def b64encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def b64decode(text: str) -> bytes | None:
    """The bytes, or None where `text` is not exactly what `b64encode` writes for them."""
    if not text.isascii() or not _ALPHABET.fullmatch(text):
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    # Unused bits of the last character must be zero: one value, one spelling.
    return raw if b64encode(raw[len(raw) // 3 * 3 :]) == text[len(raw) // 3 * 4 :] else None


def joined(*parts: str | bytes) -> bytes:
    """The parts behind their lengths, so that no two lists give the same bytes."""
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in raw)
