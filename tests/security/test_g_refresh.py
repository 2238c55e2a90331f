"""Group G, refreshing: reuse is caught, races sign nobody out, and nothing comes back from the dead."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import pytest

from ductape_asgi import session_routes
from tests.asgi_client import Answer
from tests.routes.support import ACCESS, REFRESH, TAG, Person, World, problem, set_cookies

pytestmark = pytest.mark.anyio


async def signed_in(world: World) -> Person:
    ann = world.person()
    assert (await ann.sign_in()).status == 200
    return ann


async def used(person: Person) -> None:
    """The tokens that this person has now show a sign of life."""
    assert await person.session_id() is not None


async def live(world: World) -> int:
    return (await world.sessions.list(tag=TAG, identifier="ann")).count


def hold(person: Person, refresh_token: str) -> None:
    person.refresh_token = refresh_token
    if person.mode == "cookie":
        person.jar[REFRESH] = refresh_token


async def test_g1_an_old_refresh_token_ends_the_session_for_thief_and_owner(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await signed_in(world)
    thief = ann.copy()
    for _ in range(2):
        await ann.refresh()
        await used(ann)
    caplog.set_level("INFO", "ductape_asgi.audit")
    assert problem(await thief.refresh()) == (401, "invalid_token")
    assert any("session.refresh_reused" in record.getMessage() for record in caplog.records)
    assert await ann.session_id() is None
    assert (await ann.refresh()).status == 401
    assert await live(world) == 0


async def test_g1_after_the_grace_the_parent_is_old_too(world: World) -> None:
    ann = await signed_in(world)
    thief = ann.copy()
    await ann.refresh()
    await used(ann)
    world.clock.advance(11)
    assert (await thief.refresh()).status == 401
    assert await live(world) == 0


async def test_g2_a_retry_within_the_grace_gets_the_same_child(world: World) -> None:
    ann = await signed_in(world)
    again = ann.copy()
    await ann.refresh()
    world.clock.advance(5)
    await again.refresh()
    assert again.tokens[1] == ann.tokens[1]


async def test_g3_a_retry_whose_child_was_refreshed_already_is_reuse(world: World) -> None:
    ann = await signed_in(world)
    late = ann.copy()
    await ann.refresh()
    await ann.refresh()
    assert (await late.refresh()).status == 401
    assert await live(world) == 0


async def test_g4_the_grace_is_not_passed_on(world: World) -> None:
    ann = await signed_in(world)
    generations = [ann.copy()]
    for _ in range(3):
        await ann.refresh()
        generations.append(ann.copy())
    assert (await generations[2].refresh()).status == 200  # the parent of the newest
    assert (await generations[1].refresh()).status == 401
    assert await live(world) == 0


async def test_g5_a_forged_token_of_a_known_session_ends_nothing_and_asks_no_store(world: World) -> None:
    ann = await signed_in(world)
    await ann.refresh()
    raw = bytearray(base64.urlsafe_b64decode(str(ann.tokens[1])[4:] + "=="))
    raw[18:22] = (0).to_bytes(4, "big")  # an old generation, under a MAC of a newer one
    forged = "drt_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    mallory = world.another(ann)
    hold(mallory, forged)
    calls = world.store.calls["rotate"] + world.store.calls["verify"]
    for answer in (await mallory.refresh(), await mallory.act("POST", "/sessions/revoke-others")):
        assert problem(answer) == (401, "invalid_token")
    assert (await mallory.act("POST", "/logout")).status == 401
    assert world.store.calls["rotate"] + world.store.calls["verify"] == calls
    assert await ann.session_id() is not None


async def test_g6_a_hundred_at_once_get_one_child(world: World) -> None:
    ann = await signed_in(world)
    tabs = [ann.copy() for _ in range(100)]
    statuses: list[int] = []

    async def refresh(tab: Person) -> None:
        statuses.append((await tab.refresh()).status)

    async with anyio.create_task_group() as tasks:
        for tab in tabs:
            tasks.start_soon(refresh, tab)
    assert statuses == [200] * 100
    assert len({tab.tokens[1] for tab in tabs}) == 1
    assert await live(world) == 1


@pytest.mark.parametrize("first", ["rotate", "revoke"])
async def test_g7_a_refresh_that_races_with_a_sign_out_leaves_no_live_child(world: World, first: str) -> None:
    ann = await signed_in(world)
    leaving = ann.copy()
    answers: dict[str, Answer] = {}

    async def refresh() -> None:
        answers["refresh"] = await ann.refresh()

    async def leave() -> None:
        answers["leave"] = await leaving.act("POST", "/logout")

    world.store.hang("rotate" if first == "revoke" else "revoke")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refresh)
        tasks.start_soon(leave)
        await anyio.wait_all_tasks_blocked()
        world.store.heal()
    assert answers["leave"].status == 204
    assert await ann.session_id() is None
    assert (await ann.refresh()).status == 401
    assert await live(world) == 0


async def absolute(world: World) -> None:
    world.clock.advance(days=31)


async def idle(world: World) -> None:
    world.clock.advance(86_400 + 61)


async def disabled(world: World) -> None:
    await world.sessions.revoke_all(tag=TAG, identifier="ann")


@pytest.mark.parametrize("end", [absolute, idle, disabled])
async def test_g8_nothing_is_refreshed_after_the_end(world: World, end: Any) -> None:
    ann = await signed_in(world)
    await end(world)
    answer = await ann.refresh()
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == {}


async def test_g9_each_token_is_good_for_its_own_purpose(world: World) -> None:
    ann = await signed_in(world)
    access, refresh = (str(token) for token in ann.tokens)
    ticket = (await ann.send("POST", "/ticket")).json()["ticket"]
    for token in (refresh, ticket):
        wrong = world.another(ann)
        wrong.token = token
        wrong.jar = {ACCESS: token}
        assert problem(await wrong.send("GET", "/session")) == (401, "invalid_token")
    for token in (access, ticket):
        wrong = world.another(ann)
        hold(wrong, token)
        assert problem(await wrong.refresh()) == (401, "invalid_token")
    assert (await ann.refresh()).status == 200


async def test_g10_a_refresh_token_of_another_tag_is_refused(world: World) -> None:
    other = await world.sessions.start(tag="checkout-session", data={"userId": "ann"})
    ann = world.person()
    hold(ann, str(other.refresh_token))
    assert problem(await ann.refresh()) == (401, "invalid_token")
    assert problem(await ann.act("POST", "/sessions/revoke-others")) == (401, "invalid_token")
    assert (await ann.act("POST", "/logout")).status == 401
    assert (await world.sessions.refresh(tag="checkout-session", refresh_token=other.refresh_token)).token


async def test_g11_the_loser_of_a_race_is_given_no_deletion(world: World) -> None:
    """crosswithfriends #566: the loser's answer comes last, and takes the winner's cookies away."""
    ann = await signed_in(world)
    tabs = [ann.copy() for _ in range(5)]
    answers: list[Answer] = []

    async def refresh(tab: Person) -> None:
        answers.append(await tab.refresh())

    async with anyio.create_task_group() as tasks:
        for tab in tabs:
            tasks.start_soon(refresh, tab)
    for answer in answers:
        for name, value in set_cookies(answer).items():
            ann.jar[name] = value
            assert value
    for tab in tabs:
        await used(tab)
    if world.mode == "cookie":
        await used(ann)


