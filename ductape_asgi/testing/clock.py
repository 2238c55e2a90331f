"""A clock that tests advance."""

from __future__ import annotations

from ..errors import ConfigurationError


class SessionClock:
    """Unix seconds that move only when told to: ``Sessions(..., clock=SessionClock())``.

    It begins at 2027-01-15T08:00:00Z unless told otherwise.
    """

    def __init__(self, now: float = 1_800_000_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Let time pass.

        Raises:
            ConfigurationError: it would go back, or stand still.
        """
        step = seconds + 60 * minutes + 3600 * hours + 86_400 * days
        if not step > 0:
            raise ConfigurationError(f"advance(...) by {step} s: a clock goes forward")
        self.now += step

    def __repr__(self) -> str:
        return f"<SessionClock {self.now}>"
