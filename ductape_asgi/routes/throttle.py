"""How many sign-ins may be tried: by address, and by who is claimed to sign in.

A bucket of each kind is one instant, until which it is used up (GCRA, the leaky bucket of ITU-T I.371), so that
memory is bounded by the number of buckets.  Keys are hashed: what somebody typed into a form is not kept.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from ..errors import ConfigurationError
from ..policy import Duration, seconds


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One sign-in that is being tried.

    `address` is the client's, None where the server does not tell it; `identifier` what `login_identifier` read;
    `at` Unix seconds by the clock of `Sessions`.
    """

    address: str | None
    identifier: str | None
    at: float


class LoginThrottle(Protocol):
    """What decides whether a sign-in may be tried.  One of your own may count in a store that processes share.

    Called from many tasks at once.  Whatever it raises, nobody is signed in.
    """

    async def admit(self, attempt: LoginAttempt) -> float | None:
        """Count an attempt before it is made.  None: go on.  Else: refused, and how many seconds to wait."""

    async def succeeded(self, attempt: LoginAttempt) -> None:
        """An attempt that was admitted brought the right credentials."""


class Throttle:
    """Counts failed sign-ins in this process.

    Args:
        per_address: how many may fail from one IPv4 address or IPv6 /64 network.
        per_identifier: how many may fail for one person, from wherever.
        within: the time in which they may; what is used up comes back evenly over it.
        size: how many addresses, and how many identifiers, are remembered; the ones tried longest ago are dropped.

    Raises:
        ConfigurationError: any of these is not usable.
    """

    def __init__(
        self, *, per_address: int = 30, per_identifier: int = 10, within: Duration = "5m", size: int = 10_000
    ) -> None:
        for name, value in (("per_address", per_address), ("per_identifier", per_identifier), ("size", size)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"Throttle({name}={value!r}): give a whole number from 1")
        period = seconds(within, "within", most=86_400)
        self._addresses = _Buckets(per_address, period, size)
        self._identifiers = _Buckets(per_identifier, period, size)

    async def admit(self, attempt: LoginAttempt) -> float | None:
        buckets = [(kind, key) for kind, key in self._of(attempt) if key is not None]
        wait = max((kind.wait(key, attempt.at) for kind, key in buckets), default=0.0)
        if wait > 0:
            return wait  # Not counted: who hammers on does not lock anybody out for longer.
        for kind, key in buckets:
            kind.take(key, attempt.at)
        return None

    async def succeeded(self, attempt: LoginAttempt) -> None:
        # Only this attempt's own: somebody who knows one password must not have the guesses at others forgotten.
        for kind, key in self._of(attempt):
            if key is not None:
                kind.give_back(key)

    def _of(self, attempt: LoginAttempt) -> tuple[tuple[_Buckets, bytes | None], ...]:
        return (self._addresses, _network(attempt.address)), (self._identifiers, _person(attempt.identifier))


class _Buckets:
    """Until when each key is used up, the least recently tried first."""

    def __init__(self, limit: int, period: int, size: int) -> None:
        self._step = period / limit
        self._period = period
        self._size = size
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def wait(self, key: bytes, now: float) -> float:
        over = self._until_of(key, now) + self._step - (now + self._period)
        # Sums of floats are off by less than that.
        return over if over > 0.0005 else 0.0

    def take(self, key: bytes, now: float) -> None:
        self._until[key] = max(self._until_of(key, now), now) + self._step
        self._until.move_to_end(key)
        while len(self._until) > self._size:
            self._until.popitem(last=False)

    def _until_of(self, key: bytes, now: float) -> float:
        until = self._until.get(key, now)
        if until > now + self._period:
            # The clock was put back: else everybody would be locked out for as long.
            until = self._until[key] = now + self._period
        return until

    def give_back(self, key: bytes) -> None:
        if key in self._until:
            self._until[key] -= self._step


def _network(address: str | None) -> bytes | None:
    """Whoever has one IPv6 address has the 2**64 of its network."""
    if address is None:
        return None
    try:
        parsed = ip_address(address)
    except ValueError:
        return hashlib.sha256(address.encode(errors="replace")).digest()
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return parsed.packed[:8] if mapped is None else mapped.packed
    return parsed.packed


def _person(identifier: str | None) -> bytes | None:
    """The same for what most apps take for the same person: case, width and blanks around it do not count."""
    if identifier is None:
        return None
    folded = unicodedata.normalize("NFKC", identifier).casefold().strip()
    return hashlib.sha256(folded.encode(errors="replace")).digest()
