"""The little of a browser that the product page's examples use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

Job = Callable[[], Awaitable[None]]

#: A Sunday in 2026; any moment would do.
MORNING = 1_795_336_000


@dataclass
class Clock:
    """Unix seconds that move only when told to, and timers that go off meanwhile."""

    now: float = MORNING
    timers: list[tuple[float, Job]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def set_timeout(self, job: Job, seconds: float) -> Job:
        self.timers.append((self.now + seconds, job))
        return job

    def clear_timeout(self, job: Job) -> None:
        self.timers = [(due, waiting) for due, waiting in self.timers if waiting is not job]

    async def advance(self, seconds: float) -> None:
        """Let time pass, and run what falls due on the way, each at its moment."""
        end = self.now + seconds
        while due := sorted((timer for timer in self.timers if timer[0] <= end), key=lambda timer: timer[0]):
            self.now, job = due[0]
            self.timers.remove(due[0])
            await job()
        self.now = end

    def seconds_until(self, moment: datetime) -> float:
        return moment.timestamp() - self.now


@dataclass
class Browser:
    """`localStorage`, and the page that is shown."""

    storage: dict[str, str] = field(default_factory=dict)
    page: str = "/"

    def keep(self, token: str, refresh_token: str | None) -> None:
        assert refresh_token is not None
        self.storage["ductape_token"] = token
        self.storage["ductape_refresh"] = refresh_token

    def forget(self) -> None:
        self.storage.pop("ductape_token", None)
        self.storage.pop("ductape_refresh", None)

    @property
    def token(self) -> str | None:
        return self.storage.get("ductape_token")

    @property
    def refresh_token(self) -> str:
        return self.storage["ductape_refresh"]
