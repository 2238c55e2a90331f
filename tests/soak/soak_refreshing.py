"""P3 as the issue states it: 1,000 refreshes of one token at once, over 8 processes, on each store.

The limits are those of production.  Who is turned away by them (503) asks again, as a client does; nobody may be told
anything else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from ductape_asgi import Sessions, new_access_key
from tests.redis_servers import fresh
from tests.workers.processes import WorkerProcess

PROCESSES = 8
CALLERS = 1_000
ROUNDS = 3
BUSY = {"refused": "store_unavailable"}
#: What a client that was turned away waits before it asks again, in seconds; ``Retry-After`` says 1.
PAUSE = 0.2


@pytest.fixture(params=["sqlite", "redis", "redis+sentinel", "redis+cluster", "postgres"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    """Processes on one store, all open."""
    given = {"redis": "redis_url", "redis+sentinel": "sentinel_url", "redis+cluster": "redis_cluster_url"}
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/sessions.db"
    elif request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    else:
        url = fresh(request.getfixturevalue(given[request.param]))
    with ExitStack() as stack:
        workers = [stack.enter_context(WorkerProcess()) for _ in range(PROCESSES)]
        key = new_access_key()
        for worker in workers:
            worker.send("open", keys=[key], store=url)
        assert [worker.answer() for worker in workers] == [None] * PROCESSES
        yield workers


def at_once(workers: list[WorkerProcess], refresh_token: str, callers: int) -> list[dict[str, Any]]:
    """So many refreshes of one token, all sent before the first answer is read."""
    shares = [callers // PROCESSES + (number < callers % PROCESSES) for number in range(PROCESSES)]
    for worker, share in zip(workers, shares, strict=True):
        worker.send("call", verb="refresh", each=[{"refresh_token": refresh_token}] * share)
    return [answer for worker in workers for answer in worker.answer()]


def patiently(worker: WorkerProcess, verb: str, **arguments: Any) -> dict[str, Any]:
    """The answer that is no 503: the circuit of a worker may be open for a moment after such a crowd."""
    for _ in range(100):
        answer: dict[str, Any] = worker.call(verb, **arguments)
        if answer != BUSY:
            return answer
        time.sleep(PAUSE)
    raise AssertionError("the store did not come back")


def test_1000_refreshes_of_one_token_in_8_processes_get_one_child(workers: list[WorkerProcess]) -> None:
    turned_away = 0
    token = (parent := workers[0].call("start", data={"userId": "ann"}))["refresh_token"]
    for generation in range(1, ROUNDS + 1):
        answers: list[dict[str, Any]] = []
        while len(answers) < CALLERS:
            more = at_once(workers, token, CALLERS - len(answers))
            if BUSY in more:
                turned_away += more.count(BUSY)
                time.sleep(PAUSE)
            answers += [answer for answer in more if answer != BUSY]

        assert Counter(answer.get("refused") for answer in answers) == {None: CALLERS}
        (child,) = {answer["refresh_token"] for answer in answers}
        assert child != token
        assert {answer["session_id"] for answer in answers} == {parent["session_id"]}
        for number, worker in enumerate(workers):
            assert worker.ask("record", session_id=parent["session_id"])["generation"] == generation
            verified = patiently(worker, "verify", token=answers[number]["token"])
            assert verified["session_id"] == parent["session_id"]
        token = child
    print(f"{ROUNDS} times {CALLERS} refreshes; {turned_away} were turned away with a 503 and asked again")


@pytest.mark.anyio
async def test_1000_tasks_of_one_process_get_one_child() -> None:
    """`memory://` is one process."""
    async with Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://") as sessions:
        parent = await sessions.start(tag="user-session", data={"userId": "ann"})
        children: list[str | None] = []

        async def refresh() -> None:
            issued = await sessions.refresh(tag="user-session", refresh_token=parent.refresh_token or "")
            children.append(issued.refresh_token)

        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(refresh)
        assert len(children) == CALLERS
        (child,) = set(children)
        assert child not in (None, parent.refresh_token)
        assert (await sessions.refresh(tag="user-session", refresh_token=child or "")).refresh_token not in children
