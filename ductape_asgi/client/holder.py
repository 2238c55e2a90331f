"""What a client knows of its session, and what is to be done before the next request.  Sends nothing itself."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..latch import Latch
from .failures import NoSession, RefreshFailed, SessionOver
from .tokens import SessionTokens

#: How long before its end an access token is exchanged, in seconds; or a tenth of its life, if that is less.
EARLY = 300
#: How long nothing is asked after a refresh that failed, in seconds, while the access token is good.
PAUSE = 5


@dataclass
class Flight:
    """One refresh under way.  Landed, it has `found` or `failure`; neither where somebody gave up or was faster."""

    tokens: SessionTokens
    thread: int = field(default_factory=threading.get_ident)
    landed: Latch = field(default_factory=Latch)
    found: SessionTokens | None = None
    failure: RefreshFailed | None = None


@dataclass(frozen=True)
class Lead:
    """Refresh: nobody else does."""

    flight: Flight


@dataclass(frozen=True)
class Follow:
    """Somebody refreshes already: wait for them."""

    flight: Flight


@dataclass(frozen=True)
class _Held:
    """Tokens, and when by the clock here to exchange them, and when they are no longer good."""

    tokens: SessionTokens
    exchange_at: float
    good_until: float


class Holder:
    """The tokens of one session.  Any thread may call any method; none of them waits."""

    def __init__(self, tokens: SessionTokens | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._over = False
        self._flight: Flight | None = None
        self._paused_until = -math.inf
        self.put(tokens)

    @property
    def tokens(self) -> SessionTokens | None:
        held = self._held
        return None if held is None or self._over else held.tokens

    def put(self, tokens: SessionTokens | None) -> None:
        """Begin with the tokens of a sign-in, or forget all."""
        with self._lock:
            self._held = None if tokens is None else self._timed(tokens)
            self._over, self._flight, self._paused_until = False, None, -math.inf

    def plan(self, *, blocking: bool) -> str | Lead | Follow:
        """The access token to send, or what is to be done first.

        `blocking`: who asks would wait with the whole thread.

        Raises:
            NoSession, SessionOver: nothing may be sent.
        """
        with self._lock:
            held, flight, now = self._living(), self._flight, self._clock()
            good = now < held.good_until
            busy = flight is not None or now < self._paused_until
            if good and (busy or now < held.exchange_at):
                return held.tokens.token
            if held.tokens.refresh_token is None:
                return held.tokens.token  # Its end is the server's to tell: our clock may be wrong.
            # Who blocks the thread of the one that refreshes would wait forever.  The server gives both the same child.
            if flight is not None and not (blocking and flight.thread == threading.get_ident()):
                return Follow(flight)
            self._flight = Flight(held.tokens)
            return Lead(self._flight)

    def good(self) -> bool:
        """Whether the access token may still be sent."""
        held = self._held
        return held is not None and self._clock() < held.good_until

    def refused(self, token: str) -> bool:
        """The server refused an access token.  Returns whether that is the end: it cannot be exchanged."""
        with self._lock:
            if self._held is None or self._held.tokens.token != token or self._over:
                return False
            self._over = self._held.tokens.refresh_token is None
            self._held = replace(self._held, good_until=-math.inf)
            return self._over

    def expects(self, flight: Flight) -> bool:
        """Whether the outcome of a refresh still matters: nobody has signed in, or been faster, meanwhile."""
        held = self._held
        return held is not None and held.tokens.refresh_token == flight.tokens.refresh_token

    def succeed(self, flight: Flight, tokens: SessionTokens) -> None:
        with self._lock:
            if self.expects(flight):
                self._held, self._paused_until = self._timed(tokens, fresh=True), -math.inf
                flight.found = tokens

    def end(self, flight: Flight) -> bool:
        """The server says that the session is over.  Returns whether that is news."""
        with self._lock:
            news = not self._over and self.expects(flight)
            self._over = self._over or news
            return news

    def fail(self, flight: Flight, failure: RefreshFailed) -> None:
        """It is not known what the server says."""
        with self._lock:
            flight.failure = failure
            self._paused_until = self._clock() + PAUSE

    def land(self, flight: Flight) -> None:
        """Let all go on who wait for this refresh, whatever became of it."""
        with self._lock:
            if self._flight is flight:
                self._flight = None
        flight.landed.open()

    def _living(self) -> _Held:
        if self._held is None:
            raise NoSession
        if self._over:
            raise SessionOver(self._held.tokens.session_id)
        return self._held

    def _timed(self, tokens: SessionTokens, *, fresh: bool = False) -> _Held:
        now, end = self._clock(), tokens.expires_at.timestamp()
        life = end - now
        if fresh and life <= 0:
            # A new token that looks old: the clock here is wrong, and only a refusal will tell.
            return _Held(tokens, math.inf, math.inf)
        return _Held(tokens, end - min(EARLY, life / 10), end)
