"""Group F: what the cache of verified tokens must never do."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from jwt.algorithms import OKPAlgorithm

from ductape_asgi import (
    AccessDenied,
    ConfigurationError,
    DuctapeMiddleware,
    ExpiredToken,
    InvalidToken,
    RevokedSession,
    SessionError,
    StoreUnavailable,
    TagPolicy,
    require_role,
)
from ductape_asgi.keys import new_access_key

from .asgi import App, bearer, call, cookie
from .conftest import MakeForge
from .forge import TAG, CountingStore, Forge

pytestmark = pytest.mark.anyio

REFUSED = (RevokedSession, InvalidToken)


@pytest.fixture
async def warm(make_forge: MakeForge, any_store: CountingStore) -> Forge:
    """A session whose token is in the cache, on each embedded store."""
    forge = await make_forge(store=any_store)
    await verify(forge)
    forge.store.calls.clear()
    return forge


async def verify(forge: Forge, token: str | None = None) -> Any:
    return await forge.sessions.verify(tag=TAG, token=token or forge.token)


async def test_a_hit_costs_no_call_to_the_store(warm: Forge) -> None:
    for _ in range(10):
        await verify(warm)

    assert not warm.store.calls


# -- F1, F2: whose entry is it -----------------------------------------------------------------------------------------


async def test_f1_a_token_that_shares_head_or_tail_with_a_cached_one_is_no_hit(warm: Forge) -> None:
    """CVE-2026-35030 used the first twenty characters as the key."""
    token = warm.token
    for position in range(0, len(token), 7):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(InvalidToken):
            await verify(warm, token[:position] + other + token[position + 1 :])


async def test_f1_the_tail_of_one_token_on_the_body_of_another_is_no_hit(warm: Forge) -> None:
    other = await warm.sessions.start(tag=TAG, data={"userId": "bob"})
    await verify(warm, other.token)
    header, payload, _ = warm.parts

    for mixture in (
        f"{header}.{payload}.{other.token.split('.')[2]}",
        f"{other.token.rpartition('.')[0]}.{warm.parts[2]}",
        other.token[:-22] + warm.token[-22:],
        "x" + warm.token,
        warm.token[-22:],
    ):
        with pytest.raises(InvalidToken):
            await verify(warm, mixture)


async def test_f2_an_entry_of_one_tag_does_not_serve_another(warm: Forge) -> None:
    with pytest.raises(InvalidToken):
        await warm.sessions.verify(tag="checkout-session", token=warm.token)


async def test_f2_an_entry_of_one_realm_does_not_serve_another(warm: Forge) -> None:
    for realm in ({"product": "other"}, {"env": "dev"}):
        with pytest.raises(InvalidToken):
            await warm.sessions.verify(tag=TAG, token=warm.token, **realm)


async def test_f2_two_middlewares_share_a_cache_and_not_their_rules(warm: Forge) -> None:
    app = App()
    shop = DuctapeMiddleware(app, sessions=warm.sessions, tag=TAG, required=True)
    checkout = DuctapeMiddleware(app, sessions=warm.sessions, tag="checkout-session", required=True)
    both = DuctapeMiddleware(app, sessions=warm.sessions, tag=(TAG, "checkout-session"), required=True)

    for _ in range(2):  # the second time from the cache
        assert (await call(shop, headers=[bearer(warm.token)])).status == 200
        assert (await call(checkout, headers=[bearer(warm.token)])).status == 401
        assert (await call(both, headers=[bearer(warm.token)])).status == 200
        assert (await call(shop, headers=[cookie(warm.token)])).status == 200
        assert (await call(checkout, headers=[cookie(warm.token)])).status == 401


async def test_f2_a_bearer_entry_does_not_open_the_cookie_door_where_cookies_are_not_taken(warm: Forge) -> None:
    from ductape_asgi import Bearer

    only_bearer = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True, credentials=(Bearer(),))

    assert (await call(only_bearer, headers=[bearer(warm.token)])).status == 200
    assert (await call(only_bearer, headers=[cookie(warm.token)])).status == 401


async def test_f2_a_cached_cookie_still_has_to_pass_the_csrf_rule(warm: Forge) -> None:
    app = App()
    middleware = DuctapeMiddleware(app, sessions=warm.sessions, tag=TAG)
    assert (await call(middleware, headers=[cookie(warm.token)])).session is not None
    ran = len(app.scopes)

    crossing = [cookie(warm.token), (b"sec-fetch-site", b"cross-site")]
    answer = await call(middleware, method="POST", headers=crossing)

    assert answer.status == 403
    assert len(app.scopes) == ran


# -- F3: clocks --------------------------------------------------------------------------------------------------------


async def test_f3_a_hit_ends_with_its_token(warm: Forge) -> None:
    warm.clock.now = warm.claims["exp"] + 4
    await verify(warm)

    warm.clock.now = warm.claims["exp"] + 5
    with pytest.raises(ExpiredToken):
        await verify(warm)


@pytest.mark.parametrize("step", [-3600, -400 * 86_400], ids=["F3-an-hour-back", "F3-400-days-back"])
async def test_a_clock_that_steps_back_makes_the_token_one_from_the_future(warm: Forge, step: int) -> None:
    warm.clock.advance(step)
    with pytest.raises(InvalidToken):
        await verify(warm)

    warm.clock.advance(-step)
    assert (await verify(warm)).identifier == "ann"


@pytest.mark.parametrize("step", [3600, 400 * 86_400], ids=["F3-an-hour-on", "F3-400-days-on"])
async def test_a_clock_that_steps_on_ends_the_token(warm: Forge, step: int) -> None:
    warm.clock.advance(step)
    with pytest.raises(ExpiredToken):
        await verify(warm)


async def test_f3_a_small_step_back_within_the_leeway_harms_nobody(warm: Forge) -> None:
    warm.clock.advance(-5)

    assert (await verify(warm)).identifier == "ann"


async def test_f3_the_middleware_minds_the_clock_on_hits_too(warm: Forge) -> None:
    middleware = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True)
    for credential in (bearer(warm.token), cookie(warm.token)):
        for moment, status in ((0, 200), (-3600, 401), (904, 200), (905, 401), (10**8, 401), (0, 200)):
            warm.clock.now = warm.claims["iat"] + moment
            assert (await call(middleware, headers=[credential])).status == status, (credential[0], moment)


# -- F4: what ends a session ends its hits -----------------------------------------------------------------------------


async def _revoke(f: Forge) -> object:
    return await f.sessions.revoke(tag=TAG, session_id=f.issued.session_id)


async def _revoke_all(f: Forge) -> object:
    return await f.sessions.revoke_all(tag=TAG, identifier="ann")


async def _revoke_others(f: Forge) -> object:
    other = await f.sessions.start(tag=TAG, data={"userId": "ann"})
    return await f.sessions.revoke_all(tag=TAG, identifier="ann", exclude_current_session=other.session_id)


async def _replace(f: Forge) -> object:
    return await f.sessions.start(tag=TAG, data={"userId": "ann"}, replaces=f.issued.session_id)


async def _reuse(f: Forge) -> object:
    stolen = f.issued.refresh_token
    child = await f.sessions.refresh(tag=TAG, refresh_token=stolen)
    await f.sessions.refresh(tag=TAG, refresh_token=child.refresh_token)
    with pytest.raises(SessionError):
        await f.sessions.refresh(tag=TAG, refresh_token=stolen)
    return True


ENDINGS: dict[str, Callable[[Forge], Any]] = {
    "F4-revoke": _revoke,
    "F4-revoke-all": _revoke_all,
    "F4-revoke-others": _revoke_others,
    "F4-replaced": _replace,
    "F4-refresh-reused": _reuse,
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
async def test_a_session_that_has_ended_is_refused_although_cached(warm: Forge, end: Callable[[Forge], Any]) -> None:
    middleware = DuctapeMiddleware(App(), sessions=warm.sessions, tag=TAG, required=True)
    for credential in (bearer(warm.token), cookie(warm.token)):
        assert (await call(middleware, headers=[credential])).status == 200

    await end(warm)

    with pytest.raises(REFUSED):
        await verify(warm)
    for credential in (bearer(warm.token), cookie(warm.token)):
        assert (await call(middleware, headers=[credential])).status == 401


async def test_f4_max_sessions_evicts_the_earliest_from_the_cache_too(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, tags=[TagPolicy(TAG, max_sessions=1)])
    await verify(forge)

    await forge.sessions.start(tag=TAG, data={"userId": "ann"})

    with pytest.raises(RevokedSession):
        await verify(forge)


async def test_f4_the_sessions_own_end_ends_its_hits_without_leeway(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, tags=[TagPolicy(TAG, session_ttl=600)])
    await verify(forge)

    forge.clock.now = forge.claims["iat"] + 599
    await verify(forge)
    forge.clock.now = forge.claims["iat"] + 600
    with pytest.raises(ExpiredToken):
        await verify(forge)


async def test_f4_a_worker_with_a_shorter_life_for_tokens_or_without_the_tag_refuses(
    warm: Forge, make_forge: MakeForge, any_store: CountingStore
) -> None:
    without = await make_forge(store=CountingStore(any_store._store), tags=[TagPolicy("other"), TagPolicy(TAG)])
    assert (await verify(without, warm.token)).identifier == "ann"

    with pytest.raises(ConfigurationError):
        await without.sessions.verify(tag="retired-session", token=warm.token)


async def test_f4_without_its_key_a_cached_token_is_refused(
    warm: Forge, make_forge: MakeForge, any_store: CountingStore
) -> None:
    rolled = await make_forge(store=any_store, access_key=new_access_key())

    with pytest.raises(InvalidToken):
        await verify(rolled, warm.token)


# -- F5: resurrection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"], ids="F5-revoked-{}-the-store-was-read".format)
@pytest.mark.parametrize("end", [_revoke, _revoke_all], ids=["one", "all"])
async def test_a_verification_in_flight_does_not_bring_a_revoked_session_back(
    make_forge: MakeForge, any_store: CountingStore, moment: str, end: Callable[[Forge], Any]
) -> None:
    forge = await make_forge(store=any_store)
    reached, go_on = anyio.Event(), anyio.Event()

    async def pause(name: str) -> None:
        if name == "verify" and not reached.is_set():
            reached.set()
            await go_on.wait()

    setattr(forge.store, moment, pause)
    outcomes: list[object] = []

    async def in_flight() -> None:
        try:
            outcomes.append(await verify(forge))
        except SessionError as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_flight)
        await reached.wait()
        await end(forge)
        with pytest.raises(RevokedSession):  # it started after the revoke: the flight must not carry it
            await verify(forge)
        go_on.set()

    assert len(outcomes) == 1
    for _ in range(3):
        with pytest.raises(RevokedSession):
            await verify(forge)


async def test_f5_an_update_in_flight_is_not_undone_by_a_slower_verification(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, data={"userId": "ann", "role": "admin"})
    reached, go_on = anyio.Event(), anyio.Event()

    async def pause(name: str) -> None:
        if name == "verify" and not reached.is_set():
            reached.set()
            await go_on.wait()

    forge.store.after = pause

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(verify, forge)
        await reached.wait()
        await forge.sessions.update(tag=TAG, identifier="ann", data={"userId": "ann", "role": "user"})
        assert (await verify(forge)).roles == {"user"}
        go_on.set()

    assert (await verify(forge)).roles == {"user"}


# -- F6, F7: what is in the entry --------------------------------------------------------------------------------------

MUTATIONS: dict[str, Callable[[Any], object]] = {
    "F6-item": lambda data: data.__setitem__("role", "admin"),
    "F6-delete": lambda data: data.__delitem__("role"),
    "F6-update": lambda data: data.update(role="admin"),
    "F6-or": lambda data: data.__ior__({"role": "admin"}),
    "F6-pop": lambda data: data.pop("role"),
    "F6-setdefault": lambda data: data.setdefault("admin", True),
    "F6-clear": lambda data: data.clear(),
    "F6-init-again": lambda data: data.__init__(role="admin"),
    "F6-list-append": lambda data: data["groups"].append("admins"),
    "F6-list-item": lambda data: data["groups"].__setitem__(0, "admins"),
    "F6-list-iadd": lambda data: data["groups"].__iadd__(["admins"]),
    "F6-list-sort": lambda data: data["groups"].sort(),
    "F6-nested-dict": lambda data: data["profile"].__setitem__("level", 9),
    "F6-list-in-dict": lambda data: data["profile"]["tags"].append("x"),
    "F6-dict-in-list": lambda data: data["items"][0].update(price=0),
}
RICH = {
    "userId": "ann",
    "role": "user",
    "groups": ["staff"],
    "profile": {"level": 1, "tags": []},
    "items": [{"price": 5}],
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS)
async def test_no_handler_can_change_what_the_next_request_sees(
    make_forge: MakeForge, mutate: Callable[[Any], object]
) -> None:
    forge = await make_forge(data=RICH)
    session = await verify(forge)

    with pytest.raises(TypeError):
        mutate(session.data)

    assert (await verify(forge)).data == RICH


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS)
async def test_going_behind_the_back_of_the_frozen_types_reaches_a_copy_only(
    make_forge: MakeForge, mutate: Callable[[Any], object]
) -> None:
    forge = await make_forge(data=RICH)
    session = await verify(forge)

    dict.update(session.data, role="admin")
    list.append(session.data["groups"], "admins")
    dict.update(session.data["profile"], level=9)

    assert (await verify(forge)).data == RICH
    assert (await verify(forge)).roles == {"user"}


async def test_f6_the_sessions_own_attributes_cannot_be_set(warm: Forge) -> None:
    session = await verify(warm)
    for name in ("identifier", "roles", "data", "tag", "session_id", "expires_at", "something_new"):
        with pytest.raises(AttributeError):
            setattr(session, name, "admin")
        with pytest.raises(AttributeError):
            delattr(session, name)

    assert (await verify(warm)).identifier == "ann"


async def test_f6_what_a_request_does_to_its_scope_does_not_reach_the_next_one(warm: Forge) -> None:
    roles: list[set[str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["ductape.session"] is scope["state"]["session"]
        assert "mark" not in scope
        assert "mark" not in scope["state"]
        roles.append(set(scope["auth"].scopes))
        scope["mark"] = scope["state"]["mark"] = 1
        scope["ductape.session"] = scope["state"]["session"] = scope["user"] = "somebody else"
        with contextlib.suppress(AttributeError, TypeError):  # refusing is as good as not remembering
            scope["auth"].scopes.append("role:admin")
        with contextlib.suppress(AttributeError, TypeError):
            scope["auth"].scopes = ["role:admin"]
        await App()({}, receive, send)

    middleware = DuctapeMiddleware(app, sessions=warm.sessions, tag=TAG)
    for credential in (bearer(warm.token), cookie(warm.token)):
        for _ in range(3):
            await call(middleware, headers=[credential])

    assert roles == [{"authenticated", "role:user"}] * 6


async def test_f6_what_an_anonymous_request_does_to_its_scope_does_not_reach_the_next_one(forge: Forge) -> None:
    scopes: list[set[str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(set(scope["auth"].scopes))
        with contextlib.suppress(AttributeError, TypeError):
            scope["auth"].scopes.append("role:admin")
        with contextlib.suppress(AttributeError, TypeError):
            scope["auth"].scopes = ["role:admin"]
        await App()({}, receive, send)

    middleware = DuctapeMiddleware(app, sessions=forge.sessions, tag=TAG)
    for _ in range(3):
        await call(middleware)

    assert scopes == [set()] * 3


async def test_f7_a_session_from_before_the_second_factor_is_no_hit_afterwards(warm: Forge) -> None:
    """GHSA-xg6x-h9c9-2m83: the cached half of a sign-in was taken for the whole."""
    await warm.sessions.start(tag=TAG, data={"userId": "ann", "role": "admin"}, replaces=warm.issued.session_id)

    with pytest.raises(RevokedSession):
        await verify(warm)


async def test_f7_a_role_that_was_taken_away_is_gone_from_the_hit(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, data={"userId": "ann", "role": "admin"})
    admin = require_role("admin")
    admin.check(await verify(forge))

    assert await forge.sessions.update(tag=TAG, identifier="ann", data={"userId": "ann", "role": "user"}) == 1

    with pytest.raises(AccessDenied):
        admin.check(await verify(forge))


# -- F8 (flood) and F9, F12 are in test_f_flood.py ---------------------------------------------------------------------


async def test_f8_a_failure_of_the_store_is_not_remembered(forge: Forge) -> None:
    def fail(name: str) -> None:
        if name == "verify":
            raise StoreUnavailable("down")

    forge.store.before = fail
    with pytest.raises(StoreUnavailable):
        await verify(forge)
    forge.store.before = None

    assert (await verify(forge)).identifier == "ann"


# -- F10: thundering herd ----------------------------------------------------------------------------------------------


@pytest.fixture
def signature_checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each Ed25519 verification."""
    checks: list[int] = []
    original = OKPAlgorithm.verify

    def counted(self: Any, *args: Any) -> bool:
        checks.append(1)
        return original(self, *args)

    monkeypatch.setattr(OKPAlgorithm, "verify", counted)
    return checks


