"""`inspect`, and `Sessions` that hold only a publishable key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from ductape_asgi import ConfigurationError, InvalidToken, PublishableKeyError, Sessions, TagPolicy, new_access_key

from .conftest import MakeSessions
from .support import ANN, TAG, Clock, WatchedStore

pytestmark = pytest.mark.anyio


async def test_inspect_answers_the_readable_claims_and_no_data(sessions: Sessions, clock: Clock) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, "secret": "hunter2"})
    claims = await sessions.inspect(token=issued.token)
    assert (claims.session_id, claims.tag) == (issued.session_id, TAG)
    assert claims.expires_at == issued.expires_at
    assert claims.issued_at.timestamp() == claims.not_before.timestamp() == claims.auth_time.timestamp() == clock.now
    assert claims.kid == sessions.keyring.active.kid  # type: ignore[union-attr]
    shown = [getattr(claims, field.name) for field in fields(claims)]
    assert "hunter2" not in repr(shown)
    assert "ann" not in repr(shown)


async def test_inspect_asks_no_store_and_reads_ended_tokens(sessions: Sessions, clock: Clock) -> None:
    store = sessions.worker.store
    assert isinstance(store, WatchedStore)
    issued = await sessions.start(tag=TAG, data=ANN)
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    clock.advance(10**6)
    before = store.asked()
    assert (await sessions.inspect(token=issued.token)).session_id == issued.session_id
    assert store.asked() == before


async def test_inspect_refuses_what_is_not_signed_by_us(sessions: Sessions, make_sessions: MakeSessions) -> None:
    stranger = await make_sessions(access_key=new_access_key(), store="memory://")
    issued = await stranger.start(tag=TAG, data=ANN)
    own = (await sessions.start(tag=TAG, data=ANN)).token
    for token in (issued.token, own[:-1], own + "A", own.replace(".", "..", 1), "a.b.c", "x" * 9000):
        with pytest.raises(InvalidToken):
            await sessions.inspect(token=token)


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "ES256"])
async def test_a_publishable_key_inspects(make_sessions: MakeSessions, algorithm: str) -> None:
    backend = await make_sessions(algorithm=algorithm)
    issued = await backend.start(tag=TAG, data=ANN)
    assert backend.publishable_key.startswith("dpk_")
    frontend = Sessions(publishable_key=backend.publishable_key)
    assert (await frontend.inspect(token=issued.token)).session_id == issued.session_id
    assert str(frontend.realm) == "shop:prd"


VERBS: dict[str, Callable[[Sessions], Any]] = {
    "start": lambda sessions: sessions.start(tag=TAG, data=ANN),
    "verify": lambda sessions: sessions.verify(tag=TAG, token="x"),
    "refresh": lambda sessions: sessions.refresh(tag=TAG, refresh_token="drt_x"),
    "revoke": lambda sessions: sessions.revoke(tag=TAG, session_id="x"),
    "revoke_all": lambda sessions: sessions.revoke_all(tag=TAG, identifier="ann"),
    "list": lambda sessions: sessions.list(tag=TAG, identifier="ann"),
    "update": lambda sessions: sessions.update(tag=TAG, identifier="ann", data=ANN),
    "purge": lambda sessions: sessions.purge(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_publishable_key_has_no_other_verb(sessions: Sessions, verb: str) -> None:
    frontend = Sessions(publishable_key=sessions.publishable_key)
    with pytest.raises(PublishableKeyError, match="access_key"):
        await VERBS[verb](frontend)


async def test_a_publishable_key_holds_the_public_keys_of_all_access_keys(
    make_sessions: MakeSessions, access_key: str
) -> None:
    old = await make_sessions()
    rolled = await make_sessions(access_key=[new_access_key(), access_key])
    frontend = Sessions(publishable_key=rolled.publishable_key)
    for backend in (old, rolled):
        issued = await backend.start(tag=TAG, data=ANN)
        assert (await frontend.inspect(token=issued.token)).session_id == issued.session_id
    assert frontend.keyring.active is None
    assert [key.private_key for key in frontend.keyring.keys] == [None, None]


async def test_a_publishable_key_is_for_its_realm(sessions: Sessions) -> None:
    key = sessions.publishable_key
    assert Sessions(publishable_key=key, product="shop", env="prd").realm == sessions.realm
    for realm in ({"product": "blog"}, {"env": "dev"}, {"product": "blog", "env": "dev"}):
        with pytest.raises(ConfigurationError, match="shop:prd"):
            Sessions(publishable_key=key, **realm)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="shop:prd"):
            await Sessions(publishable_key=key).inspect(token="x", **realm)


async def test_a_token_of_another_realm_is_invalid_to_a_publishable_key(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=ANN, env="dev")
    with pytest.raises(InvalidToken):
        await Sessions(publishable_key=sessions.publishable_key).inspect(token=issued.token)


async def test_hs256_has_no_publishable_key_and_an_empty_jwks(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(algorithm="HS256", tags=[TagPolicy(TAG)])
    assert sessions.keyring.jwks() == {"keys": []}
    with pytest.raises(ConfigurationError, match="HS256"):
        _ = sessions.publishable_key
