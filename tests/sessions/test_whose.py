"""Identifiers, anonymous sessions, roles and permissions."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import ConfigurationError, InvalidData, Sessions, TagPolicy

from .conftest import MakeSessions
from .support import ANN, TAG, accepted

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("selector", "data"),
    [
        ("userId", {"userId": "ann"}),
        ("$Session{userId}", {"userId": "ann"}),
        ("email", {"email": "ann", "userId": "wrong"}),
        ("user.id", {"user": {"id": "ann"}}),
        ("$Session{user.id}", {"user": {"id": "ann"}}),
        ("a.b.c", {"a": {"b": {"c": "ann"}}}),
        ("user.id", {"user.id": "ann"}),
    ],
)
async def test_a_selector_finds_the_identifier(
    make_sessions: MakeSessions, selector: str, data: dict[str, Any]
) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, selector=selector)])
    issued = await sessions.start(tag=TAG, data=data)
    assert issued.identifier == "ann"
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 1


async def test_a_whole_number_is_an_identifier_in_decimal(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={"userId": 42})
    assert issued.identifier == "42"
    assert (await sessions.list(tag=TAG, identifier="42")).count == 1


async def test_a_given_identifier_goes_before_the_selector(sessions: Sessions) -> None:
    assert (await sessions.start(tag=TAG, data=ANN, identifier="bob")).identifier == "bob"


@pytest.mark.parametrize("data", [{}, {"userId": None}, {"user": {"id": "ann"}}])
@pytest.mark.any_store
async def test_no_identifier_is_invalid_data_that_names_the_selector(sessions: Sessions, data: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match="userId"):
        await sessions.start(tag=TAG, data=data)


@pytest.mark.parametrize("value", ["", True, 1.5, ["ann"], {"id": "ann"}])
@pytest.mark.any_store
async def test_what_cannot_be_an_identifier_is_invalid_data(sessions: Sessions, value: Any) -> None:
    with pytest.raises(InvalidData, match="userId"):
        await sessions.start(tag=TAG, data={"userId": value})
    with pytest.raises(InvalidData, match="identifier"):
        await sessions.start(tag=TAG, data={}, identifier=value)


@pytest.mark.parametrize("selector", ["", ".", "a..b", ".a", "a.", "$Session{}", "${userId}", "$Session{a", None, 7])
def test_what_is_no_selector_is_a_configuration_error(selector: Any) -> None:
    with pytest.raises(ConfigurationError, match="selector"):
        TagPolicy(TAG, selector=selector)


# Anonymous.


@pytest.fixture
async def anonymous(make_sessions: MakeSessions) -> Sessions:
    return await make_sessions(tags=[TagPolicy(TAG, anonymous=True, max_sessions=1)])


async def test_anonymous_sessions_are_verified_refreshed_updated_and_revoked_by_id(anonymous: Sessions) -> None:
    issued = await anonymous.start(tag=TAG, data={"cart": []})
    assert issued.identifier is None
    assert (await anonymous.verify(tag=TAG, token=issued.token)).identifier is None

    issued = await anonymous.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert issued.identifier is None
    assert await anonymous.update(tag=TAG, session_id=issued.session_id, data={"cart": ["tea"]}) == 1
    assert (await anonymous.verify(tag=TAG, token=issued.token)).data == {"cart": ["tea"]}

    assert await anonymous.revoke(tag=TAG, session_id=issued.session_id) is True
    assert await accepted(anonymous, issued.token) == "revoked_session"


async def test_anonymous_sessions_are_nobodys_and_not_limited_together(anonymous: Sessions) -> None:
    issued = [await anonymous.start(tag=TAG, data={}) for _ in range(3)]
    assert [await accepted(anonymous, each.token) for each in issued] == ["ok"] * 3
    subjects = {(await anonymous.inspect(token=each.token)).subject for each in issued}
    assert len(subjects) == 3
    for nobody in ("", None):
        with pytest.raises(InvalidData):
            await anonymous.list(tag=TAG, identifier=nobody)  # type: ignore[arg-type]


async def test_update_never_names_an_anonymous_session(anonymous: Sessions) -> None:
    issued = await anonymous.start(tag=TAG, data={})
    with pytest.raises(InvalidData):
        await anonymous.update(tag=TAG, session_id=issued.session_id, data=ANN)
    assert (await anonymous.verify(tag=TAG, token=issued.token)).data == {}


async def test_a_tag_that_allows_anonymous_sessions_has_others_too(anonymous: Sessions) -> None:
    issued = await anonymous.start(tag=TAG, data=ANN)
    assert issued.identifier == "ann"
    assert (await anonymous.list(tag=TAG, identifier="ann")).count == 1


# Pseudonyms.


async def test_a_token_shows_a_pseudonym_that_is_the_same_for_all_sessions_of_a_person(sessions: Sessions) -> None:
    first, second = [await sessions.start(tag=TAG, data=ANN) for _ in range(2)]
    bob = await sessions.start(tag=TAG, data={"userId": "bob"})
    subjects = [(await sessions.inspect(token=each.token)).subject for each in (first, second, bob)]
    assert subjects[0] == subjects[1] != subjects[2]
    assert "ann" not in subjects[0]


async def test_a_person_has_another_pseudonym_in_another_realm(sessions: Sessions) -> None:
    here = await sessions.start(tag=TAG, data=ANN)
    there = await sessions.start(tag=TAG, data=ANN, env="dev")
    subject = (await sessions.inspect(token=here.token)).subject
    assert subject != (await sessions.inspect(token=there.token, env="dev")).subject


# Roles and permissions.


@pytest.mark.parametrize(
    ("data", "roles"),
    [
        ({"role": "admin"}, {"admin"}),
        ({"roles": ["a", "b"]}, {"a", "b"}),
        ({"role": "admin", "roles": ["a"]}, {"admin", "a"}),
        ({}, set()),
        ({"role": None, "roles": None}, set()),
        ({"role": ["admin"]}, {"admin"}),
        ({"role": 1, "roles": [1, True, None, {"x": 1}, "a"]}, {"a"}),
        ({"roles": {"admin": True}}, set()),
        ({"user": {"role": "admin"}}, set()),
    ],
)
async def test_roles_are_found_in_the_data(sessions: Sessions, data: dict[str, Any], roles: set[str]) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, **data})
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert session.roles == roles
    assert isinstance(session.roles, frozenset)


async def test_permissions_are_found_in_the_data(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, "permissions": ["orders:read", "orders:write"]})
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert session.permissions == {"orders:read", "orders:write"}
    assert session.roles == frozenset()


async def test_other_paths_by_the_policy(make_sessions: MakeSessions) -> None:
    policy = TagPolicy(TAG, roles=("user.groups", "rank"), permissions="user.may")
    sessions = await make_sessions(tags=[policy])
    data = {**ANN, "role": "admin", "rank": "chief", "user": {"groups": ["staff"], "may": ["x"]}, "permissions": ["y"]}
    issued = await sessions.start(tag=TAG, data=data)
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert session.roles == {"staff", "chief"}
    assert session.permissions == {"x"}


@pytest.mark.announcing
async def test_a_demoted_admin_loses_the_role_at_the_next_request(sessions: Sessions, other_worker: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, "role": "admin"})
    for worker in (sessions, other_worker):
        assert (await worker.verify(tag=TAG, token=issued.token)).roles == {"admin"}
    await sessions.update(tag=TAG, identifier="ann", data={**ANN, "role": "user"})
    for worker in (sessions, other_worker):
        assert (await worker.verify(tag=TAG, token=issued.token)).roles == {"user"}
