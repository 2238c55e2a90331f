"""API Reference: the inputs by name, and which of them may be left out."""

from __future__ import annotations

import pytest

from ductape_asgi import InvalidToken, Sessions

pytestmark = pytest.mark.anyio


async def test_start_takes_every_input_of_the_reference(sessions: Sessions) -> None:
    issued = await sessions.start(
        tag="user-session",
        data={"email": "user@example.com"},
        identifier="user-123",
        expires_in=1800,
        product="warehouse",
        env="dev",
    )

    session = await sessions.verify(tag="user-session", token=issued.token, product="warehouse", env="dev")

    assert session.identifier == "user-123"
    assert (session.realm.product, session.realm.env) == ("warehouse", "dev")


async def test_product_and_env_may_be_left_out_and_default_to_those_configured(sessions: Sessions) -> None:
    issued = await sessions.start(tag="user-session", data={"userId": "user-123"})

    session = await sessions.verify(tag="user-session", token=issued.token)
    same = await sessions.verify(tag="user-session", token=issued.token, product="shop", env="prd")

    assert (session.realm.product, session.realm.env) == ("shop", "prd")
    assert same == session


@pytest.mark.parametrize("realm", [{"product": "warehouse"}, {"env": "dev"}])
async def test_a_token_does_not_verify_for_another_product_or_environment(
    sessions: Sessions, realm: dict[str, str]
) -> None:
    issued = await sessions.start(tag="user-session", data={"userId": "user-123"})

    with pytest.raises(InvalidToken):
        await sessions.verify(tag="user-session", token=issued.token, **realm)


async def test_the_identifier_given_is_the_one_for_listing_and_revoking(sessions: Sessions) -> None:
    await sessions.start(tag="user-session", data={"userId": "user-123"}, identifier="customer-9")

    listed = await sessions.list(tag="user-session", identifier="customer-9")
    ended = await sessions.revoke_all(tag="user-session", identifier="customer-9")

    assert [info.identifier for info in listed.sessions] == ["customer-9"]
    assert ended == 1


async def test_inputs_are_given_by_name_only(sessions: Sessions) -> None:
    with pytest.raises(TypeError):
        await sessions.start("user-session", {"userId": "user-123"})  # type: ignore[misc]
    with pytest.raises(TypeError):
        await sessions.verify("user-session", "a.b.c")  # type: ignore[misc]
