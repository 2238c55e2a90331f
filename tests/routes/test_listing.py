"""Looking at one's sessions and ending them; somebody else's might as well not be there."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from ductape_asgi import Sessions, TagPolicy, new_access_key, session_routes
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import FlakyStore
from tests.asgi_client import Answer

from .support import ACCESS, REFRESH, TAG, Person, World, authenticate, problem, set_cookies

pytestmark = pytest.mark.anyio


async def devices(world: World, count: int, user: str = "ann") -> list[Person]:
    first = world.person()
    people = [first, *(world.another(first) for _ in range(count - 1))]
    for person in people:
        await person.sign_in(user)
        world.clock.advance(1)
    return people


async def ids(world: World, user: str = "ann") -> set[str]:
    return {info.session_id for info in await world.sessions.list(tag=TAG, identifier=user)}


async def test_the_list_is_the_one_of_the_product_page(world: World) -> None:
    phone, laptop = await devices(world, 2)
    answer = await laptop.send("GET", "/sessions")
    document = answer.json()
    assert set(document) == {"count", "sessions", "nextCursor"}
    assert (document["count"], document["nextCursor"]) == (2, None)
    assert [one["sessionId"] for one in document["sessions"]] == [await laptop.session_id(), await phone.session_id()]
    assert [one["isCurrent"] for one in document["sessions"]] == [True, False]
    assert document["sessions"][0] == {
        "sessionId": await laptop.session_id(),
        "tag": TAG,
        "identifier": "ann",
        "createdAt": "2027-01-15T08:00:01Z",
        "lastSeenAt": "2027-01-15T08:00:01Z",
        "expiresAt": "2027-02-14T08:00:01Z",
        "isCurrent": True,
        "client": {"ip": "203.0.113.9", "userAgent": None, "label": None},
    }


async def test_a_list_holds_no_token(world: World) -> None:
    for person in await devices(world, 2):
        body = (await person.send("GET", "/sessions")).body.decode()
        assert not any(token and token in body for token in person.tokens)


async def test_a_list_goes_on_page_by_page(world: World) -> None:
    people = await devices(world, 5)
    seen: list[str] = []
    query = b"limit=2"
    for _ in range(3):
        page = (await people[0].send("GET", "/sessions", query=query)).json()
        assert page["count"] == 5
        seen += [one["sessionId"] for one in page["sessions"]]
        query = f"limit=2&cursor={page['nextCursor']}".encode()
    assert page["nextCursor"] is None
    assert seen == [await person.session_id() for person in reversed(people)]


@pytest.mark.parametrize(
    "query",
    [b"limit=0", b"limit=1001", b"limit=-1", b"limit=x", b"limit=", b"limit=1&limit=2", b"cursor=x", b"cursor="],
)
async def test_a_query_that_makes_no_sense_is_refused(world: World, query: bytes) -> None:
    (ann,) = await devices(world, 1)
    assert problem(await ann.send("GET", "/sessions", query=query)) == (422, "invalid_query")


async def test_a_cursor_of_somebody_elses_list_is_refused(world: World) -> None:
    people = await devices(world, 2)
    (bob,) = await devices(world, 1, "bob")
    cursor = (await people[0].send("GET", "/sessions", query=b"limit=1")).json()["nextCursor"]
    answer = await bob.send("GET", "/sessions", query=f"cursor={cursor}".encode())
    assert problem(answer) == (422, "invalid_query")


async def test_one_session_is_ended(world: World) -> None:
    phone, laptop = await devices(world, 2)
    answer = await laptop.send("DELETE", f"/sessions/{await phone.session_id()}")
    assert (answer.status, set_cookies(answer)) == (204, {})
    assert await phone.session_id() is None
    assert await laptop.session_id() is not None


async def test_somebody_elses_session_is_not_found_and_stays_alive(world: World) -> None:
    (ann,) = await devices(world, 1)
    (bob,) = await devices(world, 1, "bob")
    theirs = await ann.session_id()
    refused = await bob.send("DELETE", f"/sessions/{theirs}")
    unknown = await bob.send("DELETE", f"/sessions/{'A' * 22}")
    assert problem(refused) == problem(unknown) == (404, "not_found")
    assert (refused.headers, refused.body) == (unknown.headers, unknown.body)
    assert await ann.session_id() == theirs


async def test_a_session_of_another_type_is_not_found_and_stays_alive(world: World) -> None:
    (ann,) = await devices(world, 1)
    other = await world.sessions.start(tag="checkout-session", data={"userId": "ann"})
    assert problem(await ann.send("DELETE", f"/sessions/{other.session_id}")) == (404, "not_found")
    assert (await world.sessions.list(tag="checkout-session", identifier="ann")).count == 1


async def test_a_session_that_is_over_is_not_found(world: World) -> None:
    (phone,) = await devices(world, 1)
    over = await phone.session_id()
    world.clock.advance(days=20)
    (laptop,) = await devices(world, 1)
    world.clock.advance(days=20)
    assert problem(await laptop.act("DELETE", f"/sessions/{over}")) == (404, "not_found")


async def test_a_ticket_is_no_session(world: World) -> None:
    (ann,) = await devices(world, 1)
    ticket = (await ann.send("POST", "/ticket")).json()["ticket"]
    claims = world.sessions.context().tickets.read([TAG], ticket)
    assert problem(await ann.send("DELETE", f"/sessions/{claims.ticket_id}")) == (404, "not_found")


@pytest.mark.parametrize("path", ["/sessions/", "/sessions/a/b", "/sessions/../login", "/sessions//", "/sessions/%00"])
async def test_what_is_no_session_id_ends_nothing(world: World, path: str) -> None:
    (ann,) = await devices(world, 1)
    assert (await ann.send("DELETE", path)).status in (404, 405)
    assert await ann.session_id() is not None


async def test_ending_the_session_one_is_in_is_signing_out(world: World) -> None:
    (ann,) = await devices(world, 1)
    answer = await ann.send("DELETE", f"/sessions/{await ann.session_id()}")
    assert answer.status == 204
    assert set_cookies(answer) == ({ACCESS: "", REFRESH: ""} if world.mode == "cookie" else {})
    assert await ids(world) == set()


async def test_all_others_are_ended(world: World) -> None:
    *others, laptop = await devices(world, 4)
    (bob,) = await devices(world, 1, "bob")
    answer = await laptop.act("POST", "/sessions/revoke-others")
    assert (answer.status, answer.json()) == (200, {"revoked": 3})
    assert [await person.session_id() for person in others] == [None] * 3
    assert await laptop.session_id() is not None
    assert await bob.session_id() is not None


async def end_others(person: Person, other: str) -> Answer:
    return await person.act("POST", "/sessions/revoke-others")


async def end_other(person: Person, other: str) -> Answer:
    return await person.act("DELETE", f"/sessions/{other}")


ending = pytest.mark.parametrize("end", [end_others, end_other])


@ending
@pytest.mark.parametrize("gone", ["expired", "absent"])
async def test_the_refresh_token_will_do(world: World, end: Any, gone: str) -> None:
    phone, laptop = await devices(world, 2)
    other = await phone.session_id()
    if gone == "expired":
        world.clock.advance(hours=2)
    else:
        laptop.lose_access_token()
    assert (await end(laptop, other)).status in (200, 204)
    assert other not in await ids(world)
    # It was not used up, and is good for what it is for.
    assert (await laptop.refresh()).status == 200
    assert await ids(world) == {await laptop.session_id()}


@ending
async def test_a_refresh_token_of_a_session_that_was_ended_ends_nothing(world: World, end: Any) -> None:
    phone, laptop = await devices(world, 2)
    other = str(await phone.session_id())
    await world.sessions.revoke(tag=TAG, session_id=str(await laptop.session_id()))
    laptop.lose_access_token()
    assert problem(await end(laptop, other)) == (401, "invalid_token")
    assert await ids(world) == {other}


@ending
async def test_an_access_token_of_a_session_that_was_ended_ends_nothing(world: World, end: Any) -> None:
    phone, laptop = await devices(world, 2)
    other = str(await phone.session_id())
    await world.sessions.revoke(tag=TAG, session_id=str(await laptop.session_id()))
    assert problem(await end(laptop, other)) == (401, "invalid_token")
    assert await ids(world) == {other}


@ending
async def test_an_old_refresh_token_ends_its_own_session_and_no_other(world: World, end: Any) -> None:
    phone, laptop = await devices(world, 2)
    other = str(await phone.session_id())
    thief = laptop.copy()
    for _ in range(2):
        await laptop.refresh()
        await laptop.session_id()
    thief.lose_access_token()
    assert problem(await end(thief, other)) == (401, "invalid_token")
    assert await ids(world) == {other}


@ending
async def test_the_refresh_token_before_the_newest_will_do_as_it_does_for_a_refresh(world: World, end: Any) -> None:
    phone, laptop = await devices(world, 2)
    other = str(await phone.session_id())
    late = laptop.copy()
    await laptop.refresh()
    late.lose_access_token()
    assert (await end(late, other)).status in (200, 204)
    assert await ids(world) == {await laptop.session_id()}


@ending
async def test_a_session_past_its_end_ends_nothing(world: World, end: Any) -> None:
    (laptop,) = await devices(world, 1)
    world.clock.advance(days=31)
    other = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    assert problem(await end(laptop, other.session_id)) == (401, "invalid_token")
    assert await ids(world) == {other.session_id}


@ending
@pytest.mark.parametrize("token", ["drt_junk", "junk", "\ud800", "drt_\ud800\u00e9"])
async def test_a_forged_refresh_token_ends_nothing(world: World, end: Any, token: str) -> None:
    phone, laptop = await devices(world, 2)
    other = str(await phone.session_id())
    laptop.lose_access_token()
    laptop.refresh_token = token
    laptop.jar[REFRESH] = token.encode("ascii", "replace").decode()
    calls = world.store.calls["verify"]
    assert problem(await end(laptop, other)) == (401, "invalid_token")
    assert world.store.calls["verify"] == calls
    assert len(await ids(world)) == 2


@ending
async def test_nobody_ends_nothing(world: World, end: Any) -> None:
    (ann,) = await devices(world, 1)
    other = str(await ann.session_id())
    assert problem(await end(world.another(ann), other)) == (401, "missing_token")
    assert await ids(world) == {other}


async def test_a_session_that_is_ended_meanwhile_ends_no_others(world: World) -> None:
    phone, laptop = await devices(world, 2)
    answers: list[Answer] = []

    async def end() -> None:
        answers.append(await end_others(laptop, ""))

    mine = str(await laptop.session_id())
    world.store.hang("revoke_all")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        await anyio.wait_all_tasks_blocked()
        await world.sessions.revoke(tag=TAG, session_id=mine)
        world.store.heal()
    assert problem(answers[0]) == (401, "invalid_token")
    assert await ids(world) == {await phone.session_id()}


class Silent(FlakyStore):
    """A store that does not announce what is new in its log."""

    def announced(self) -> memoryview | None:
        return None


async def test_the_store_is_asked_before_a_session_is_ended(mode: str) -> None:
    """What this worker has cached may be older than a sign-out in another one."""
    store, key = Silent(MemoryStore()), new_access_key()
    settings: dict[str, Any] = {"access_key": key, "product": "shop", "env": "prd", "store": store}
    async with Sessions(**settings) as here, Sessions(**settings) as elsewhere:
        routes = session_routes(here, tag=TAG, authenticate=authenticate, mode=mode)  # type: ignore[arg-type]
        phone, laptop = Person(routes, mode), Person(routes, mode)
        for person in (phone, laptop):
            await person.sign_in()
        mine, other = str(await laptop.session_id()), str(await phone.session_id())
        store.fail("log_since")
        await elsewhere.revoke(tag=TAG, session_id=mine)
        assert problem(await laptop.send("DELETE", f"/sessions/{other}")) == (401, "invalid_token")
        store.heal()
        assert (await here.list(tag=TAG, identifier="ann")).count == 1


@ending
async def test_a_sign_out_that_the_store_has_forgotten_stands(world: World, end: Any) -> None:
    phone, laptop = await devices(world, 2)
    other, mine = str(await phone.session_id()), str(await laptop.session_id())
    memory = world.store.store
    record = await memory.verify(mine, generation=-1)
    assert record is not None
    await world.sessions.revoke(tag=TAG, session_id=mine)
    memory._records[mine] = record  # type: ignore[attr-defined]
    laptop.lose_access_token()
    assert problem(await end(laptop, other)) == (401, "invalid_token")
    assert other in await ids(world)


@ending
async def test_while_the_store_is_down_nothing_is_ended_or_cleared(world: World, end: Any) -> None:
    phone, laptop = await devices(world, 2)
    other = str(await phone.session_id())
    for verbs in (("verify",), ("revoke", "revoke_all")):
        world.store.fail(*verbs)
        answer = await end(laptop, other)
        assert problem(answer) == (503, "store_unavailable")
        assert set_cookies(answer) == {}
        world.store.heal()
    assert len(await ids(world)) == 2


@ending
async def test_ending_other_sessions_may_need_a_recent_sign_in(world: World, end: Any) -> None:
    phone = world.person(recent_auth="5m")
    laptop = world.another(phone)
    for person in (phone, laptop):
        await person.sign_in()
    other = str(await phone.session_id())
    world.clock.advance(301)
    refused = await end(laptop, other)
    assert problem(refused) == (401, "step_up_required")
    assert 'max_age="300"' in (refused.header("www-authenticate") or "")
    # A refresh is no sign-in, whichever token says who it is.
    await laptop.refresh()
    assert problem(await end(laptop, other)) == (401, "step_up_required")
    by_refresh = laptop.copy()
    by_refresh.lose_access_token()
    assert problem(await end(by_refresh, other)) == (401, "step_up_required")
    assert len(await ids(world)) == 2
    # To leave oneself, none is needed; and after a sign-in it is allowed.
    assert (await laptop.act("DELETE", f"/sessions/{await laptop.session_id()}")).status == 204
    laptop.token = laptop.refresh_token = None
    await laptop.sign_in()
    assert (await end(laptop, other)).status in (200, 204)
    assert await ids(world) == {await laptop.session_id()}


async def test_an_anonymous_session_has_no_others(mode: str) -> None:
    async def guest(request: Any) -> tuple[None, dict[str, str]]:
        return None, {"cart": "7"}

    tags = [TagPolicy(TAG, anonymous=True)]
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store="memory://", tags=tags
    ) as sessions:
        routes = session_routes(sessions, authenticate=guest, mode=mode)  # type: ignore[arg-type]
        one, two = Person(routes, mode), Person(routes, mode)
        for person in (one, two):
            await person.sign_in()
        for method, path in (("GET", "/sessions"), ("POST", "/sessions/revoke-others")):
            assert problem(await one.send(method, path)) == (403, "access_denied")
        assert problem(await one.send("DELETE", f"/sessions/{await two.session_id()}")) == (404, "not_found")
        assert (await one.send("GET", "/session")).json()["identifier"] is None
        assert (await one.send("DELETE", f"/sessions/{await one.session_id()}")).status == 204
        assert await one.session_id() is None
        assert await two.session_id() is not None
