"""Durations, tags, paths and identifiers.  (What a bad option says is in ``sessions/test_configuration.py``.)"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ductape_asgi import ConfigurationError, CookiePolicy, InvalidData, TagPolicy
from ductape_asgi.policy import check_identifier, check_tag, dig, seconds

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
TEN_YEARS = 10 * 365 * 86_400


@given(st.integers(1, TEN_YEARS))
def test_an_int_is_seconds(value: int) -> None:
    assert seconds(value, "x") == value
    assert seconds(timedelta(seconds=value), "x") == value
    assert seconds(str(value), "x") == value


@given(st.integers(1, 100_000), st.sampled_from(sorted(UNITS)))
def test_text_is_a_number_and_a_unit(number: int, unit: str) -> None:
    whole = number * UNITS[unit]
    if whole <= TEN_YEARS:
        assert seconds(f"{number}{unit}", "x") == whole
    else:
        with pytest.raises(ConfigurationError, match="out of range"):
            seconds(f"{number}{unit}", "x")


@given(st.one_of(st.integers(max_value=0), st.integers(min_value=TEN_YEARS + 1)))
def test_what_is_out_of_range_is_named(value: int) -> None:
    with pytest.raises(ConfigurationError, match=r"my_ttl.*range"):
        seconds(value, "my_ttl")


@given(
    st.one_of(
        st.text(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.binary(),
        st.lists(st.integers()),
        st.timedeltas(),
        st.from_regex(r"\A\s*[0-9]+ ?[smhdSMHDw]?\s*\Z"),
    )
)
def test_anything_at_all_is_whole_seconds_or_a_configuration_error(value: Any) -> None:
    try:
        whole = seconds(value, "x")
    except ConfigurationError:
        return
    assert type(whole) is int
    assert 1 <= whole <= TEN_YEARS
    assert isinstance(value, str | timedelta)
    assert not isinstance(value, str) or value.isascii()


@pytest.mark.parametrize(
    "value", ["\uff11\uff15", "15 m", " 15m", "15m ", "15M", "1.5h", "-15m", "+15m", "1_000", "1w", "m", "1e3"]
)
def test_what_only_looks_like_a_duration_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a duration"):
        seconds(value, "x")


def test_the_defaults_are_the_contracts() -> None:
    policy = TagPolicy("user-session")
    assert policy.expires_in == 900
    assert policy.session_ttl == 30 * 86_400
    assert policy.idle_ttl is None
    assert policy.refresh is True
    assert policy.reuse_grace == 10
    assert policy.max_sessions is None
    assert policy.on_limit == "evict_oldest"
    assert policy.selector == "userId"
    assert policy.anonymous is False
    assert policy.schema is None


def test_durations_become_seconds() -> None:
    policy = TagPolicy("a", expires_in="15m", session_ttl=timedelta(days=7), idle_ttl="2h", reuse_grace="0")
    assert (policy.expires_in, policy.session_ttl, policy.idle_ttl, policy.reuse_grace) == (900, 604_800, 7200, 0)


def test_a_policy_cannot_be_changed_and_equal_ones_are_equal() -> None:
    policy = TagPolicy("a", expires_in="15m")
    with pytest.raises(AttributeError):
        policy.expires_in = 1  # type: ignore[misc]
    assert policy == TagPolicy("a", expires_in=900)
    assert hash(policy) == hash(TagPolicy("a", expires_in=900))
    assert policy != TagPolicy("a", expires_in=901)


def test_only_the_tag_is_positional() -> None:
    with pytest.raises(TypeError):
        TagPolicy("a", 900)  # type: ignore[misc]


@given(st.one_of(st.text(), st.none(), st.integers(), st.binary()))
def test_a_tag_is_short_and_plain(tag: Any) -> None:
    try:
        assert check_tag(tag) == tag
    except ConfigurationError:
        return
    assert 1 <= len(tag) <= 64
    assert tag.isascii()
    assert all(letter.isalnum() or letter in "._-" for letter in tag)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)), st.text())
def test_digging_finds_something_or_none_and_never_fails(data: Any, path: str) -> None:
    dig(data, path)


def test_digging_follows_dots_and_prefers_the_exact_name() -> None:
    data = {"a": {"b": {"c": 1}}, "a.b": 2, "list": [1], "text": "x"}
    assert dig(data, "a.b.c") == 1
    assert dig(data, "a.b") == 2
    for path in ("a.x", "x.a", "list.0", "text.0", "a.b.c.d", ""):
        assert dig(data, path) is None


@given(st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(), st.binary(), st.lists(st.text())))
def test_an_identifier_is_text_or_invalid_data(value: Any) -> None:
    try:
        found = check_identifier(value)
    except InvalidData:
        return
    assert found
    assert found == str(value)
    found.encode()


@pytest.mark.parametrize(
    ("policy", "prefix"),
    [
        (CookiePolicy(), "__Host-"),
        (CookiePolicy(domain="example.com"), "__Secure-"),
        (CookiePolicy(secure=False), ""),
    ],
)
def test_a_cookies_prefix_says_what_browsers_hold_it_to(policy: CookiePolicy, prefix: str) -> None:
    assert policy.access_name == f"{prefix}ductape"
    assert policy.refresh_name == f"{prefix}ductape-refresh"


def test_the_cookie_defaults_are_the_contracts() -> None:
    policy = CookiePolicy()
    assert (policy.name, policy.domain, policy.secure, policy.samesite) == ("ductape", None, True, "lax")
    assert policy.csrf_token is False


@pytest.mark.parametrize("csrf_token", [None, "yes", 1])
def test_a_csrf_token_is_asked_for_or_not(csrf_token: Any) -> None:
    with pytest.raises(ConfigurationError, match="csrf_token"):
        CookiePolicy(csrf_token=csrf_token)


@pytest.mark.parametrize("name", ["__Host-sid", "__secure-sid", "__", "Http-sid", "http-sid", "Host-Http-sid"])
def test_what_browsers_take_for_a_prefix_is_no_name(name: str) -> None:
    for policy in ({}, {"secure": False}, {"domain": "example.com"}):
        with pytest.raises(ConfigurationError, match="prefix"):
            CookiePolicy(name=name, **policy)  # type: ignore[arg-type]
