"""A token is good for one product, one environment and one tag, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from ductape_asgi import ConfigurationError, InvalidToken, Realm, Sessions, TagPolicy

from .conftest import MakeSessions
from .support import ANN, TAG, accepted

pytestmark = pytest.mark.anyio

PLACES = [dict(zip(("product", "env", "tag"), place, strict=True)) for place in product("ab", "cd", "xy")]


async def test_a_token_is_refused_everywhere_but_at_home_full_matrix(sessions: Sessions) -> None:
    for home in PLACES:
        issued = await sessions.start(data=ANN, **home)
        for place in PLACES:
            for _ in range(2):  # a miss, and a hit where there is one
                if place == home:
                    session = await sessions.verify(token=issued.token, **place)
                    assert session.realm == Realm(home["product"], home["env"])
                    assert session.tag == home["tag"]
                else:
                    with pytest.raises(InvalidToken):
                        await sessions.verify(token=issued.token, **place)
            if place != home:
                with pytest.raises(InvalidToken):
                    await sessions.refresh(refresh_token=issued.refresh_token, **place)
        await sessions.refresh(refresh_token=issued.refresh_token, **home)


async def test_product_and_env_are_overridden_one_by_one(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=ANN, env="dev")
    assert (await sessions.verify(tag=TAG, token=issued.token, env="dev")).realm == Realm("shop", "dev")
    assert (await sessions.verify(tag=TAG, token=issued.token, product="shop", env="dev")).identifier == "ann"
    issued = await sessions.start(tag=TAG, data=ANN, product="blog")
    assert (await sessions.verify(tag=TAG, token=issued.token, product="blog")).realm == Realm("blog", "prd")


async def test_an_override_is_on_every_verb(sessions: Sessions) -> None:
    there: dict[str, Any] = {"product": "blog", "env": "dev"}
    issued = await sessions.start(tag=TAG, data=ANN, **there)
    assert (await sessions.inspect(token=issued.token, **there)).realm == Realm("blog", "dev")
    issued = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token, **there)
    assert await sessions.update(tag=TAG, identifier="ann", data={**ANN, "x": 1}, **there) == 1
    assert (await sessions.list(tag=TAG, identifier="ann", **there)).count == 1
    assert (await sessions.verify(tag=TAG, token=issued.token, **there)).data["x"] == 1
    assert await sessions.revoke(tag=TAG, session_id=issued.session_id, **there) is True
    assert await sessions.revoke_all(tag=TAG, identifier="ann", **there) == 0


async def test_workers_that_are_at_home_in_other_realms_read_each_others_tokens(
    sessions: Sessions, make_sessions: MakeSessions
) -> None:
    dev = await make_sessions(env="dev")
    issued = await dev.start(tag=TAG, data=ANN)
    assert await accepted(sessions, issued.token) == "invalid_token"
    assert (await sessions.verify(tag=TAG, token=issued.token, env="dev")).identifier == "ann"


@pytest.mark.parametrize("name", ["Shop", "", "a" * 65, "a b", "a:b", "ä", "a/b", 7, "a\n"])
@pytest.mark.any_store
async def test_a_bad_realm_is_a_configuration_error(sessions: Sessions, name: Any) -> None:
    for realm in ({"product": name}, {"env": name}):
        with pytest.raises(ConfigurationError, match=next(iter(realm))):
            await sessions.start(tag=TAG, data=ANN, **realm)


async def test_realms_without_end_leave_the_memory_flat_and_stay_usable(sessions: Sessions) -> None:
    first = await sessions.start(tag=TAG, data=ANN, env="env-0")
    for number in range(1, 300):
        assert await accepted(sessions, first.token) == "invalid_token"
        sessions.context(env=f"env-{number}")
    assert (await sessions.verify(tag=TAG, token=first.token, env="env-0")).identifier == "ann"
    assert len(sessions._realms._contexts) <= 256  # type: ignore[union-attr]


VERBS: dict[str, Callable[[Sessions, str], Any]] = {
    "start": lambda sessions, tag: sessions.start(tag=tag, data=ANN),
    "verify": lambda sessions, tag: sessions.verify(tag=tag, token="x"),
    "refresh": lambda sessions, tag: sessions.refresh(tag=tag, refresh_token="drt_x"),
    "revoke": lambda sessions, tag: sessions.revoke(tag=tag, session_id="x"),
    "revoke_all": lambda sessions, tag: sessions.revoke_all(tag=tag, identifier="ann"),
    "list": lambda sessions, tag: sessions.list(tag=tag, identifier="ann"),
    "update": lambda sessions, tag: sessions.update(tag=tag, identifier="ann", data=ANN),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.any_store
async def test_with_tags_configured_any_other_is_a_configuration_error(make_sessions: MakeSessions, verb: str) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG), TagPolicy("checkout-session")])
    for other in ("admin-session", "USER-SESSION", "", None, 7):
        with pytest.raises(ConfigurationError, match="checkout-session, user-session"):
            await VERBS[verb](sessions, other)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("tag", ["", " ", "a b", "a" * 65, "-a", ".a", "ä", None, 7, "a\n"])
@pytest.mark.any_store
async def test_what_is_no_tag_is_a_configuration_error(sessions: Sessions, verb: str, tag: Any) -> None:
    with pytest.raises(ConfigurationError, match="tag"):
        await VERBS[verb](sessions, tag)


async def test_without_tags_every_tag_works_with_the_default_policy(sessions: Sessions) -> None:
    for tag in ("a", "user-session", "x.y_z", "A1"):
        issued = await sessions.start(tag=tag, data=ANN)
        assert (issued.expires_at - issued.session_expires_at).days == -30
        assert await accepted(sessions, issued.token, tag=tag) == "ok"


async def test_policies_are_the_tags_own(make_sessions: MakeSessions) -> None:
    checkout = TagPolicy("checkout-session", expires_in=1800, refresh=False)
    sessions = await make_sessions(tags=[TagPolicy(TAG, expires_in=900), checkout])
    user = await sessions.start(tag=TAG, data=ANN)
    cart = await sessions.start(tag="checkout-session", data=ANN)
    assert (cart.expires_at - user.expires_at).total_seconds() == 900
    assert cart.refresh_token is None
