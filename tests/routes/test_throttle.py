"""How many sign-ins may be tried."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import ConfigurationError, LoginAttempt, Throttle
from ductape_asgi.routes.throttle import LoginThrottle

from .support import Person, World, claimed, problem

pytestmark = pytest.mark.anyio


def attempt(address: str | None = "203.0.113.9", identifier: str | None = None, at: float = 0) -> LoginAttempt:
    return LoginAttempt(address, identifier, at)


async def admitted(throttle: Throttle, tries: int, **given: Any) -> int:
    return [await throttle.admit(attempt(**given)) for _ in range(tries)].count(None)


async def test_so_many_may_fail_from_one_address() -> None:
    throttle = Throttle(per_address=5, within=60)
    assert await admitted(throttle, 20) == 5
    assert await admitted(throttle, 20, address="203.0.113.10") == 5


async def test_so_many_may_fail_for_one_person_from_wherever() -> None:
    throttle = Throttle(per_identifier=3, within=60)
    results = [await throttle.admit(attempt(f"203.0.113.{n}", "ann")) for n in range(10)]
    assert results.count(None) == 3
    assert await throttle.admit(attempt("203.0.113.99", "bob")) is None


async def test_what_is_used_up_comes_back_evenly() -> None:
    throttle = Throttle(per_address=6, within=60)
    assert await admitted(throttle, 10) == 6
    wait = await throttle.admit(attempt(at=0))
    assert wait == pytest.approx(10)
    assert await throttle.admit(attempt(at=9.9)) is not None
    assert await throttle.admit(attempt(at=10)) is None
    assert await throttle.admit(attempt(at=10)) is not None
    assert await admitted(throttle, 10, at=1000) == 6


async def test_who_hammers_on_waits_no_longer() -> None:
    throttle = Throttle(per_address=1, within=60)
    assert await admitted(throttle, 1000) == 1
    assert await throttle.admit(attempt(at=60)) is None


async def test_right_credentials_cost_nothing() -> None:
    throttle = Throttle(per_address=2, per_identifier=2, within=60)
    for _ in range(50):
        one = attempt(identifier="ann")
        assert await throttle.admit(one) is None
        await throttle.succeeded(one)
    assert await admitted(throttle, 10, identifier="ann") == 2


async def test_knowing_one_password_buys_no_guesses_at_others() -> None:
    throttle = Throttle(per_address=4, within=60)
    admissions = 0
    for _ in range(20):
        admissions += await admitted(throttle, 1, identifier="victim")
        own = attempt(identifier="mallory")
        if await throttle.admit(own) is None:
            await throttle.succeeded(own)
    assert admissions == 4


async def test_an_ipv6_network_is_one_address() -> None:
    throttle = Throttle(per_address=3, within=60)
    results = [await throttle.admit(attempt(f"2001:db8:1:2::{n:x}")) for n in range(1, 20)]
    assert results.count(None) == 3
    assert await throttle.admit(attempt("2001:db8:1:3::1")) is None


async def test_an_ipv4_address_is_the_same_however_it_is_written() -> None:
    throttle = Throttle(per_address=1, within=60)
    assert await throttle.admit(attempt("203.0.113.9")) is None
    assert await throttle.admit(attempt("::ffff:203.0.113.9")) is not None
    assert await throttle.admit(attempt("::ffff:203.0.113.10")) is None


async def test_names_are_compared_as_people_read_them() -> None:
    throttle = Throttle(per_identifier=1, within=60)
    assert await throttle.admit(attempt(None, "Ann@shop.test")) is None
    for name in ("ann@shop.test", " ANN@shop.test ", "\uff21nn@shop.test"):
        assert await throttle.admit(attempt(None, name)) is not None
    assert await throttle.admit(attempt(None, "\ud800")) is None


async def test_without_address_or_name_nothing_is_counted() -> None:
    assert await admitted(Throttle(per_address=1, per_identifier=1), 10, address=None) == 10


async def test_a_clock_that_is_put_back_locks_nobody_out_for_longer() -> None:
    throttle = Throttle(per_address=2, within=60)
    await admitted(throttle, 5, at=1_000_000)
    wait = await throttle.admit(attempt(at=0))
    assert wait is not None
    assert wait <= 60
    assert await throttle.admit(attempt(at=wait)) is None


async def test_memory_is_bounded_whatever_is_sent() -> None:
    throttle = Throttle(size=100)
    for number in range(1500):
        await throttle.admit(attempt(f"10.0.{number // 250}.{number % 250}", f"{number}" * 1000))
    for buckets in (throttle._addresses, throttle._identifiers):
        assert len(buckets._until) == 100
        assert max(map(len, buckets._until)) <= 32


@pytest.mark.parametrize(
    "given",
    [{"per_address": 0}, {"per_identifier": -1}, {"size": 0}, {"per_address": True}, {"within": 0}, {"within": "x"}],
)
def test_what_cannot_be_counted_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Throttle(**given)


# At the endpoint.


async def guess(person: Person, times: int, user: str = "ann") -> list[int]:
    return [(await person.sign_in(user, password="guessed")).status for _ in range(times)]


async def test_guessing_is_slowed_down_before_authenticate_is_asked(world: World) -> None:
    asked: list[str] = []

    async def never(request: Any) -> None:
        asked.append("asked")

    ann = world.person(authenticate=never, throttle=Throttle(per_address=3, within=300))
    assert await guess(ann, 5) == [401] * 3 + [429] * 2
    assert len(asked) == 3
    answer = await ann.sign_in(password="guessed")
    assert problem(answer) == (429, "too_many_attempts")
    assert answer.header("retry-after") == "100"
    world.clock.advance(100)
    assert await guess(ann, 2) == [401, 429]


async def test_the_right_password_does_not_help_while_it_lasts(world: World) -> None:
    ann = world.person(throttle=Throttle(per_address=2, within=300))
    await guess(ann, 2)
    assert (await ann.sign_in()).status == 429
    world.clock.advance(300)
    assert (await ann.sign_in()).status == 200


async def test_one_person_is_counted_from_all_addresses(world: World) -> None:
    options = {"login_identifier": claimed, "throttle": Throttle(per_identifier=3), "trusted_proxies": ["203.0.113.9"]}
    ann = world.person(**options)
    statuses = []
    for number in range(5):
        forwarded = [(b"x-forwarded-for", f"198.51.100.{number}".encode())]
        statuses.append((await ann.sign_in(password="guessed", headers=forwarded)).status)
    assert statuses == [401] * 3 + [429] * 2
    assert (await ann.sign_in("bob", headers=[(b"x-forwarded-for", b"198.51.100.99")])).status == 200


async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(world: World) -> None:
    for trusted, expected in (([], [401, 429, 429]), (["203.0.113.0/24"], [401, 401, 401])):
        ann = world.person(throttle=Throttle(per_address=1), trusted_proxies=trusted)
        statuses = []
        for number in range(3):
            forwarded = [(b"x-forwarded-for", f"198.51.100.{number}".encode())]
            statuses.append((await ann.sign_in(password="guessed", headers=forwarded)).status)
        assert statuses == expected


async def test_there_is_a_throttle_unless_it_is_switched_off(world: World) -> None:
    assert (await guess(world.person(throttle="default"), 40)).count(401) == 30
    assert (await guess(world.person(throttle=None), 40)).count(401) == 40


async def test_two_routes_do_not_share_the_default(world: World) -> None:
    for _ in range(2):
        assert (await guess(world.person(throttle="default"), 31)).count(401) == 30


class Own:
    """A throttle as one might write on Redis."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seen: list[tuple[str, LoginAttempt]] = []
        self.error = error

    async def admit(self, attempt: LoginAttempt) -> float | None:
        self.seen.append(("admit", attempt))
        if self.error is not None:
            raise self.error
        return 7.2 if attempt.identifier == "ann" else None

    async def succeeded(self, attempt: LoginAttempt) -> None:
        self.seen.append(("succeeded", attempt))


async def test_a_throttle_of_ones_own_decides(world: World) -> None:
    own: LoginThrottle = Own()
    person = world.person(throttle=own, login_identifier=claimed)
    answer = await person.sign_in("ann")
    assert problem(answer) == (429, "too_many_attempts")
    assert answer.header("retry-after") == "8"
    assert (await person.sign_in("bob")).status == 200
    at = world.clock()
    assert own.seen == [  # type: ignore[attr-defined]
        ("admit", LoginAttempt("203.0.113.9", "ann", at)),
        ("admit", LoginAttempt("203.0.113.9", "bob", at)),
        ("succeeded", LoginAttempt("203.0.113.9", "bob", at)),
    ]


async def test_a_throttle_that_fails_lets_nobody_in(world: World) -> None:
    with pytest.raises(OSError, match="redis"):
        await world.person(throttle=Own(OSError("redis is gone"))).sign_in()
    assert (await world.sessions.list(tag="user-session", identifier="ann")).count == 0


async def test_a_reader_that_answers_no_text_lets_nobody_in(world: World) -> None:
    async def number(request: Any) -> int:
        return 7

    assert problem(await world.person(login_identifier=number).sign_in()) == (500, "configuration_error")
