"""A token is good in one place: its realm, its tag, its purpose.  The full matrix of all others refuses it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from ductape_asgi import InvalidToken, IssuedSession, SessionError, Sessions
from ductape_asgi.keys import new_access_key

from .forge import Clock, CountingStore

pytestmark = pytest.mark.anyio

PRODUCTS = ("shop", "warehouse", "shop-2")
ENVS = ("prd", "dev", "shop")
TAGS = ("user-session", "checkout-session", "user-session-2")


@dataclass(frozen=True)
class Place:
    product: str
    env: str
    tag: str

    @property
    def realm(self) -> dict[str, str]:
        return {"product": self.product, "env": self.env}


PLACES = [Place(*names) for names in itertools.product(PRODUCTS, ENVS, TAGS)]


@pytest.fixture
async def one(access_key: str, any_store: CountingStore, clock: Clock) -> AsyncIterator[Sessions]:
    """One `Sessions` for all realms, by the keywords of each verb."""
    async with Sessions(access_key=access_key, product="shop", env="prd", store=any_store, clock=clock) as sessions:
        yield sessions


@pytest.fixture
async def issued(one: Sessions) -> dict[Place, IssuedSession]:
    return {place: await one.start(tag=place.tag, data={"userId": "ann"}, **place.realm) for place in PLACES}


async def accepted(verb: Any, place: Place, **token: Any) -> bool:
    try:
        await verb(tag=place.tag, **place.realm, **token)
    except InvalidToken:
        return False
    return True


async def test_an_access_token_verifies_in_its_own_place_only(
    one: Sessions, issued: dict[Place, IssuedSession]
) -> None:
    diagonal = [
        (mine, theirs)
        for mine, theirs in itertools.product(PLACES, PLACES)
        if await accepted(one.verify, theirs, token=issued[mine].token)
    ]

    assert diagonal == [(place, place) for place in PLACES]


async def test_a_refresh_token_refreshes_in_its_own_place_only(
    one: Sessions, any_store: CountingStore, issued: dict[Place, IssuedSession]
) -> None:
    elsewhere = [(mine, theirs) for mine, theirs in itertools.product(PLACES, PLACES) if mine != theirs]
    any_store.calls.clear()

    for mine, theirs in elsewhere:
        assert not await accepted(one.refresh, theirs, refresh_token=issued[mine].refresh_token), (mine, theirs)

    assert not any_store.calls
    for place in PLACES:  # and none of that has ended or rotated anything
        child = await one.refresh(tag=place.tag, refresh_token=issued[place].refresh_token, **place.realm)
        assert child.session_id == issued[place].session_id


async def test_neither_kind_of_token_is_accepted_as_the_other(
    one: Sessions, any_store: CountingStore, issued: dict[Place, IssuedSession]
) -> None:
    any_store.calls.clear()
    for mine, theirs in itertools.product(PLACES, PLACES):
        assert not await accepted(one.verify, theirs, token=issued[mine].refresh_token)
        assert not await accepted(one.refresh, theirs, refresh_token=issued[mine].token)

    assert not any_store.calls


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "ES256", "HS256"])
async def test_what_is_no_token_at_all_is_accepted_as_neither(
    any_store: CountingStore, clock: Clock, algorithm: str
) -> None:
    """Keys, ids and the halves of tokens; each presented everywhere."""
    key = new_access_key()
    sessions = Sessions(access_key=key, product="shop", env="prd", store=any_store, clock=clock, algorithm=algorithm)
    async with sessions:
        issued = await sessions.start(tag="user-session", data={"userId": "ann"})
        assert issued.refresh_token is not None
        others = [key, issued.session_id, "ann", issued.token.rpartition(".")[0], issued.refresh_token[4:]]
        others += [f"Bearer {issued.token}", f"user-session:{issued.token}", f"drt_{issued.token}"]
        if algorithm != "HS256":
            others.append(sessions.keyring.publishable())
        for other in others:
            with pytest.raises(SessionError):
                await sessions.verify(tag="user-session", token=other)
            with pytest.raises(SessionError):
                await sessions.refresh(tag="user-session", refresh_token=other)


async def test_separate_backends_for_each_realm_agree(access_key: str, any_store: CountingStore, clock: Clock) -> None:
    """The same matrix where each realm has its own `Sessions`, on one store and one access key."""
    realms = list(itertools.product(PRODUCTS, ENVS))
    backends = {
        realm: Sessions(access_key=access_key, product=realm[0], env=realm[1], store=any_store, clock=clock)
        for realm in realms
    }
    for mine in realms:
        issued = await backends[mine].start(tag="user-session", data={"userId": "ann"})
        for theirs in realms:
            place = Place(*theirs, tag="user-session")
            assert await accepted(backends[theirs].verify, place, token=issued.token) == (mine == theirs)
            if mine != theirs:
                assert not await accepted(backends[theirs].refresh, place, refresh_token=issued.refresh_token)


@pytest.mark.parametrize("verb", ["revoke", "revoke_all", "list", "update"])
async def test_the_other_verbs_reach_only_their_own_place(
    one: Sessions, issued: dict[Place, IssuedSession], verb: str
) -> None:
    """ASVS 8.4.1: from one tenant nobody reaches a session of another."""
    home = PLACES[0]
    for place in PLACES[1:]:
        if verb == "revoke":
            outcome: object = await one.revoke(tag=place.tag, session_id=issued[home].session_id, **place.realm)
            assert outcome is False
        elif verb == "update":
            outcome = await one.update(
                tag=place.tag, session_id=issued[home].session_id, data={"userId": "ann", "role": "x"}, **place.realm
            )
            assert outcome == 0
        elif verb == "list":
            page = await one.list(tag=place.tag, identifier="ann", **place.realm)
            assert [info.session_id for info in page.sessions] == [issued[place].session_id]
        else:
            assert await one.revoke_all(tag=place.tag, identifier="ann", **place.realm) == 1

    session = await one.verify(tag=home.tag, token=issued[home].token, **home.realm)
    assert session.data == {"userId": "ann"}