async def test_f10_a_thousand_first_uses_cost_one_signature_check_and_one_read(
    make_forge: MakeForge, any_store: CountingStore, signature_checks: list[int]
) -> None:
    forge = await make_forge(store=any_store)
    forge.store.calls.clear()
    found: list[str] = []

    async def first_use() -> None:
        found.append((await verify(forge)).session_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(first_use)

    assert found == [forge.issued.session_id] * 1000
    assert len(signature_checks) == 1
    assert forge.store.calls["verify"] == 1


async def test_f10_a_herd_through_the_middleware_costs_one_check_too(
    make_forge: MakeForge, any_store: CountingStore, signature_checks: list[int]
) -> None:
    forge = await make_forge(store=any_store)
    forge.store.calls.clear()
    middleware = DuctapeMiddleware(App(), sessions=forge.sessions, tag=TAG, required=True)
    statuses: list[int] = []

    async def request() -> None:
        statuses.append((await call(middleware, headers=[bearer(forge.token)])).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(request)

    assert statuses == [200] * 1000
    assert len(signature_checks) == 1
    assert forge.store.calls["verify"] == 1


async def test_f10_a_leader_that_is_cancelled_harms_no_follower(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store)
    reached, never = anyio.Event(), anyio.Event()

    async def hang_the_first(name: str) -> None:
        if name == "verify" and not reached.is_set():
            reached.set()
            await never.wait()

    forge.store.before = hang_the_first
    leader = anyio.CancelScope()
    found: list[str] = []

    async def lead() -> None:
        with leader:
            await verify(forge)
            pytest.fail("the leader was to be cancelled")

    async def follow() -> None:
        found.append((await verify(forge)).session_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await reached.wait()
        for _ in range(100):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()

    assert found == [forge.issued.session_id] * 100
    assert forge.store.calls["verify"] == 2


async def test_f10_followers_of_a_refused_leader_are_refused_each_with_an_error(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store)
    await _revoke(forge)
    refused: list[type[Exception]] = []

    async def use() -> None:
        try:
            await verify(forge)
        except SessionError as error:
            refused.append(type(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(use)

    assert refused == [RevokedSession] * 100


# -- F11: threads ------------------------------------------------------------------------------------------------------


async def test_f11_worker_threads_verify_together_and_all_see_a_revoke(
    make_forge: MakeForge, any_store: CountingStore
) -> None:
    forge = await make_forge(store=any_store, cache_size=8)  # small, so that the threads evict each other's entries
    issued = [await forge.sessions.start(tag=TAG, data={"userId": f"user-{n % 4}"}) for n in range(16)]

    def work() -> list[str]:
        tokens = [session.token for session in issued] * 3
        return [forge.sessions.sync.verify(tag=TAG, token=token).session_id for token in tokens]

    answers: list[list[str]] = []

    async def in_a_thread() -> None:
        answers.append(await anyio.to_thread.run_sync(work))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(in_a_thread)
    ended = await forge.sessions.revoke_all(tag=TAG, identifier="user-1")

    def verify_revoked() -> None:
        with pytest.raises(RevokedSession):
            forge.sessions.sync.verify(tag=TAG, token=issued[1].token)

    await anyio.to_thread.run_sync(verify_revoked)
    assert answers == [[session.session_id for session in issued] * 3] * 8
    assert ended == 4


# -- F13, F15: what shows ----------------------------------------------------------------------------------------------


async def test_f13_nothing_in_an_answer_tells_a_hit_from_a_miss(forge: Forge) -> None:
    middleware = DuctapeMiddleware(App(), sessions=forge.sessions, tag=TAG)

    answers = [await call(middleware, headers=[bearer(forge.token)]) for _ in range(3)]

    assert len({(answer.status, tuple(answer.headers), answer.body) for answer in answers}) == 1


def _reachable(root: object) -> list[object]:
    """Everything that hangs on an object, without code, modules and classes."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType | types.CodeType):
            continue
        seen[id(item)] = item
        waiting.extend(gc.get_referents(item))
    return list(seen.values())


async def test_f15_a_cached_session_holds_no_token_and_no_key(warm: Forge, access_key: str) -> None:
    """What a handler is given, and whatever hangs on it."""
    session = await verify(warm)
    member = warm.sessions.keyring.members[0]
    secrets = {warm.token, warm.issued.refresh_token, access_key, member.seal, member.refresh, member.store, member.log}

    held = _reachable(session)

    assert len(held) > 10
    for item in held:
        if isinstance(item, str | bytes):
            text = item if isinstance(item, str) else item.decode("latin-1")
            assert item not in secrets
            assert warm.parts[2] not in text


async def test_f15_what_is_reachable_shows_no_secret_in_its_repr(warm: Forge, access_key: str) -> None:
    ours = [item for item in _reachable(warm.sessions) if type(item).__module__.startswith("ductape_asgi")]
    secrets = (warm.parts[2], access_key, warm.issued.refresh_token or "", '"role"', "'role': 'user'")

    assert len(ours) > 10
    for item in ours:
        shown = repr(item)
        assert not any(secret in shown for secret in secrets), type(item)


# -- F14: fork ---------------------------------------------------------------------------------------------------------


def test_f14_a_child_forked_from_a_warm_parent_does_not_trust_the_parents_cache(tmp_path: Path) -> None:
    """As a server that loads the app before it forks its workers."""
    script = textwrap.dedent(
        """
        import asyncio, os, sys
        from ductape_asgi import RevokedSession, Sessions
        from ductape_asgi.keys import new_access_key

        sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store=sys.argv[1])
        tag = "user-session"

        async def warm_up():
            issued = await sessions.start(tag=tag, data={"userId": "ann"})
            await sessions.verify(tag=tag, token=issued.token)
            return issued

        async def is_refused(token):
            try:
                await sessions.verify(tag=tag, token=token)
            except RevokedSession:
                return True
            return False

        issued = asyncio.run(warm_up())
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(reading, 1)
            os._exit(0 if asyncio.run(is_refused(issued.token)) else 7)
        asyncio.run(sessions.revoke(tag=tag, session_id=issued.session_id))
        os.write(writing, b"x")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )

    run = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{tmp_path}/sessions.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
