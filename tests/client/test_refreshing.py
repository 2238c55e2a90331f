"""When and how tokens are exchanged."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ductape_asgi import RevokedSession
from ductape_asgi.client import NoSession, RefreshFailed, SessionAuth, SessionOver, SessionTokens
from tests.sessions.support import Clock

from .conftest import Connect
from .support import TAG, App

pytestmark = pytest.mark.anyio


async def test_each_request_carries_the_access_token(connect: Connect, app: App) -> None:
    client, auth = await connect()
    answer = await client.get("/me")
    assert (answer.status_code, answer.text) == (200, auth.tokens.session_id)
    assert app.requests[0].authorization == f"Bearer {auth.tokens.token}"
    assert not app.refreshes


@pytest.mark.parametrize(("expires_in", "early"), [(900, 90), (60, 6), (3000, 300), (86_400, 300)])
async def test_it_is_exchanged_a_tenth_of_its_life_or_five_minutes_before_its_end(
    connect: Connect, app: App, clock: Clock, kept: list[Any], expires_in: int, early: int
) -> None:
    client, auth = await connect(expires_in=expires_in)
    before = auth.tokens
    clock.advance(expires_in - early - 1)
    await client.get("/me")
    assert not app.refreshes
    clock.advance(2)
    assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 1
    assert app.refreshes[0].authorization is None
    assert auth.tokens.token != before.token
    assert app.requests[-1].authorization == f"Bearer {auth.tokens.token}"
    assert kept == [auth.tokens]
    await client.get("/me")
    assert len(app.refreshes) == 1


async def test_any_number_of_requests_wait_for_one_refresh(connect: Connect, app: App, clock: Clock) -> None:
    client, auth = await connect()
    clock.advance(2000)
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await client.get("/me")).status_code)

    async with anyio.create_task_group() as tasks:
        release = anyio.Event()
        app.before_refresh = release.wait
        for _ in range(50):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert not app.requests
        release.set()
    assert statuses == [200] * 50
    assert len(app.refreshes) == 1
    assert {one.authorization for one in app.requests} == {f"Bearer {auth.tokens.token}"}


async def test_while_the_token_is_good_only_the_one_that_refreshes_waits(
    connect: Connect, app: App, clock: Clock
) -> None:
    client, auth = await connect()
    before = auth.tokens
    clock.advance(850)
    release, asked = anyio.Event(), anyio.Event()

    async def hold() -> None:
        asked.set()
        await release.wait()

    app.before_refresh = hold
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.get, "/me")
        await asked.wait()
        assert (await client.get("/me")).status_code == 200
        assert app.requests[-1].authorization == f"Bearer {before.token}"
        release.set()
    assert app.requests[-1].authorization == f"Bearer {auth.tokens.token}"
    assert len(app.refreshes) == 1


@pytest.mark.parametrize("hook", ["before_refresh", "after_refresh"])
async def test_a_cancelled_leader_harms_nobody(connect: Connect, app: App, clock: Clock, hook: str) -> None:
    client, _ = await connect()
    clock.advance(2000)
    release, asked, statuses = anyio.Event(), anyio.Event(), []

    async def hold() -> None:
        setattr(app, hook, None)
        asked.set()
        await release.wait()

    setattr(app, hook, hold)
    async with anyio.create_task_group() as tasks:
        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await client.get("/me")

        async def follow() -> None:
            statuses.append((await client.get("/me")).status_code)

        tasks.start_soon(lead)
        await asked.wait()
        for _ in range(5):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert len(app.refreshes) == 1
        leader.cancel()
    assert leader.cancelled_caught
    assert statuses == [200] * 5
    assert len(app.refreshes) == 2
    assert app.refreshes[0].body == app.refreshes[1].body
    clock.advance(2000)
    assert (await client.get("/me")).status_code == 200


async def test_a_refused_token_is_exchanged_and_the_request_sent_once_more(
    connect: Connect, app: App, clock: Clock
) -> None:
    client, auth = await connect(clock=Clock(clock.now))  # one that stands still: it thinks the token good
    before = auth.tokens
    clock.advance(2000)
    answer = await client.post("/me", content=b"hello")
    assert answer.status_code == 200
    assert [one.authorization for one in app.requests] == [f"Bearer {before.token}", f"Bearer {auth.tokens.token}"]
    assert [one.body for one in app.requests] == [b"hello", b"hello"]
    assert len(app.refreshes) == 1


async def test_a_token_that_is_refused_again_is_answered_as_it_is(connect: Connect, app: App) -> None:
    client, _ = await connect()
    answer = await client.get("/landed")
    assert answer.status_code == 401
    assert len(app.requests) == 2
    assert len(app.refreshes) == 1


async def test_another_401_is_none_of_our_business(connect: Connect, app: App) -> None:
    client, _ = await connect()
    assert (await client.get("/basic")).status_code == 401
    assert len(app.asked) == 1


async def test_requests_refused_together_share_one_refresh(connect: Connect, app: App, clock: Clock) -> None:
    client, _ = await connect(clock=Clock(clock.now))
    clock.advance(2000)
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await client.get("/me")).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert statuses == [200] * 20
    assert len(app.refreshes) == 1


async def test_a_body_that_streams_is_not_sent_twice_and_the_next_request_refreshes(
    connect: Connect, app: App, clock: Clock
) -> None:
    client, _ = await connect(clock=Clock(clock.now))
    clock.advance(2000)

    async def chunks() -> Any:
        yield b"once"

    assert (await client.post("/me", content=chunks())).status_code == 401
    assert not app.refreshes
    assert (await client.get("/me")).status_code == 200
    assert [one.path for one in app.asked] == ["/me", "/auth/refresh", "/me"]


async def test_when_the_session_is_over_nothing_is_sent_any_more(
    connect: Connect, app: App, kept: list[SessionTokens | None]
) -> None:
    client, auth = await connect()
    session_id = auth.tokens.session_id
    await app.sessions.revoke(tag=TAG, session_id=session_id)
    with pytest.raises(SessionOver) as over:
        await client.get("/me")
    assert over.value.session_id == session_id
    assert kept == [None]
    assert auth.tokens is None
    asked = len(app.asked)
    for _ in range(3):
        with pytest.raises(SessionOver):
            await client.get("/me")
    assert len(app.asked) == asked
    assert kept == [None]


async def test_all_who_wait_are_told_that_it_is_over(connect: Connect, app: App, clock: Clock) -> None:
    client, auth = await connect()
    await app.sessions.revoke(tag=TAG, session_id=auth.tokens.session_id)
    clock.advance(2000)
    told: list[str] = []

    async def ask() -> None:
        with pytest.raises(SessionOver):
            await client.get("/me")
        told.append("over")

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
    assert len(told) == 10
    assert len(app.asked) == 1


async def test_a_new_sign_in_goes_on(connect: Connect, app: App, start: Any) -> None:
    client, auth = await connect()
    await app.sessions.revoke(tag=TAG, session_id=auth.tokens.session_id)
    with pytest.raises(SessionOver):
        await client.get("/me")
    issued = await start()
    auth.set_tokens(issued)
    assert (await client.get("/me")).text == issued.session_id


async def test_without_a_session_nothing_is_sent(connect: Connect, app: App, start: Any) -> None:
    client, auth = await connect(tokens=None)
    with pytest.raises(NoSession):
        await client.get("/me")
    auth.set_tokens(await start())
    assert (await client.get("/me")).status_code == 200
    auth.set_tokens(None)
    with pytest.raises(NoSession):
        await client.get("/me")
    assert len(app.asked) == 1


def unreachable() -> Any:
    raise ConnectionError("what an app raises, ASGITransport hands on")


def answered(status: int, body: bytes = b"") -> Any:
    return lambda: (status, body)


GOOD = '"token":"t","refreshToken":"r","sessionId":"s","sessionExpiresAt":"2030-01-01T00:00:00Z"'
TROUBLES = {
    "503": answered(503),
    "500": answered(500),
    "404": answered(404),
    "403": answered(403),
    "204": answered(204),
    "a redirect": answered(307),
    "no JSON": answered(200, b"<html>"),
    "no UTF-8": answered(200, b'"\xff'),
    "deep": answered(200, b"[" * 100_000),
    "a list": answered(200, b"[]"),
    "nothing": answered(200, b"{}"),
    "no end": answered(200, f"{{{GOOD}}}".encode()),
    "an end that is none": answered(200, f'{{{GOOD},"expiresAt":"soon"}}'.encode()),
    "an end without a zone": answered(200, f'{{{GOOD},"expiresAt":"2030-01-01T00:00:00"}}'.encode()),
    "a number for a token": answered(200, f'{{{GOOD},"expiresAt":"2030-01-01T00:00:00Z","token":7}}'.encode()),
    "a line end in a token": answered(
        200, f'{{{GOOD},"expiresAt":"2030-01-01T00:00:00Z","token":"t\\r\\nx: y"}}'.encode()
    ),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
async def test_while_the_token_is_good_a_refresh_that_fails_harms_nobody(
    connect: Connect, app: App, clock: Clock, kept: list[Any], trouble: str
) -> None:
    client, auth = await connect()
    before, app.instead = auth.tokens, TROUBLES[trouble]
    clock.advance(850)
    assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 1
    clock.advance(4)
    assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 1, "asked again within five seconds"
    clock.advance(2)
    assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 2
    clock.advance(100)
    with pytest.raises(RefreshFailed):
        await client.get("/me")
    assert (auth.tokens, kept) == (before, [])
    app.instead = None
    assert (await client.get("/me")).status_code == 200
    assert {one.host for one in app.asked} == {"app.test"}


async def test_while_the_token_is_good_an_unreachable_server_harms_nobody(
    connect: Connect, library: Any, app: App, clock: Clock
) -> None:
    def refuse(request: Any) -> Any:
        raise library.ConnectError("connection refused")

    async with library.AsyncClient(transport=library.MockTransport(refuse)) as dead:
        client, _ = await connect(client=dead)
        clock.advance(850)
        assert (await client.get("/me")).status_code == 200
        clock.advance(100)
        with pytest.raises(RefreshFailed, match="ConnectError"):
            await client.get("/me")
    assert len(app.requests) == 1


async def test_all_who_wait_learn_of_a_failure_at_once(connect: Connect, app: App, clock: Clock) -> None:
    client, _ = await connect()
    clock.advance(2000)
    app.instead = answered(503)
    told: list[str] = []

    async def ask() -> None:
        with pytest.raises(RefreshFailed):
            await client.get("/me")
        told.append("failed")

    async with anyio.create_task_group() as tasks:
        release = anyio.Event()
        app.before_refresh = release.wait
        for _ in range(20):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert len(told) == 20
    assert len(app.refreshes) == 1


async def test_a_clock_that_is_wrong_costs_one_refresh_and_no_session(connect: Connect, app: App, clock: Clock) -> None:
    client, _ = await connect(clock=Clock(clock.now + 365 * 86_400))
    for _ in range(5):
        assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 1
    clock.advance(2000)
    assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 2


async def test_a_session_that_cannot_be_refreshed_lasts_until_it_is_refused(
    connect: Connect, app: App, clock: Clock, kept: list[Any], start: Any
) -> None:
    from dataclasses import replace

    client, auth = await connect(tokens=replace(await start(), refresh_token=None))
    clock.advance(899)
    assert (await client.get("/me")).status_code == 200
    clock.advance(2000)
    with pytest.raises(SessionOver):
        await client.get("/me")
    with pytest.raises(SessionOver):
        await client.get("/me")
    assert len(app.asked) == 2
    assert kept == [None]
    assert auth.tokens is None


async def test_a_sign_in_meanwhile_wins_over_a_refresh(
    connect: Connect, app: App, clock: Clock, kept: list[Any], start: Any
) -> None:
    client, auth = await connect()
    clock.advance(850)
    issued = await start()

    async def sign_in() -> None:
        auth.set_tokens(issued)

    app.after_refresh = sign_in
    assert (await client.get("/me")).text == issued.session_id
    assert auth.tokens.refresh_token == issued.refresh_token
    assert kept == []


async def test_an_end_that_comes_too_late_ends_nobody_else(
    connect: Connect, app: App, clock: Clock, kept: list[Any], start: Any
) -> None:
    client, auth = await connect()
    await app.sessions.revoke(tag=TAG, session_id=auth.tokens.session_id)
    clock.advance(2000)
    issued = await start()

    async def sign_in() -> None:
        auth.set_tokens(issued)

    app.before_refresh = sign_in
    assert (await client.get("/me")).text == issued.session_id
    assert kept == []


async def test_a_sign_in_while_tokens_are_kept_wins_over_them(connect: Connect, clock: Clock, start: Any) -> None:
    def save(tokens: SessionTokens | None) -> None:
        auth.set_tokens(issued)

    client, auth = await connect(on_change=save)
    clock.advance(2000)
    issued = await start()
    assert (await client.get("/me")).text == issued.session_id
    assert auth.tokens.session_id == issued.session_id


async def test_keeping_that_outlasts_the_token_makes_no_second_refresh(
    connect: Connect, app: App, clock: Clock
) -> None:
    mine = Clock(clock.now + 2000)
    client, _ = await connect(clock=mine, on_change=lambda tokens: mine.advance(1000))
    assert (await client.get("/me")).status_code == 200
    assert len(app.refreshes) == 1


async def test_tokens_are_kept_before_they_are_used(connect: Connect, app: App, clock: Clock) -> None:
    seen: list[int] = []

    async def save(tokens: SessionTokens | None) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(len(app.requests))

    client, _ = await connect(on_change=save)
    clock.advance(2000)
    await client.get("/me")
    assert seen == [0]


async def test_tokens_that_could_not_be_kept_are_not_used_and_come_again(
    connect: Connect, app: App, clock: Clock
) -> None:
    full, kept = True, []

    def save(tokens: SessionTokens | None) -> None:
        if full:
            raise OSError("disk full")
        kept.append(tokens)

    client, auth = await connect(on_change=save)
    before = auth.tokens
    clock.advance(2000)
    with pytest.raises(OSError, match="disk full"):
        await client.get("/me")
    assert auth.tokens == before
    full = False
    clock.advance(60)  # past the grace in which anything goes
    assert (await client.get("/me")).status_code == 200
    assert kept == [auth.tokens]
    clock.advance(2000)
    assert (await client.get("/me")).status_code == 200


async def test_keeping_is_not_interrupted(connect: Connect, clock: Clock) -> None:
    begun, kept = anyio.Event(), []

    async def save(tokens: SessionTokens | None) -> None:
        begun.set()
        await anyio.sleep(0)
        kept.append(tokens)

    client, auth = await connect(on_change=save)
    clock.advance(2000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.get, "/me")
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert kept == [auth.tokens]


async def test_old_tokens_that_come_back_end_the_session_as_the_server_says(
    connect: Connect, app: App, clock: Clock
) -> None:
    client, auth = await connect()
    stale = auth.tokens
    for _ in range(2):
        clock.advance(2000)
        await client.get("/me")
    auth.set_tokens(stale)
    with pytest.raises(SessionOver):
        await client.get("/me")
    with pytest.raises(RevokedSession):
        await app.sessions.verify(tag=TAG, token=app.requests[-1].authorization.removeprefix("Bearer "))


async def test_one_auth_serves_clients_of_both_libraries(connect: Connect, app: App, clock: Clock) -> None:
    import httpx
    import httpx2

    _, auth = await connect()
    assert isinstance(auth, SessionAuth)
    for library in (httpx, httpx2):
        clock.advance(2000)
        async with library.AsyncClient(transport=library.ASGITransport(app=app), auth=auth) as other:
            assert (await other.get("https://app.test/me")).status_code == 200
    assert len(app.refreshes) == 2
