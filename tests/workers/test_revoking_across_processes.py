"""P1 on SQLite: what one process acknowledged, a request that starts afterwards in another one knows."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import OpenWorkers
from .processes import Died, WorkerProcess

SESSIONS = 1000
#: The points of the writer's path, in its order; up to the commit the step has not happened.
BEFORE, AFTER = ["begun", "written", "announced"], ["committed", "answering"]


def started(worker: WorkerProcess, count: int, who: str = "ann") -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = worker.ask("call", verb="start", each=[{"data": {"userId": who}}] * count)
    return answers


def cached(worker: WorkerProcess, issued: list[dict[str, Any]]) -> None:
    """Have `worker` serve these from its cache, and see that it does: through the verb and through the middleware."""
    tokens = [each["token"] for each in issued]
    for token in tokens:
        assert worker.ask("request", token=token) == 200
    before = worker.ask("calls")
    for token in tokens:
        assert worker.ask("request", token=token) == 200
    verified = worker.ask("call", verb="verify", each=[{"token": token} for token in tokens])
    assert [each["session_id"] for each in verified] == [each["session_id"] for each in issued]
    assert worker.ask("calls") == before


def test_a_revoked_session_is_refused_in_another_process_1000_of_1000(open_workers: OpenWorkers) -> None:
    revoker, server = open_workers(2)
    issued = started(revoker, SESSIONS)
    cached(server, issued)

    refused = 0
    for number, each in enumerate(issued):
        assert revoker.call("revoke", session_id=each["session_id"]) is True
        if number % 2:
            refused += server.ask("request", token=each["token"]) == 401
        else:
            refused += server.call("verify", token=each["token"]) == {"refused": "revoked_session"}

    assert refused == SESSIONS


def test_after_each_revoke_the_others_are_hits_again_once_the_log_was_read(open_workers: OpenWorkers) -> None:
    revoker, server = open_workers(2)
    kept, *others = started(revoker, 20)
    cached(server, [kept])

    before = server.ask("calls")
    for each in others:
        revoker.call("revoke", session_id=each["session_id"])
        assert server.ask("request", token=kept["token"]) == 200

    assert server.ask("calls") == before


def test_revoke_all_is_known_in_every_process(open_workers: OpenWorkers) -> None:
    workers = open_workers(3)
    issued = started(workers[0], 30)
    for worker in workers:
        cached(worker, issued)
    current = issued[7]

    ended = workers[1].call("revoke_all", identifier="ann", exclude_current_session=current["session_id"])

    assert ended == 29
    for worker in workers:
        statuses = [worker.ask("request", token=each["token"]) for each in issued]
        assert statuses == [200 if each is current else 401 for each in issued]


def test_updated_data_is_known_in_every_process(open_workers: OpenWorkers) -> None:
    workers = open_workers(3)
    issued = started(workers[0], 10)
    for worker in workers:
        cached(worker, issued)

    assert workers[2].call("update", identifier="ann", data={"userId": "ann", "role": "guest"}) == 10

    for worker in workers:
        for each in issued:
            assert worker.call("verify", token=each["token"])["data"] == {"userId": "ann", "role": "guest"}


def test_a_sign_in_that_replaces_a_session_ends_it_in_every_process(open_workers: OpenWorkers) -> None:
    workers = open_workers(2)
    (old,) = started(workers[0], 1)
    cached(workers[1], [old])

    workers[0].call("start", data={"userId": "ann"}, replaces=old["session_id"])

    assert workers[1].ask("request", token=old["token"]) == 401


VERBS: dict[str, tuple[str, Any]] = {
    "revoke": ("revoke", lambda each: {"session_id": each["session_id"]}),
    "revoke_all": ("revoke_all", lambda each: {"identifier": each["identifier"]}),
    "start": ("create", lambda each: {"data": {"userId": "eve"}, "replaces": each["session_id"]}),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("point", BEFORE + AFTER)
def test_a_writer_killed_before_it_answered_is_believed_exactly_when_it_had_committed(
    open_workers: OpenWorkers, verb: str, point: str
) -> None:
    doomed, server = open_workers(2)
    issued = [each for number in range(10) for each in started(server, 1, who=f"user-{number}")]
    cached(server, issued)
    step, arguments = VERBS[verb]

    with pytest.raises(Died):
        doomed.ask("die_in", verb=verb, each=[arguments(each) for each in issued], step=step, point=point)
    assert doomed.ended() == -9

    gone = [server.ask("record", session_id=each["session_id"]) is None for each in issued]
    assert any(gone) == (point in AFTER)
    statuses = [server.ask("request", token=each["token"]) for each in issued]
    assert statuses == [401 if ended else 200 for ended in gone]


@pytest.mark.parametrize("point", BEFORE + AFTER)
def test_updated_data_of_a_killed_writer_shows_exactly_when_it_had_committed(
    open_workers: OpenWorkers, point: str
) -> None:
    doomed, server = open_workers(2)
    (issued,) = started(server, 1)
    cached(server, [issued])

    data = {"userId": "ann", "role": "guest"}
    with pytest.raises(Died):
        doomed.ask("die_in", verb="update", each=[{"identifier": "ann", "data": data}], step="update", point=point)

    expected = data if point in AFTER else {"userId": "ann"}
    assert server.call("verify", token=issued["token"])["data"] == expected


def test_after_a_writer_died_with_its_announcement_made_revocations_still_arrive(open_workers: OpenWorkers) -> None:
    doomed, server, revoker = open_workers(3)
    issued = started(server, 20)
    cached(server, issued)
    with pytest.raises(Died):
        doomed.ask(
            "die_in",
            verb="revoke",
            each=[{"session_id": issued[0]["session_id"]}],
            step="revoke",
            point="announced",
        )

    for each in issued:
        assert server.ask("request", token=each["token"]) == 200
        assert revoker.call("revoke", session_id=each["session_id"]) is True
        assert server.ask("request", token=each["token"]) == 401
