"""The URL of a PostgreSQL store: what is ours in it, and what the driver gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ...errors import ConfigurationError

_FORM = (
    'use "postgresql://user:password@host:5432/database" or "postgresql:///database?host=/socket/dir", with what'
    " is special in a user or password percent-encoded"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:/\[\]@]*)(:[0-9]{1,5})?")
_SHOWN = re.compile(r"[\w.,:/\[\]-]{1,200}")
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
_FILES = ("sslrootcert", "sslcert", "sslkey")
_OURS = frozenset({"ductape_listen", "ductape_schema", "ductape_pool_size", "ductape_statement_cache_size"})


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart.  What it does not say is None."""

    #: For the driver, without what is ours.  Holds the password.
    dsn: str = field(repr=False)
    #: Where it leads, without user and password.
    shown: str
    #: The names of its other options: a setting of the server that stands there is the user's.
    settings: frozenset[str]
    #: Certificates and keys for TLS, by the names of their options.
    files: Mapping[str, str]
    listen: bool | None = None
    schema: str | None = None
    pool_size: int | None = None
    statement_cache_size: int | None = None


def read_url(url: object) -> Address:
    """Take a URL apart.

    Raises:
        ConfigurationError: it is none of PostgreSQL's; the message repeats nothing of it.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"this is no PostgreSQL URL: {_FORM}")
    try:
        url.encode()
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(f"this is no PostgreSQL URL: {_FORM}") from None
    hosts = parts.netloc.rpartition("@")[2]
    # A "/", "?" or "#" in a password ends the host too early, an "@" begins it (asyncpg takes the first, as libpq
    # does), and what follows must not show up as a name.
    misread = (
        "@" in parts.path or parts.fragment or parts.netloc.count("@") > 1 or not all(map(_is_host, hosts.split(",")))
    )
    if parts.scheme not in ("postgresql", "postgres") or "//" not in url or misread:
        raise ConfigurationError(f"this is no PostgreSQL URL: {_FORM}")
    unknown = {name for name in options if name.startswith("ductape_")} - _OURS
    if unknown:
        raise ConfigurationError(f"a PostgreSQL URL knows {', '.join(sorted(_OURS))}, and no other ductape_ option")
    theirs = {name: value for name, value in options.items() if name not in _OURS}
    return Address(
        dsn=url.partition("?")[0] + ("?" + urlencode(theirs) if theirs else ""),
        shown=_shown(hosts or options.get("host", ""), unquote(parts.path[1:]) or options.get("dbname", "")),
        settings=frozenset(theirs),
        files={name: theirs[name] for name in _FILES if name in theirs},
        listen=_switch(options.get("ductape_listen")),
        schema=options.get("ductape_schema"),
        pool_size=_number("ductape_pool_size", options.get("ductape_pool_size")),
        statement_cache_size=_number("ductape_statement_cache_size", options.get("ductape_statement_cache_size")),
    )


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    return match is not None and 0 < int((match[2] or ":5432")[1:]) < 65536


def _shown(hosts: str, database: str) -> str:
    return "/".join(name if _SHOWN.fullmatch(name) else "..." for name in (hosts or "localhost", database or "..."))


def _switch(text: str | None) -> bool | None:
    if text is not None and text not in _SWITCH:
        raise ConfigurationError("ductape_listen is on or off")
    return None if text is None else _SWITCH[text]


def _number(name: str, text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 7):
        raise ConfigurationError(f"{name} is a whole number")
    return None if text is None else int(text)
