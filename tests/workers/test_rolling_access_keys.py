"""Access keys rolled ``[old]``, ``[old, new]``, ``[new, old]``, ``[new]`` over four processes that are in use."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ductape_asgi.keys import new_access_key

from .processes import DEADLINE, WorkerProcess

WORKERS = 4
CLIENTS = 3
#: What each client does between two steps of the roll-out, at least.
TURNS = 25


class Fleet:
    """Workers that are restarted one by one, each behind a lock, as behind a balancer that waits."""

    def __init__(self, path: str, keys: list[str]) -> None:
        self._path = path
        self._locks = [threading.Lock() for _ in range(WORKERS)]
        self.workers = [self._started(keys) for _ in range(WORKERS)]

    def _started(self, keys: list[str]) -> WorkerProcess:
        worker = WorkerProcess()
        worker.ask("open", path=self._path, keys=keys, algorithm="EdDSA")
        return worker

    def restart(self, number: int, keys: list[str]) -> None:
        with self._locks[number]:
            self.workers[number].stop()
            self.workers[number] = self._started(keys)

    def call(self, number: int, verb: str, **arguments: Any) -> Any:
        with self._locks[number]:
            return self.workers[number].call(verb, **arguments)

    def on_each(self, verb: str, **arguments: Any) -> list[Any]:
        return [self.call(number, verb, **arguments) for number in range(WORKERS)]

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()


class Client(threading.Thread):
    """A person with several devices, who never rests and remembers every refusal."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        super().__init__(daemon=True)
        self.who = f"client-{number}"
        self.turns = 0
        self.complaints: list[str] = []
        self.resting = threading.Event()
        self._fleet = fleet
        self._chance = random.Random(number)
        self._sessions: list[dict[str, Any]] = []
        self._renew = threading.Event()

    def run(self) -> None:
        try:
            while not self.resting.is_set():
                if self._renew.is_set():
                    for place in range(len(self._sessions)):
                        self._refresh(place)
                    self._renew.clear()
                self._turn()
                self.turns += 1
        except Exception as error:
            self.complaints.append(repr(error))

    def renew(self) -> None:
        """Refresh every session once, as all clients do in the course of a `session_ttl`."""
        self._renew.set()
        _until(lambda: not self._renew.is_set() or bool(self.complaints))

    def _turn(self) -> None:
        if len(self._sessions) < 4:
            self._sessions.append(self._ask("start", data={"userId": self.who}))
            return
        place = self._chance.randrange(len(self._sessions))
        turn = self._chance.choice(["verify", "verify", "refresh", "list", "revoke_all"])
        getattr(self, f"_{turn}")(place)

    def _verify(self, place: int) -> None:
        session = self._ask("verify", token=self._sessions[place]["token"])
        if session.get("identifier") != self.who:
            self.complaints.append(f"verified as {session}")

    def _refresh(self, place: int) -> None:
        """Twice, at two workers, as a client does whose first answer got lost."""
        token = self._sessions[place]["refresh_token"]
        first, again = (self._ask("refresh", refresh_token=token) for _ in range(2))
        if first.get("refresh_token") != again.get("refresh_token"):
            self.complaints.append("a retried refresh got another child")
        self._sessions[place] = again

    def _list(self, place: int) -> None:
        page = self._ask("list", identifier=self.who)
        if page.get("session_ids") != [each["session_id"] for each in reversed(self._sessions)]:
            self.complaints.append("an incomplete list")

    def _revoke_all(self, place: int) -> None:
        if self._ask("revoke_all", identifier=self.who) != len(self._sessions):
            self.complaints.append("an incomplete revoke_all")
        self._sessions.clear()

    def _ask(self, verb: str, **arguments: Any) -> Any:
        answer = self._fleet.call(self._chance.randrange(WORKERS), verb, **arguments)
        if isinstance(answer, dict) and "refused" in answer:
            self.complaints.append(f"{verb}: {answer['refused']}")
        return answer


