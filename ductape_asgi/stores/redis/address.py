"""What a Redis URL says."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...errors import ConfigurationError

FORMS = (
    '"redis://host:6379/0", "redis+sentinel://host:26379,host:26379/service/0" or "redis+cluster://host:6379,host:6379"'
    ' ("rediss..." with TLS)'
)
_PORTS = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: What each option takes: to read, and to tell.
_OPTIONS = {
    "prefix": (r"[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, _ and -"),
    "max_connections": (r"[1-9]\d{0,3}", "a number from 1 to 9999"),
    "sentinel_username": (".+", "a name"),
    "sentinel_password": (".+", "a password"),
    **dict.fromkeys(_FILES, (".+", "the path of a file")),
}
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@/]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the servers are, and how to talk to them.  Its `repr` shows no password."""

    form: Literal["single", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    #: Files with certificates and keys, as redis-py names them.
    files: tuple[tuple[str, str], ...] = ()
    prefix: str = "ductape"
    max_connections: int = 32
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        scheme = ("rediss" if self.tls else "redis") + ("" if self.form == "single" else f"+{self.form}")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{hosts}{service}" + ("" if self.form == "cluster" else f"/{self.db}")


def read_url(url: str) -> Address:
    """What the URL says.

    Raises:
        ConfigurationError: it is none of ours; never shows the URL, which may hold a password.
    """
    parts = _split(url)
    match = None if parts is None else re.fullmatch(r"(rediss?)(?:\+(sentinel|cluster))?", parts.scheme)
    if parts is None or match is None or parts.fragment:
        raise _bad("it is not of this form")
    form: Literal["single", "sentinel", "cluster"] = match[2] or "single"  # type: ignore[assignment]
    login, _, places = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    service, db = _path(form, parts.path)
    return Address(
        form=form,
        hosts=_hosts(form, places),
        service=service,
        db=db,
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=match[1] == "rediss",
        **_options(parts.query, tls=match[1] == "rediss"),  # type: ignore[arg-type]
    )


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None where a bracket, say, that belongs in a password percent-encoded keeps it whole."""
    with suppress(ValueError):  # whose message shows the password
        return urlsplit(url)
    return None


def _bad(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the Redis URL cannot be used, {reason}: write {FORMS},"
        " and %40 for @, %2F for / and so on in user and password"
    )


def _hosts(form: str, places: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        port = int(match["port"] or _PORTS[form]) if match else 0
        if match is None or not 0 < port < 65536:
            raise _bad("a host or port in it is malformed")
        hosts.append((match["v6"] or unquote(match["name"]), port))
    if form == "single" and len(hosts) != 1:
        raise _bad("one server has one host")
    return tuple(hosts)


def _path(form: str, path: str) -> tuple[str, int]:
    words = [unquote(word) for word in path.split("/") if word]
    service = words.pop(0) if form == "sentinel" and words else ""
    if form == "sentinel" and not service:
        raise _bad("it does not name the service that Sentinel watches")
    db = words.pop(0) if words else "0"
    if words or not re.fullmatch(r"\d{1,5}", db) or (form == "cluster" and db != "0"):
        raise _bad("its path is not the number of a database (a cluster has number 0 only)")
    return service, int(db)


def _options(query: str, *, tls: bool) -> dict[str, object]:
    options: dict[str, object] = {}
    paths = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        _check_option(name, value, tls=tls)
        if name in _FILES:
            paths.append((name, value))
        else:
            options[name] = int(value) if name == "max_connections" else value
    return {**options, "files": tuple(paths)}


def _check_option(name: str, value: str, *, tls: bool) -> None:
    if name not in _OPTIONS:
        # What follows a "?" in a password is no name.
        option = f"option {name!r}" if re.fullmatch(r"[a-z_]{1,32}", name) else "such option"
        raise _bad(f"there is no {option} (but {', '.join(_OPTIONS)})")
    form, told = _OPTIONS[name]
    if not re.fullmatch(form, value, re.DOTALL):
        raise _bad(f"its option {name} takes {told}")
    if name in _FILES and not tls:
        raise _bad(f"its option {name} is for TLS only")
