"""The cache of verified tokens: against a plain model, bounded, and never behind a revocation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ductape_asgi.cache import Entry, VerifiedTokens, middle_of, person_key
from ductape_asgi.models import Realm, Session

WHEN = datetime(2027, 1, 1, tzinfo=UTC)
REALM = Realm("shop", "prd")


def session(session_id: str, tag: str = "user-session") -> Session[Any]:
    return Session(
        session_id=session_id,
        tag=tag,
        identifier="ann",
        realm=REALM,
        data={},
        issued_at=WHEN,
        expires_at=WHEN,
        auth_time=WHEN,
    )


def entry(token: str, session_id: str = "s", person: str = "p", size: int = 100, **options: Any) -> Entry:
    given = {"usable_from": 0, "ends_at": 1000, "idle_ttl": None, **options}
    return Entry(bearer=bearer(token), session=session(session_id), person=person, size=size, **given)


def bearer(token: str) -> bytes:
    # Alike for most of their length: they must still be told apart.
    return b"Bearer " + token.encode().rjust(40, b".")


def keep(cache: VerifiedTokens, *entries: Entry) -> None:
    for one in entries:
        with cache.reading(one.session.session_id, one.person) as reading:
            cache.add(one, reading)


def linked(cache: VerifiedTokens, header: bytes) -> Entry | None:
    """The entry that this ``Cookie`` header leads to."""
    found = cache.by_cookie.get(middle_of(header))
    return found if found is not None and found.cookie == header else None


def test_a_kept_token_is_found_and_another_is_not() -> None:
    cache = VerifiedTokens(10)
    one = entry("a")
    keep(cache, one)
    assert cache.find(bearer("a")) is one
    assert cache.find(bearer("b")) is None
    assert cache.find(b"") is None
    assert cache.find(b"Bearer ") is None


def test_a_token_with_the_same_tail_is_not_taken_for_the_other() -> None:
    cache = VerifiedTokens(10)
    keep(cache, entry("a"))
    assert cache.find(b"Bearer X" + bearer("a")[8:]) is None
    assert cache.find(bearer("a")[7:]) is None
    assert cache.find(b"bearer " + bearer("a")[7:]) is None


def test_forgetting_a_session_forgets_all_its_tokens_and_no_others() -> None:
    cache = VerifiedTokens(10)
    keep(cache, entry("a", "s1"), entry("b", "s1"), entry("c", "s2"))
    cache.forget_session("s1")
    assert [cache.find(bearer(token)) is not None for token in "abc"] == [False, False, True]
    assert len(cache) == 1


def test_forgetting_a_person_spares_the_current_session() -> None:
    cache = VerifiedTokens(10)
    keep(cache, entry("a", "s1", "ann"), entry("b", "s2", "ann"), entry("c", "s3", "bob"))
    cache.forget_person("ann", spared="s2")
    assert [cache.find(bearer(token)) is not None for token in "abc"] == [False, True, True]
    cache.forget_person("ann")
    assert [cache.find(bearer(token)) is not None for token in "abc"] == [False, False, True]


def test_forgetting_the_unknown_does_nothing() -> None:
    cache = VerifiedTokens(10)
    keep(cache, entry("a"))
    cache.forget_session("nobody")
    cache.forget_person("nobody")
    assert len(cache) == 1


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda cache: cache.forget_session("s"),
        lambda cache: cache.forget_person("p"),
        lambda cache: cache.forget_person("p", spared="other"),
        lambda cache: cache.clear(),
    ],
)
def test_what_was_revoked_while_it_was_read_is_not_kept(meanwhile: Any) -> None:
    cache = VerifiedTokens(10)
    one = entry("a")
    with cache.reading("s", "p") as reading:
        meanwhile(cache)
        assert reading.tainted
        cache.add(one, reading)
    assert cache.find(one.bearer) is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda cache: cache.forget_session("other"),
        lambda cache: cache.forget_person("other"),
        lambda cache: cache.forget_person("p", spared="s"),
    ],
)
def test_what_was_spared_while_it_was_read_is_kept(meanwhile: Any) -> None:
    cache = VerifiedTokens(10)
    one = entry("a")
    with cache.reading("s", "p") as reading:
        meanwhile(cache)
        cache.add(one, reading)
    assert cache.find(one.bearer) is one


def test_each_of_several_readings_is_tainted_and_later_ones_are_not() -> None:
    cache = VerifiedTokens(10)
    with cache.reading("s", "p") as first, cache.reading("s", "p") as second:
        cache.forget_session("s")
        with cache.reading("s", "p") as third:
            assert (first.tainted, second.tainted, third.tainted) == (True, True, False)


def test_readings_leave_nothing_behind() -> None:
    cache = VerifiedTokens(10)
    for number in range(100):
        with cache.reading(f"s{number}", f"p{number}"):
            pass
    assert cache._readings == {}
    assert cache._groups == {}


def test_a_cookie_header_leads_to_its_entry_until_that_goes() -> None:
    cache = VerifiedTokens(10)
    one = entry("a")
    keep(cache, one)
    cache.link_cookie(one, b"x=1")
    cache.link_cookie(one, b"x=2")
    assert (linked(cache, b"x=1"), linked(cache, b"x=2")) == (None, one)
    cache.forget_session("s")
    assert cache.by_cookie == {}
    cache.link_cookie(one, b"x=3")
    assert cache.by_cookie == {}
    assert cache.bytes == 0


def test_a_cookie_header_belongs_to_the_entry_it_was_linked_to_last() -> None:
    cache = VerifiedTokens(10)
    one, two = entry("a", "s1"), entry("b", "s2")
    keep(cache, one, two)
    cache.link_cookie(one, b"x=1")
    cache.link_cookie(two, b"x=1")
    assert linked(cache, b"x=1") is two
    cache.forget_session("s1")
    assert linked(cache, b"x=1") is two
    cache.forget_session("s2")
    assert cache.by_cookie == {}
    assert cache.bytes == 0


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache = VerifiedTokens(0)
    keep(cache, entry("a"))
    assert len(cache) == 0
    assert cache.find(bearer("a")) is None


def test_what_is_larger_than_all_is_not_kept() -> None:
    cache = VerifiedTokens(10, max_bytes=5000)
    keep(cache, entry("a", size=10_000))
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_is_used_outlives_what_is_not() -> None:
    cache = VerifiedTokens(20)
    keep(cache, *(entry(f"t{number}", f"s{number}", f"p{number}") for number in range(20)))
    used = [f"t{number}" for number in range(0, 20, 2)]
    for token in used:
        cache.find(bearer(token))
    keep(cache, *(entry(f"n{number}", f"m{number}", f"q{number}") for number in range(10)))
    assert all(cache.find(bearer(token)) is not None for token in used)


def test_one_person_cannot_push_everybody_out() -> None:
    cache = VerifiedTokens(160)
    keep(cache, *(entry(f"t{number}", f"s{number}", f"p{number}") for number in range(100)))
    keep(cache, *(entry(f"e{number}", f"es{number}", "eve") for number in range(10_000)))
    assert sum(cache.find(bearer(f"t{number}")) is not None for number in range(100)) == 100


def test_use_is_due_to_be_noted_after_a_while_and_ends_come_to_the_second() -> None:
    one = entry("a", ends_at=1000, idle_ttl=600)
    one.seen(100, 60)
    assert (one.touch_at, one.idle_ends_at, one.check_at) == (160, 760, 160)
    one.seen(970, 60)
    assert one.check_at == 1000
    unlimited = entry("b", ends_at=1000)
    unlimited.seen(100, 60)
    assert unlimited.idle_ends_at == float("inf")


def test_persons_are_told_apart_by_realm_tag_and_subject() -> None:
    names = {
        person_key(*parts) for parts in (("a:b", "t", "s"), ("a:b", "t2", "s"), ("a:c", "t", "s"), ("a:b", "t", "s2"))
    }
    assert len(names) == 4


TOKENS = st.integers(0, 30).map("t{}".format)
SESSION_IDS = st.integers(0, 7)


class AgainstAModel(RuleBasedStateMachine):
    """A dict that never forgets by itself: the cache answers nothing that is not, or no longer, in it."""

    @initialize(size=st.integers(0, 12), room=st.one_of(st.none(), st.integers(2000, 20_000)))
    def begin(self, size: int, room: int | None) -> None:
        self.size, self.room = size, room if room is not None else size * 4096
        self.cache = VerifiedTokens(size, room)
        self.model: dict[bytes, Entry] = {}
        self.cookies: dict[bytes, Entry] = {}
        self.open: list[tuple[Any, Any, str, str, bool]] = []

    @rule(token=TOKENS, number=SESSION_IDS, size=st.integers(0, 4000))
    def add(self, token: str, number: int, size: int) -> None:
        one = entry(token, f"s{number}", f"p{number % 3}", size)
        keep(self.cache, one)
        self.model[one.bearer] = one

    @rule(number=SESSION_IDS)
    def begin_reading(self, number: int) -> None:
        if len(self.open) < 4:
            watching = self.cache.reading(f"s{number}", f"p{number % 3}")
            self.open.append((watching, watching.__enter__(), f"s{number}", f"p{number % 3}", False))

    @rule(token=TOKENS)
    def end_reading(self, token: str) -> None:
        if self.open:
            watching, reading, session_id, person, tainted = self.open.pop(0)
            assert reading.tainted is tainted
            one = entry(token, session_id, person)
            self.cache.add(one, reading)
            watching.__exit__(None, None, None)
            if not tainted:
                self.model[one.bearer] = one

    @rule(number=SESSION_IDS)
    def forget_session(self, number: int) -> None:
        self.cache.forget_session(f"s{number}")
        self._forget(lambda session_id, person: session_id == f"s{number}")

    @rule(number=st.integers(0, 2), spared=st.one_of(st.none(), SESSION_IDS.map("s{}".format)))
    def forget_person(self, number: int, spared: str | None) -> None:
        self.cache.forget_person(f"p{number}", spared)
        self._forget(lambda session_id, person: person == f"p{number}" and session_id != spared)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self._forget(lambda session_id, person: True)

    def _forget(self, gone: Any) -> None:
        self.model = {name: one for name, one in self.model.items() if not gone(one.session.session_id, one.person)}
        self.open = [(*rest, sid, person, was or gone(sid, person)) for *rest, sid, person, was in self.open]

    @rule(token=TOKENS)
    def find(self, token: str) -> None:
        found = self.cache.find(bearer(token))
        assert found is None or found is self.model[bearer(token)]

    @rule(token=TOKENS)
    def remove(self, token: str) -> None:
        found = self.cache.find(bearer(token))
        if found is not None:
            self.cache.remove(found)
            self.cache.remove(found)
            assert self.cache.find(bearer(token)) is None

    @rule(token=TOKENS, header=st.integers(0, 5))
    def link(self, token: str, header: int) -> None:
        found = self.cache.find(bearer(token))
        if found is not None:
            self.cache.link_cookie(found, b"cookie" * header)

    @invariant()
    def bounded(self) -> None:
        if not hasattr(self, "cache"):
            return
        entries = list(self.cache.by_bearer.values())
        assert len(self.cache) == len(entries) <= self.size
        assert self.cache.bytes == sum(one.size for one in entries) <= self.room
        assert all(one in entries for one in self.cache.by_cookie.values())
        assert {name for one in entries for name in (one.session.session_id, one.person)} == set(self.cache._groups)

    def teardown(self) -> None:
        for watching, *_ in getattr(self, "open", []):
            watching.__exit__(None, None, None)
        if hasattr(self, "cache"):
            assert self.cache._readings == {}


TestAgainstAModel = AgainstAModel.TestCase
