"""A browser of a few lines: a jar that keeps what a real one would, and says where its requests come from.

It refuses any ``Set-Cookie`` that a browser would drop, loudly, so that every test that uses it holds all that is
ever sent to the rules of RFC 6265bis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.asgi_client import Answer, call

NAVIGATION = ((b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document"))
LINK_FROM_AN_EMAIL = ((b"sec-fetch-site", b"cross-site"), *NAVIGATION)
SCRIPT = ((b"sec-fetch-site", b"same-origin"), (b"sec-fetch-mode", b"cors"), (b"sec-fetch-dest", b"empty"))
FORM = ((b"sec-fetch-site", b"same-origin"), *NAVIGATION, (b"content-type", b"application/x-www-form-urlencoded"))

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")


def checked(line: str) -> tuple[str, str, dict[str, str]]:
    """Name, value and attributes (lower case) of a ``Set-Cookie`` that every browser keeps.

    RFC 6265bis sections 4.1.1 (grammar), 4.1.3 (prefixes), 5.6 (sizes) and 5.7 (storage).
    """
    pair, *rest = line.split("; ")
    name, equals, value = pair.partition("=")
    assert equals
    assert _TOKEN.fullmatch(name), line
    assert _VALUE.fullmatch(value), line
    assert len(name) + len(value) <= 4096, len(line)
    attributes = {one.partition("=")[0].lower(): one.partition("=")[2] for one in rest}
    assert len(attributes) == len(rest), f"an attribute stands twice: {line}"
    assert attributes.keys() <= {"max-age", "path", "httponly", "secure", "samesite", "domain"}, line
    assert all(len(one) <= 1024 for one in rest)
    assert attributes["path"] == "/"
    assert re.fullmatch(r"0|[1-9][0-9]*", attributes["max-age"]), line
    assert attributes["samesite"] in ("Lax", "Strict", "None"), line
    lower = name.lower()
    if lower.startswith("__host-"):
        assert name.startswith("__Host-"), line
        assert "secure" in attributes, line
        assert "domain" not in attributes, line
    elif lower.startswith("__secure-"):
        assert name.startswith("__Secure-"), line
        assert "secure" in attributes, line
    else:
        assert not lower.startswith("__"), line
    assert not re.match("__(host-)?http-", lower), line
    assert attributes["samesite"] != "None" or "secure" in attributes, line
    return name, value, attributes


def set_cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [value.decode("ascii") for name, value in headers if name.lower() == b"set-cookie"]


@dataclass
class Browser:
    """Somebody at an ASGI app, with a jar."""

    app: Any
    jar: dict[str, str] = field(default_factory=dict)

    def take(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep what an answer brings."""
        for line in set_cookies(headers):
            name, value, attributes = checked(line)
            self.jar.pop(name, None)
            if attributes["max-age"] != "0":
                self.jar[name] = value

    @property
    def cookies(self) -> list[tuple[bytes, bytes]]:
        line = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        return [(b"cookie", line.encode())] if line else []

    async def request(self, *headers: tuple[bytes, bytes], keeps: bool = True, **request: Any) -> Answer:
        """One request with the cookies of now.  Unless it `keeps` the answer, that gets lost on its way."""
        answer = await call(self.app, headers=[*self.cookies, *headers], **request)
        if keeps:
            self.take(answer.headers)
        return answer

    async def fetch(self, **request: Any) -> Answer:
        """A script of our page asks."""
        return await self.request(*SCRIPT, **request)

    async def open(self, **request: Any) -> Answer:
        """A link in an e-mail is followed."""
        return await self.request(*LINK_FROM_AN_EMAIL, **request)
