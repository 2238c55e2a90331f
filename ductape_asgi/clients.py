"""Where a request comes from: the peer's address, or what trusted proxies say of it, and a name for the device."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from .errors import ConfigurationError, InvalidData
from .models import ClientInfo

Network = IPv4Network | IPv6Network
_LONGEST = 400
_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[0-9.]+))(?::\d+)?")
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def proxy_networks(trusted: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks of proxies, parsed.

    Raises:
        ConfigurationError: one of them is neither an address nor a network.
    """
    if isinstance(trusted, str | bytes) or not isinstance(trusted, Collection):
        raise ConfigurationError(f'trusted_proxies={trusted!r}: give a list of networks such as ["10.0.0.0/8"]')
    try:
        # As text: a number would be an address to `ip_network`.
        return tuple(ip_network(str(network)) for network in trusted)
    except ValueError as error:
        raise ConfigurationError(f'trusted_proxies: {error}; give addresses or networks such as "10.0.0.0/8"') from None


def client_from(given: object) -> ClientInfo:
    """A `ClientInfo`, from one, from an ASGI scope, or from None.

    On a scope that a `DuctapeMiddleware` has seen, its `trusted_proxies` are believed.

    Raises:
        InvalidData: it is something else.
    """
    if given is None:
        return ClientInfo()
    if isinstance(given, ClientInfo):
        return ClientInfo(*(_text(getattr(given, name), name) for name in ("ip", "user_agent", "label")))
    if not isinstance(given, Mapping) or "headers" not in given:
        raise InvalidData(f"client must be a ClientInfo or an ASGI scope, not {type(given).__name__}")
    try:
        return client_of(given, getattr(given.get("ductape.options"), "trusted_proxies", ()))
    except (TypeError, ValueError, AttributeError, LookupError):
        raise InvalidData("client is not an ASGI scope: its headers or its client are malformed") from None


def client_of(scope: Mapping[str, Any], trusted: Sequence[Network]) -> ClientInfo:
    """The `ClientInfo` of an ASGI scope that a server made."""
    agent = _header(scope, b"user-agent")
    return ClientInfo(ip=address_of(scope, trusted), user_agent=agent, label=label_of(agent))


def _text(value: object, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidData(f"ClientInfo.{name} must be a string, not {type(value).__name__}")
    # What UTF-8 cannot express becomes a question mark: this is for people to read.
    return value[:_LONGEST].encode(errors="replace").decode() if value else None


def label_of(agent: str | None) -> str | None:
    """A short name such as ``"Firefox on Linux"`` for a ``User-Agent``; its own beginning where it is no browser's."""
    if not agent:
        return None
    browser = next((name for mark, name in _BROWSERS if f"{mark}/" in agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    if browser is None:
        return agent[:60]
    return f"{browser} on {system}" if system else browser


def address_of(scope: Mapping[str, Any], trusted: Sequence[Network]) -> str | None:
    """The peer, or the last address in ``X-Forwarded-For`` that no trusted proxy has."""
    client = scope.get("client")
    address = str(client[0]) if client else None
    if address is None or not _within(address, trusted):
        return address
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
    for hop in reversed(forwarded.split(",")):
        match = _PORT.fullmatch(hop.strip())
        found = (match["v6"] or match["v4"]) if match else hop.strip()
        if not _is_address(found):
            break
        address = found
        if not _within(found, trusted):
            break
    return address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _within(text: str, networks: Sequence[Network]) -> bool:
    return _is_address(text) and any(ip_address(text) in network for network in networks)


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    values: list[bytes] = [value for field, value in scope["headers"] if field == name]
    return values[0].decode("latin-1")[:_LONGEST] if values else None
