"""F6, F7, F13 and F15: what an entry of the cache holds, and that nobody can change it or see into it."""

from __future__ import annotations

import contextlib
import gc
import types
from collections.abc import Callable
from typing import Any

import pytest

from ductape_asgi import (
    AccessDenied,
    DuctapeMiddleware,
    RevokedSession,
    require_role,
)

from .asgi import App, bearer, call, cookie
from .conftest import MakeForge
from .forge import TAG, CountingStore, Forge, verify

pytestmark = pytest.mark.anyio


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


async def test_f6_going_behind_the_back_of_the_frozen_types_reaches_a_copy_only(make_forge: MakeForge) -> None:
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
