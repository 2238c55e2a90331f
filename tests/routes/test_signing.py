"""Signing in, going on and signing out, in cookies and with bearer tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from ductape_asgi import IssuedSession, Sessions, StoreUnavailable, TagPolicy, Throttle, new_access_key, session_routes
from ductape_asgi.testing import SessionClock
from tests.asgi_client import Answer, call, scope_of

from .support import ACCESS, CROSS, OWN, REFRESH, TAG, Person, World, authenticate, claimed, problem, set_cookies

pytestmark = pytest.mark.anyio

only_cookies = pytest.mark.parametrize("mode", ["cookie"])
only_bearer = pytest.mark.parametrize("mode", ["bearer"])


@dataclass
class Cart:
    user: str
    items: list[str]


BODY = {"sessionId", "expiresAt", "sessionExpiresAt"}


# Signing in.


async def test_a_sign_in_gives_tokens_in_one_place(world: World) -> None:
    ann = world.person()
    answer = await ann.sign_in()
    assert answer.status == 200
    assert set(answer.json()) == (BODY if world.mode == "cookie" else BODY | {"token", "refreshToken"})
    assert answer.json()["expiresAt"] == "2027-01-15T08:15:00Z"
    assert answer.json()["sessionExpiresAt"] == "2027-02-14T08:00:00Z"
    token, refresh_token = ann.tokens
    assert (await world.sessions.verify(tag=TAG, token=token)).session_id == answer.json()["sessionId"]
    assert (refresh_token or "").startswith("drt_")


@only_cookies
async def test_cookies_last_until_the_session_ends(world: World) -> None:
    answer = await world.person().sign_in()
    lines = [value.decode() for name, value in answer.headers if name == b"set-cookie"]
    assert len(lines) == 2
    assert all("; Max-Age=2592000; " in line for line in lines)


async def test_wrong_credentials_are_refused_and_nothing_is_given(world: World) -> None:
    ann = world.person()
    answer = await ann.sign_in(password="guessed")
    assert problem(answer) == (401, "sign_in_refused")
    assert set_cookies(answer) == {}
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_the_session_says_who_signed_in_and_from_where(world: World) -> None:
    ann = world.person()
    await ann.sign_in(headers=[(b"user-agent", b"Mozilla/5.0 (X11; Linux) Firefox/140.0")])
    (info,) = (await world.sessions.list(tag=TAG, identifier="ann")).sessions
    assert (info.client.ip, info.client.label) == ("203.0.113.9", "Firefox on Linux")
    await ann.refresh(headers=[(b"user-agent", b"curl/8")])
    (info,) = (await world.sessions.list(tag=TAG, identifier="ann")).sessions
    assert info.client.user_agent == "curl/8"


async def test_without_authenticate_there_is_no_sign_in(world: World) -> None:
    assert problem(await world.person(authenticate=None).sign_in()) == (404, "not_found")


async def test_what_authenticate_raises_is_the_apps(world: World) -> None:
    async def broken(request: Any) -> None:
        raise LookupError("the table of users is gone")

    with pytest.raises(LookupError):
        await world.person(authenticate=broken).sign_in()
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_an_error_of_ours_out_of_authenticate_is_answered(world: World) -> None:
    async def down(request: Any) -> None:
        raise StoreUnavailable("the directory does not answer")

    answer = await world.person(authenticate=down).sign_in()
    assert problem(answer) == (503, "store_unavailable")
    assert answer.header("retry-after") == "1"


@pytest.mark.parametrize("answer", ["ann", ("ann",), ["ann", {}], True, ("ann", {}, 1)])
async def test_an_answer_that_is_no_pair_signs_nobody_in(world: World, answer: object) -> None:
    async def odd(request: Any) -> Any:
        return answer

    assert problem(await world.person(authenticate=odd).sign_in()) == (500, "configuration_error")
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_a_plain_function_is_no_authenticate(world: World) -> None:
    answer = await world.person(authenticate=lambda request: ("ann", {"userId": "ann"})).sign_in()
    assert problem(answer) == (500, "configuration_error")


@pytest.mark.parametrize("as_form", [True, False])
async def test_authenticate_and_the_throttles_reader_may_both_read_the_body(world: World, as_form: bool) -> None:
    async def fields(request: Any) -> Any:
        return await request.form() if as_form else await request.json()

    async def who(request: Any) -> str:
        return str((await fields(request))["user"])

    async def check(request: Any) -> tuple[str, dict[str, str]]:
        assert await request.body()
        return await who(request), {"userId": await who(request)}

    ann = world.person(authenticate=check, login_identifier=who)
    if as_form:
        kind = (b"content-type", b"application/x-www-form-urlencoded")
        answer = await ann.send("POST", "/login", body=[b"user=a", b"nn&password=x"], headers=[kind])
    else:
        answer = await ann.sign_in()
    assert answer.status == 200
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 1


async def test_a_sign_in_longer_than_the_bound_is_not_read(world: World) -> None:
    ann = world.person(max_body=100)
    assert problem(await ann.send("POST", "/login", body=[b"x" * 60] * 2)) == (413, "body_too_large")
    told = [(b"content-length", b"101")]
    assert problem(await ann.send("POST", "/login", body=b"", headers=told)) == (413, "body_too_large")


async def test_data_that_no_token_holds_is_refused_at_the_sign_in(world: World) -> None:
    async def heavy(request: Any) -> tuple[str, dict[str, str]]:
        return "ann", {"userId": "ann", "note": "x" * 9000}

    assert problem(await world.person(authenticate=heavy).sign_in()) == (413, "data_too_large")


async def test_a_client_that_goes_in_mid_body_is_answered_nothing(world: World) -> None:
    sent: list[Any] = []

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await world.routes()(scope_of(method="POST", path="/login", headers=[OWN]), gone, send)
    assert sent == []


# A new session each time.


async def test_a_second_sign_in_ends_the_first_session_and_changes_the_id(world: World) -> None:
    ann = world.person()
    first = (await ann.sign_in()).json()["sessionId"]
    before = ann.copy()
    second = (await ann.sign_in()).json()["sessionId"]
    assert first != second
    assert await before.session_id() is None
    assert await ann.session_id() == second
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 1


async def test_somebody_else_signing_in_at_the_same_browser_ends_the_first_session(world: World) -> None:
    person = world.person()
    await person.sign_in("ann")
    before = person.copy()
    await person.sign_in("bob")
    assert await before.session_id() is None
    assert (await before.refresh()).status == 401
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_an_expired_access_token_still_tells_which_session_is_left(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    world.clock.advance(hours=2)
    await ann.sign_in()
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 1


async def test_a_failed_sign_in_leaves_the_session_that_there_is(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    assert (await ann.sign_in(password="guessed")).status == 401
    assert await ann.session_id() is not None


@only_cookies
async def test_cookies_of_two_sessions_are_both_left_behind(world: World) -> None:
    ann, bob = world.person(), world.person()
    await ann.sign_in("ann")
    await bob.sign_in("bob")
    ann.jar[REFRESH] = bob.jar[REFRESH]
    assert (await ann.sign_in("cid")).status == 200
    for name in ("ann", "bob"):
        assert (await world.sessions.list(tag=TAG, identifier=name)).count == 0


@only_cookies
async def test_junk_in_the_cookies_keeps_nobody_from_signing_in(world: World) -> None:
    for junk in ({ACCESS: "junk"}, {REFRESH: "drt_junk"}, {ACCESS: "", REFRESH: ""}):
        ann = world.person()
        ann.jar.update(junk)
        assert (await ann.sign_in()).status == 200
        assert await ann.session_id() is not None


@only_cookies
async def test_a_sign_in_from_another_site_is_refused(world: World) -> None:
    ann = world.person()
    for origin in (CROSS, None):
        assert problem(await ann.sign_in(origin=origin)) == (403, "csrf_rejected")
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


@only_bearer
async def test_bearer_mode_needs_no_rule_about_origins(world: World) -> None:
    ann = world.person()
    assert (await ann.sign_in(origin=None)).status == 200
    assert (await ann.refresh(origin=None)).status == 200


# Going on.


async def test_a_refresh_rotates_and_the_session_stays(world: World) -> None:
    ann = world.person()
    before = (await ann.sign_in()).json()["sessionId"]
    old = ann.tokens
    world.clock.advance(hours=1)
    answer = await ann.refresh()
    assert answer.status == 200
    assert answer.json()["sessionId"] == before == await ann.session_id()
    assert answer.json()["expiresAt"] == "2027-01-15T09:15:00Z"
    assert old[0] != ann.tokens[0]
    assert old[1] != ann.tokens[1]


async def test_twenty_refreshes_at_once_are_one_rotation(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    world.clock.advance(hours=1)
    tabs = [ann.copy() for _ in range(20)]
    answers: list[Answer] = []

    async def refresh(tab: Person) -> None:
        answers.append(await tab.refresh())

    async with anyio.create_task_group() as tasks:
        for tab in tabs:
            tasks.start_soon(refresh, tab)
    assert [answer.status for answer in answers] == [200] * 20
    assert len({tab.tokens[1] for tab in tabs}) == 1
    assert tabs[0].tokens[1] != ann.tokens[1]
    record = await world.sessions.worker.guarded.verify(answers[0].json()["sessionId"], generation=-1)
    assert record is not None
    assert record.generation == 1
    assert await tabs[7].session_id() is not None


async def test_without_a_refresh_token_there_is_nothing_to_refresh(world: World) -> None:
    ann = world.person()
    answer = await ann.send("POST", "/refresh")
    assert problem(answer) == (401, "missing_token")
    assert set_cookies(answer) == {}


@pytest.mark.parametrize("token", ["junk", "drt_", "drt_" + "A" * 100, "x" * 4000])
async def test_a_forged_refresh_token_is_refused_and_clears_nothing(world: World, token: str) -> None:
    ann = world.person()
    if world.mode == "cookie":
        ann.jar[REFRESH] = token
    ann.refresh_token = token
    answer = await ann.refresh()
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == {}


async def test_an_access_token_does_not_refresh(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    ann.refresh_token = ann.jar[REFRESH] = str(ann.tokens[0])
    assert problem(await ann.refresh()) == (401, "invalid_token")


async def over_by_revocation(world: World, ann: Person) -> None:
    await world.sessions.revoke_all(tag=TAG, identifier="ann")


async def over_by_time(world: World, ann: Person) -> None:
    world.clock.advance(days=31)


async def over_by_reuse(world: World, ann: Person) -> None:
    thief = ann.copy()
    for _ in range(2):
        await thief.refresh()
        await thief.session_id()


@pytest.mark.parametrize("over", [over_by_revocation, over_by_time, over_by_reuse])
async def test_a_refresh_of_a_session_that_is_over_clears_no_cookies(world: World, over: Any) -> None:
    """It may come late: after a sign-in, whose cookies it would take away."""
    ann = world.person()
    await ann.sign_in()
    await over(world, ann)
    answer = await ann.refresh()
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == {}


async def test_the_loser_of_a_race_clears_nothing(world: World) -> None:
    """P3: whoever comes late with the token before gets the same child, not a sign-out."""
    ann = world.person()
    await ann.sign_in()
    late = ann.copy()
    await ann.refresh()
    await ann.session_id()
    world.clock.advance(9)
    answer = await late.refresh()
    assert answer.status == 200
    assert late.tokens[1] == ann.tokens[1]
    assert "" not in set_cookies(answer).values()


async def test_an_answer_that_was_lost_signs_nobody_out(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    lost = ann.copy()
    await lost.refresh()  # whose answer never came
    world.clock.advance(hours=5)
    assert (await ann.refresh()).status == 200
    assert ann.tokens[1] == lost.tokens[1]


@only_cookies
async def test_cookies_of_two_sessions_refresh_neither(world: World) -> None:
    ann, bob = world.person(), world.person()
    await ann.sign_in("ann")
    await bob.sign_in("bob")
    mixed = ann.copy()
    mixed.jar[REFRESH] = bob.jar[REFRESH]
    answer = await mixed.refresh()
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == {}
    for person in (ann, bob):
        assert (await person.refresh()).status == 200


@only_cookies
async def test_a_cookie_that_stands_twice_is_refused(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    twice = [(b"cookie", f"{REFRESH}={ann.jar[REFRESH]}".encode())]
    answer = await ann.refresh(headers=twice)
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == {}


@only_cookies
async def test_in_cookie_mode_a_body_refreshes_nothing(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    token, ann.jar = ann.jar[REFRESH], {}
    assert problem(await ann.send("POST", "/refresh", json={"refreshToken": token})) == (401, "missing_token")


@only_bearer
async def test_in_bearer_mode_no_cookie_is_looked_at(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    jar = [(b"cookie", f"{ACCESS}={ann.token}; {REFRESH}={ann.refresh_token}".encode())]
    ann.token = ann.refresh_token = None
    for method, path in (("GET", "/session"), ("GET", "/sessions"), ("POST", "/refresh"), ("POST", "/logout")):
        assert problem(await ann.send(method, path, headers=jar)) == (401, "missing_token")
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 1


async def test_a_session_type_without_refresh_tokens_has_none(mode: str) -> None:
    tags = [TagPolicy(TAG, refresh=False)]
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store="memory://", tags=tags
    ) as sessions:
        ann = Person(session_routes(sessions, authenticate=authenticate, mode=mode), mode)  # type: ignore[arg-type]
        answer = await ann.sign_in()
        assert answer.status == 200
        assert await ann.session_id() is not None
        assert (await ann.refresh()).status == 401
        if mode == "bearer":
            assert answer.json()["refreshToken"] is None


# Signing out.


async def test_a_sign_out_ends_the_session_and_takes_the_cookies(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    before = ann.copy()
    answer = await ann.act("POST", "/logout")
    assert (answer.status, answer.body) == (204, b"")
    assert set_cookies(answer) == ({ACCESS: "", REFRESH: ""} if world.mode == "cookie" else {})
    assert ann.jar == {}
    assert await before.session_id() is None
    assert (await before.refresh()).status == 401


async def test_signing_out_works_with_an_expired_access_token_alone(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    world.clock.advance(hours=3)
    ann.refresh_token = None
    ann.jar.pop(REFRESH, None)
    assert (await ann.act("POST", "/logout")).status == 204
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_signing_out_works_with_the_refresh_token_alone(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    ann.lose_access_token()
    assert (await ann.act("POST", "/logout")).status == 204
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_signing_out_twice_is_no_error(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    again = ann.copy()
    await ann.act("POST", "/logout")
    answer = await again.act("POST", "/logout")
    assert answer.status == 204
    assert again.jar == {}
    if world.mode == "cookie":
        assert (await again.act("POST", "/logout")).status == 204
    else:
        again.token = again.refresh_token = None
        assert problem(await again.act("POST", "/logout")) == (401, "missing_token")


async def test_while_the_store_is_down_nobody_is_signed_out_and_no_cookie_is_cleared(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    before = dict(ann.jar)
    for verb in ("revoke", "rotate"):
        world.store.fail(verb)
    for answer in (await ann.act("POST", "/logout"), await ann.refresh()):
        assert problem(answer) == (503, "store_unavailable")
        assert answer.header("retry-after") == "1"
        assert set_cookies(answer) == {}
    world.store.heal()
    assert ann.jar == before
    assert await ann.session_id() is not None


@pytest.mark.parametrize("junk", ["junk", "eyJ.eyJ.sig"])
async def test_signing_out_with_tokens_that_are_nobodys_says_so(world: World, junk: str) -> None:
    ann = world.person()
    ann.token, ann.jar = junk, {ACCESS: junk, REFRESH: junk}
    answer = await ann.send("POST", "/logout")
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == ({ACCESS: "", REFRESH: ""} if world.mode == "cookie" else {})


@only_cookies
async def test_one_good_cookie_is_enough_to_sign_out(world: World) -> None:
    for bad in (ACCESS, REFRESH):
        ann = world.person()
        await ann.sign_in()
        ann.jar[bad] = "junk"
        assert (await ann.send("POST", "/logout")).status == 204
        assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


@only_cookies
async def test_a_cookie_that_stands_twice_keeps_nobody_signed_in(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    planted = [(b"cookie", f"{ACCESS}=planted; {REFRESH}=planted".encode())]
    answer = await ann.send("POST", "/logout", headers=[(b"cookie", f"{ACCESS}=planted".encode())])
    assert (answer.status, ann.jar) == (204, {})
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0
    await ann.sign_in()
    answer = await ann.send("POST", "/logout", headers=planted)  # nothing is left to go by
    assert problem(answer) == (401, "invalid_token")
    assert ann.jar == {}


@only_cookies
async def test_the_cookies_of_two_people_act_for_neither(world: World) -> None:
    ann, eve = world.person(), world.person()
    await ann.sign_in()
    await eve.sign_in("eve")
    world.clock.advance(minutes=20)
    ann.jar[REFRESH] = eve.jar[REFRESH]
    assert problem(await ann.send("POST", "/sessions/revoke-others")) == (401, "invalid_token")
    page = scope_of(method="GET", path="/dashboard", headers=ann._credentials())
    assert (await call(ann.app, scope=page)).status == 401


async def test_bodies_that_are_no_json_are_told_so_and_counted(world: World) -> None:
    app = world.routes(login_identifier=claimed, throttle=Throttle())
    for reader in (app, world.routes(throttle=Throttle())):
        answers = [await Person(reader, world.mode).send("POST", "/login", body=b"junk") for _ in range(31)]
        assert [problem(answer)[1] for answer in answers[:30]] == ["invalid_body"] * 30
        assert answers[30].status == 429


@only_cookies
async def test_a_bad_bearer_token_never_falls_back_to_the_cookie(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    for path, method in (("/logout", "POST"), ("/session", "GET"), ("/sessions/revoke-others", "POST")):
        for header in (b"Bearer junk", b"Bearer", b"Bearer  two"):
            kept = dict(ann.jar)
            answer = await ann.send(method, path, headers=[(b"authorization", header)])
            assert problem(answer)[0] == 401
            assert ann.jar == kept
    assert await ann.session_id() is not None


@only_cookies
async def test_another_scheme_is_somebody_elses(world: World) -> None:
    ann = world.person()
    await ann.sign_in()
    basic = [(b"authorization", b"Basic YW5uOng=")]
    assert (await ann.send("GET", "/session", headers=basic)).status == 200
    assert problem(await ann.send("POST", "/logout", headers=basic, origin=CROSS)) == (403, "csrf_rejected")


@only_cookies
async def test_a_bearer_token_will_do_in_cookie_mode_and_needs_no_origin(world: World) -> None:
    issued: IssuedSession = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    tool = world.person()
    header = [(b"authorization", f"Bearer {issued.token}".encode())]
    assert (await tool.send("GET", "/session", headers=header, origin=None)).json()["sessionId"] == issued.session_id
    assert (await tool.send("POST", "/logout", headers=header, origin=None)).status == 204
    assert (await world.sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_a_token_of_another_session_type_signs_nobody_out(world: World) -> None:
    other = await world.sessions.start(tag="checkout-session", data={"userId": "ann"})
    ann = world.person()
    ann.token, ann.jar = other.token, {ACCESS: other.token}
    assert problem(await ann.send("POST", "/logout")) == (401, "invalid_token")
    assert (await world.sessions.list(tag="checkout-session", identifier="ann")).count == 1


# Who is signed in.


async def test_the_session_is_told_to_whoever_has_it(world: World) -> None:
    ann = world.person()
    session_id = (await ann.sign_in()).json()["sessionId"]
    answer = await ann.send("GET", "/session")
    assert answer.json() == {
        "sessionId": session_id,
        "tag": TAG,
        "identifier": "ann",
        "data": {"userId": "ann", "role": "user", "note": "ann-who-likes-it-quiet"},
        "expiresAt": "2027-01-15T08:15:00Z",
    }


async def test_nobody_is_told_nothing(world: World) -> None:
    nobody = world.person()
    assert problem(await nobody.send("GET", "/session")) == (401, "missing_token")
    await nobody.sign_in()
    world.clock.advance(hours=1)
    answer = await nobody.send("GET", "/session")
    assert problem(answer) == (401, "invalid_token")
    assert set_cookies(answer) == {}


async def test_a_ticket_is_for_the_session_that_asked(world: World) -> None:
    ann = world.person()
    session_id = (await ann.sign_in()).json()["sessionId"]
    answer = await ann.send("POST", "/ticket")
    assert answer.json()["expiresIn"] == 30
    context = world.sessions.context()
    claims = context.tickets.read([TAG], answer.json()["ticket"])
    assert claims.session_id == session_id
    assert problem(await world.another(ann).send("POST", "/ticket")) == (401, "missing_token")


async def test_data_with_a_schema_is_told_as_json(mode: str) -> None:
    async def sign(request: Any) -> tuple[str, Cart]:
        return "ann", Cart("ann", ["tea \u2615"])

    tags = [TagPolicy(TAG, schema=Cart, selector="user")]
    async with Sessions(
        access_key=new_access_key(), product="shop", env="prd", store="memory://", tags=tags, clock=SessionClock()
    ) as sessions:
        ann = Person(session_routes(sessions, authenticate=sign, mode=mode), mode)  # type: ignore[arg-type]
        assert (await ann.sign_in()).status == 200
        assert (await ann.send("GET", "/session")).json()["data"] == {"user": "ann", "items": ["tea \u2615"]}


async def test_head_is_answered_without_a_body(world: World) -> None:
    answer = await call(world.routes(), method="HEAD", path="/jwks.json")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.header("content-length") or "0") > 0
