"""P3 where it is hardest: many callers, several processes, one refresh token."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from .conftest import OpenWorkers
from .processes import WorkerProcess

EACH = 50


def at_once(workers: list[WorkerProcess], refresh_token: str) -> list[dict[str, Any]]:
    """`EACH` refreshes of one token in each of `workers`, all at the same time."""
    for worker in workers:
        worker.send("call", verb="refresh", each=[{"refresh_token": refresh_token}] * EACH)
    return [answer for worker in workers for answer in worker.answer()]


def test_200_refreshes_in_4_processes_get_one_child(open_workers: OpenWorkers) -> None:
    workers = open_workers(4)
    parent = workers[0].call("start", data={"userId": "ann"})

    answers = at_once(workers, parent["refresh_token"])

    assert len(answers) == 200
    assert [answer for answer in answers if "refused" in answer] == []
    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert answers[0]["refresh_token"] != parent["refresh_token"]
    assert {answer["session_id"] for answer in answers} == {parent["session_id"]}
    assert workers[1].ask("record", session_id=parent["session_id"])["generation"] == 1


def test_each_access_token_of_the_200_is_good_in_every_process(open_workers: OpenWorkers) -> None:
    workers = open_workers(4)
    parent = workers[0].call("start", data={"userId": "ann"})

    answers = at_once(workers, parent["refresh_token"])

    tokens = {answer["token"] for answer in answers}
    assert len(tokens) == 200
    for worker in workers:
        verified = worker.ask("call", verb="verify", each=[{"token": token} for token in tokens])
        assert {answer["session_id"] for answer in verified} == {parent["session_id"]}


def test_a_token_two_generations_old_ends_the_session_in_every_process(open_workers: OpenWorkers) -> None:
    workers = open_workers(4)
    parent = workers[0].call("start", data={"userId": "ann"})
    child = workers[1].call("refresh", refresh_token=parent["refresh_token"])
    grandchild = workers[2].call("refresh", refresh_token=child["refresh_token"])
    for worker in workers:
        assert worker.call("verify", token=grandchild["token"])["session_id"] == parent["session_id"]

    assert workers[3].call("refresh", refresh_token=parent["refresh_token"]) == {"refused": "refresh_reused"}

    for worker in workers:
        assert worker.call("verify", token=grandchild["token"]) == {"refused": "revoked_session"}
        assert worker.call("refresh", refresh_token=grandchild["refresh_token"]) == {"refused": "revoked_session"}
        assert worker.call("list", identifier="ann")["count"] == 0


def test_racing_reuse_and_rotation_leave_no_live_child(open_workers: OpenWorkers) -> None:
    workers = open_workers(2)
    for _ in range(20):
        parent = workers[0].call("start", data={"userId": "ann"})
        child = workers[0].call("refresh", refresh_token=parent["refresh_token"])
        newest = workers[0].call("refresh", refresh_token=child["refresh_token"])
        workers[0].send("call", verb="refresh", each=[{"refresh_token": parent["refresh_token"]}])
        workers[1].send("call", verb="refresh", each=[{"refresh_token": newest["refresh_token"]}] * 5)
        assert workers[0].answer() == [{"refused": "refresh_reused"}]
        children = [answer for answer in workers[1].answer() if "token" in answer]

        for issued in [newest, *children]:
            assert workers[1].call("verify", token=issued["token"]) == {"refused": "revoked_session"}
            assert workers[1].call("refresh", refresh_token=issued["refresh_token"]) == {"refused": "revoked_session"}


@pytest.fixture
def forgeries() -> Any:
    def of(refresh_token: str) -> list[str]:
        """The token with one byte of each of its parts altered, and with a MAC of nobody's."""
        raw = base64.urlsafe_b64decode(refresh_token[4:] + "=" * (-len(refresh_token[4:]) % 4))
        altered = [bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]]) for at in range(len(raw))]
        altered.append(raw[:-32] + bytes(32))
        return ["drt_" + base64.urlsafe_b64encode(each).decode().rstrip("=") for each in altered]

    return of


def test_a_forged_refresh_token_changes_nothing_and_costs_no_store_call(
    open_workers: OpenWorkers, forgeries: Any
) -> None:
    workers = open_workers(2)
    parent = workers[0].call("start", data={"userId": "ann"})
    child = workers[0].call("refresh", refresh_token=parent["refresh_token"])
    before = workers[0].ask("record", session_id=parent["session_id"])
    calls = [worker.ask("calls") for worker in workers]

    for worker in workers:
        forged = [*forgeries(parent["refresh_token"]), *forgeries(child["refresh_token"])]
        answers = worker.ask("call", verb="refresh", each=[{"refresh_token": token} for token in forged])
        assert answers == [{"refused": "invalid_token"}] * len(forged)

    assert [worker.ask("calls") for worker in workers] == calls
    assert workers[1].ask("record", session_id=parent["session_id"]) == before
    assert workers[1].call("verify", token=child["token"])["session_id"] == parent["session_id"]
