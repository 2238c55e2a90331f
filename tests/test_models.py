"""The values that travel: frozen, discreet, and what they say of time."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ductape_asgi import ClientInfo, ConfigurationError, IssuedSession, Realm, Session, SessionInfo, SessionPage
from ductape_asgi.models import SessionRecord, instant

WHEN = datetime(2027, 1, 1, tzinfo=UTC)
RECORD = SessionRecord(
    session_id="s",
    realm="shop:prd",
    tag="t",
    subject="p",
    identity=b"sealed-identity",
    client=b"sealed-client",
    data=b"sealed-data",
    refresh_key="k",
    created_at=1000.0,
    last_seen_at=1000.0,
    auth_time=1000,
    ends_at=5000,
    expires_in=900,
)


def session(**options: Any) -> Session[Any]:
    given_values: dict[str, Any] = {
        "session_id": "sid",
        "tag": "user-session",
        "identifier": "ann",
        "realm": Realm("shop", "prd"),
        "data": {"secret": "hunter2"},
        "issued_at": WHEN,
        "expires_at": WHEN,
        "auth_time": WHEN,
        **options,
    }
    return Session(**given_values)


@given(st.text(), st.text())
def test_a_realm_is_two_plain_names(product: str, env: str) -> None:
    try:
        realm = Realm(product, env)
    except ConfigurationError as error:
        assert "a-z" in str(error)  # noqa: PT017
        return
    assert str(realm) == realm.audience == f"{product}:{env}"
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in product + env)


@pytest.mark.parametrize("name", ["a", "a" * 64, "shop-2_x", "0"])
def test_good_realm_names(name: str) -> None:
    assert Realm(name, name).product == name


def test_an_instant_is_utc() -> None:
    assert instant(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert instant(1.5).tzinfo is UTC


def test_no_repr_shows_token_key_or_data() -> None:
    issued = IssuedSession("ACCESS", "REFRESH", "sid", "ann", "t", WHEN, WHEN)
    shown = repr([issued, session(), RECORD])
    for secret in ("ACCESS", "REFRESH", "hunter2", "sealed-"):
        assert secret not in shown


@pytest.mark.parametrize(
    "value",
    [
        Realm("a", "b"),
        ClientInfo(),
        IssuedSession("a", "b", "c", "d", "e", WHEN, WHEN),
        SessionPage(0, (), None),
        SessionInfo("s", "t", "ann", WHEN, WHEN, WHEN, ClientInfo()),
        RECORD,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_cannot_be_changed(value: Any) -> None:
    name = next(iter(type(value).__dataclass_fields__))
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, "x")
    with pytest.raises((AttributeError, TypeError)):
        value.brand_new = 1


def test_a_session_is_read_only_hashable_and_compares_by_what_it_says() -> None:
    mine = session()
    with pytest.raises(AttributeError, match="update"):
        mine.identifier = "eve"
    assert mine == session()
    assert hash(mine) == hash(session())
    assert mine != session(identifier="bob")
    assert mine != session(data={})
    assert mine != "sid"
    assert mine.roles == frozenset()


def test_a_page_is_iterated_over_its_sessions() -> None:
    info = SessionInfo("s", "t", "ann", WHEN, WHEN, WHEN, ClientInfo())
    assert list(SessionPage(5, (info,), "next")) == [info]


def test_models_survive_pickling() -> None:
    for value in (Realm("a", "b"), ClientInfo("1.2.3.4"), RECORD):
        assert pickle.loads(pickle.dumps(value)) == value


def test_a_record_without_idle_ttl_lives_to_its_end() -> None:
    assert RECORD.idle_ends_at is None
    assert RECORD.live(4999.999)
    assert not RECORD.live(5000)


def test_an_idle_record_ends_a_minute_after_its_idle_ttl() -> None:
    idle = replace(RECORD, idle_ttl=600)
    assert idle.idle_ends_at == 1660
    assert idle.live(1659.999)
    assert not idle.live(1660)
    late = replace(idle, last_seen_at=4900.0)
    assert not late.live(5000)
