"""P3 in a browser: whatever is slow or lost, who is signed in stays so, and a thief ends the session."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import pytest

from ductape_asgi import DuctapeMiddleware, Sessions, TagPolicy, new_access_key
from tests.asgi_client import call
from tests.cookie_jar import FORM, LINK_FROM_AN_EMAIL, SCRIPT, Browser
from tests.sessions.support import TAG, Clock

pytestmark = pytest.mark.anyio

REFRESH = "__Host-ductape-refresh"
STEPS = 60
VISITS = [(SCRIPT, "GET"), (LINK_FROM_AN_EMAIL, "GET"), (FORM, "POST")]


@dataclass
class Slow:
    """A request whose answer starts when it is let go."""

    may_answer: anyio.Event = field(default_factory=anyio.Event)
    delivered: anyio.Event = field(default_factory=anyio.Event)
    gets_lost: bool = False


@dataclass
class Visit:
    """One person at one browser, with requests of all kinds under way at once."""

    sessions: Sessions
    clock: Clock
    chance: random.Random
    tasks: anyio.abc.TaskGroup
    number: int = 0
    session_id: str | None = None
    slow: list[Slow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.browser = Browser(DuctapeMiddleware(self.app, sessions=self.sessions, tag=TAG))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        session = scope["ductape.session"]
        # A request is served as what the browser was signed in as when it left.
        assert (session and session.session_id) == self.session_id, scope.get("ductape.error")
        headers = []
        if scope["path"] == "/in":
            replaces = session.session_id if session else None
            self.number += 1
            data = {"userId": f"person {self.number}"}
            issued = await self.sessions.start(tag=TAG, data=data, replaces=replaces)
            self.session_id, headers = issued.session_id, issued.cookie_headers()
        elif scope["path"] == "/out" and session is not None:
            await self.sessions.revoke(tag=TAG, session_id=session.session_id)
            self.session_id = None
            names = (self.sessions.cookies.access_name, REFRESH)  # type: ignore[union-attr]
            gone = "; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
            headers = [(b"set-cookie", f"{name}={gone}".encode()) for name in names]
        if "slow" in scope:
            await scope["slow"].may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    # What may happen next.

    async def quick(self) -> None:
        headers, method = self.chance.choice(VISITS)
        await self.browser.request(*headers, method=method, keeps=self.chance.random() < 0.7)

    async def parallel(self) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(self.chance.randint(2, 5)):
                tasks.start_soon(self.quick)

    async def dawdle(self) -> None:
        slow = Slow(gets_lost=self.chance.random() < 0.2)
        headers, method = self.chance.choice(VISITS)

        async def request() -> None:
            await self.browser.request(*headers, method=method, keeps=not slow.gets_lost, slow=slow)
            slow.delivered.set()

        self.slow.append(slow)
        self.tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()

    async def arrive(self) -> None:
        if self.slow:
            slow = self.slow.pop(self.chance.randrange(len(self.slow)))
            slow.may_answer.set()
            await slow.delivered.wait()

    async def wait(self) -> None:
        self.clock.advance(self.chance.choice([0.1, 1, 20, 800, 3600, 7200]))

    async def lose_the_access_cookie(self) -> None:
        self.browser.jar.pop("__Host-ductape", None)

    async def sign_in(self) -> None:
        await self.browser.request(*FORM, method="POST", path="/in")

    async def sign_out(self) -> None:
        await self.browser.request(*FORM, method="POST", path="/out")

    async def step(self) -> None:
        usual = [self.quick, self.parallel, self.dawdle, self.arrive, self.arrive, self.wait, self.wait]
        rare = [self.lose_the_access_cookie, self.sign_in, self.sign_out]
        await self.chance.choice(usual if self.chance.random() < 0.9 else rare)()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sessions(clock: Clock) -> AsyncIterator[Sessions]:
    tags = [TagPolicy(TAG, session_ttl="3650d")]
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store="memory://", tags=tags, clock=clock
    ) as sessions:
        yield sessions


@pytest.mark.parametrize("seed", range(8))
async def test_who_is_signed_in_stays_so_and_who_signed_out_is_out(
    sessions: Sessions, clock: Clock, seed: int, anyio_backend: str
) -> None:
    async with anyio.create_task_group() as tasks:
        visit = Visit(sessions, clock, random.Random(f"{seed} {anyio_backend}"), tasks)
        await visit.sign_in()
        for _ in range(STEPS):
            await visit.step()
        while visit.slow:
            await visit.arrive()
        await visit.quick()  # asserts whose it is, as each of the requests did


@pytest.mark.parametrize("seed", range(4))
async def test_a_thief_with_an_old_refresh_cookie_ends_the_session(
    sessions: Sessions, clock: Clock, seed: int, anyio_backend: str
) -> None:
    async with anyio.create_task_group() as tasks:
        visit = Visit(sessions, clock, random.Random(f"thief {seed} {anyio_backend}"), tasks)
        await visit.sign_in()
        stolen = dict(visit.browser.jar)
        for _ in range(STEPS // 3):
            await visit.chance.choice([visit.quick, visit.parallel, visit.dawdle, visit.arrive, visit.wait])()
        while visit.slow:
            await visit.arrive()
        for _ in range(2):  # at least one more refresh, and a sign of life of it
            clock.advance(3600)
            await visit.browser.fetch()
            await visit.browser.fetch()
        clock.advance(3600)
        visit.session_id = None
        thief = await call(visit.browser.app, headers=[*Browser(None, stolen).cookies, *SCRIPT])
        assert thief.error.code == "refresh_reused"
        owner = await visit.browser.fetch()
        assert owner.error.code == "revoked_session"