def _until(reached: Callable[[], bool]) -> None:
    """Wait for other threads, by looking."""
    waiting = threading.Event()
    for _ in range(DEADLINE * 100):
        if reached():
            return
        waiting.wait(0.01)
    raise AssertionError(f"not reached within {DEADLINE} s")


@contextmanager
def load(fleet: Fleet) -> Iterator[list[Client]]:
    clients = [Client(fleet, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.resting.set()
        for client in clients:
            client.join(DEADLINE)


def work_on(clients: list[Client]) -> None:
    goals = [client.turns + TURNS for client in clients]
    _until(lambda: all(c.turns >= goal or c.complaints for c, goal in zip(clients, goals, strict=True)))
    assert [complaint for client in clients for complaint in client.complaints] == []


@pytest.fixture
def keys() -> tuple[str, str]:
    return new_access_key(), new_access_key()


@pytest.fixture
def fleet(path: str, keys: tuple[str, str]) -> Iterator[Fleet]:
    fleet = Fleet(path, [keys[0]])
    yield fleet
    fleet.kill()


def test_a_roll_out_under_load_refuses_nobody_before_the_old_key_is_dropped(
    fleet: Fleet, keys: tuple[str, str]
) -> None:
    old, new = keys
    untouched = fleet.call(0, "start", data={"userId": "ann"})
    renewed = fleet.call(1, "start", data={"userId": "bob"})
    with load(fleet) as clients:
        work_on(clients)
        for step in ([old, new], [new, old]):
            for number in range(WORKERS):
                fleet.restart(number, step)
                check_listing(fleet, f"person-{step == [new, old]}-{number}")
                work_on(clients)
            assert fleet.on_each("verify", token=untouched["token"])[0]["session_id"] == untouched["session_id"]
        renewed = fleet.call(2, "refresh", refresh_token=renewed["refresh_token"])
        for client in clients:
            client.renew()
        for number in range(WORKERS):
            fleet.restart(number, [new])
            check_listing(fleet, f"person-last-{number}")
            work_on(clients)

    assert fleet.on_each("verify", token=untouched["token"]) == [{"refused": "invalid_token"}] * WORKERS
    assert (
        fleet.on_each("refresh", refresh_token=untouched["refresh_token"]) == [{"refused": "invalid_token"}] * WORKERS
    )
    assert {each["identifier"] for each in fleet.on_each("verify", token=renewed["token"])} == {"bob"}
    assert fleet.call(0, "refresh", refresh_token=renewed["refresh_token"])["session_id"] == renewed["session_id"]


def check_listing(fleet: Fleet, who: str) -> None:
    """Whichever worker started a session, every worker lists it, and one `revoke_all` ends it."""
    issued = [fleet.call(number, "start", data={"userId": who}) for number in range(WORKERS)]
    newest_first = [each["session_id"] for each in reversed(issued)]
    assert [page["session_ids"] for page in fleet.on_each("list", identifier=who)] == [newest_first] * WORKERS

    assert fleet.call(0, "revoke_all", identifier=who) == WORKERS

    for each in issued:
        assert fleet.on_each("verify", token=each["token"]) == [{"refused": "revoked_session"}] * WORKERS


def test_a_refresh_retried_across_workers_with_different_first_keys_gets_one_child(
    fleet: Fleet, keys: tuple[str, str]
) -> None:
    old, new = keys
    for number in range(WORKERS):
        fleet.restart(number, [old, new] if number % 2 else [new, old])
    issued = fleet.call(1, "start", data={"userId": "ann"})

    for _ in range(5):
        for worker in fleet.workers:
            worker.send("call", verb="refresh", each=[{"refresh_token": issued["refresh_token"]}] * 10)
        answers = [answer for worker in fleet.workers for answer in worker.answer()]
        assert len({answer["refresh_token"] for answer in answers}) == 1
        verified = [fleet.call(number, "verify", token=answers[-1]["token"]) for number in range(WORKERS)]
        assert {each["session_id"] for each in verified} == {issued["session_id"]}
        issued = answers[0]