async def test_g11_a_refusal_that_ends_nothing_deletes_nothing(world: World) -> None:
    ann = await signed_in(world)
    store_down = ann.copy()
    world.store.fail("rotate")
    assert set_cookies(await store_down.refresh()) == {}
    world.store.lose("rotate", times=1)
    assert set_cookies(await store_down.refresh()) == {}
    world.store.heal()
    forged = ann.copy()
    hold(forged, str(ann.tokens[1])[:-2] + "AA")
    assert set_cookies(await forged.refresh()) == {}
    assert (await ann.refresh()).status == 200


async def test_g12_a_lost_answer_can_be_asked_for_again(world: World) -> None:
    ann = await signed_in(world)
    world.store.lose("rotate", times=1)
    assert (await ann.refresh()).status == 503
    world.clock.advance(hours=10)
    assert (await ann.refresh()).status == 200
    await used(ann)


@pytest.mark.parametrize("path", ["/refresh", "/logout", "/login", "/ticket", "/sessions/revoke-others"])
async def test_g13_nothing_is_changed_by_a_get_or_a_prefetch(world: World, path: str) -> None:
    ann = await signed_in(world)
    before = dict(world.store.calls)
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = await ann.copy().send(method, path, headers=[(b"sec-purpose", b"prefetch")])
        assert answer.status == 405
        assert set_cookies(answer) == {}
    for verb in ("create", "rotate", "revoke", "revoke_all"):
        assert world.store.calls[verb] == before.get(verb, 0)


async def test_g1_without_a_grace_a_retry_that_was_used_is_reuse_at_once(world: World) -> None:
    routes = session_routes(world.sessions, tag="strict", mode=world.mode)  # type: ignore[arg-type]
    issued = await world.sessions.start(tag="strict", data={"userId": "ann"})
    ann = Person(routes, world.mode, token=issued.token, refresh_token=issued.refresh_token)
    if world.mode == "cookie":
        ann.jar = {ACCESS: issued.token, REFRESH: str(issued.refresh_token)}
    thief = ann.copy()
    await ann.refresh()
    await used(ann)
    assert (await thief.refresh()).status == 401
    assert await ann.session_id() is None
