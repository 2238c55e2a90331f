"""Jobs from any event loop to one thread, and their answers back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial

import anyio
import pytest
import trio

from ductape_asgi.errors import StoreUnavailable
from ductape_asgi.stores import handoff
from ductape_asgi.stores.handoff import Job, Worker, answer
from ductape_asgi.testing.contract.records import all_at_once

pytestmark = pytest.mark.anyio

Echo = Worker[int]


def double(jobs: Sequence[Job[int]]) -> None:
    for job in jobs:
        job.value = job.step * 2
    answer(jobs)


async def running(run: Callable[[Sequence[Job[int]]], None] = double, **hooks: Callable[[], None]) -> Echo:
    worker = Worker("test", run, **hooks)
    await worker.start()
    return worker


async def test_each_task_gets_its_own_answer() -> None:
    worker = await running()
    answers: dict[int, int] = {}

    async def ask(number: int) -> None:
        answers[number] = await worker.do(number)

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(ask, number)
    await worker.leave().outcome()
    assert answers == {number: number * 2 for number in range(1000)}


async def test_what_waits_is_done_at_once_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handoff, "BATCH_LIMIT", 4)
    sizes: list[int] = []
    gate = threading.Event()

    def gated(jobs: Sequence[Job[int]]) -> None:
        gate.wait(10)
        sizes.append(len(jobs))
        double(jobs)

    worker = await running(gated)
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(worker.do, number)
        await until(lambda: worker._queue.qsize() >= 6)
        gate.set()
    await worker.leave().outcome()
    assert sum(sizes) == 10
    assert max(sizes) == 4


async def test_jobs_are_done_in_the_order_they_came() -> None:
    done: list[int] = []

    def note(jobs: Sequence[Job[int]]) -> None:
        done.extend(job.step for job in jobs)
        answer(jobs)

    worker = await running(note)
    for number in range(100):
        worker.do_soon(number)
    await worker.leave().outcome()
    assert done == list(range(100))


async def test_what_fails_at_the_beginning_is_raised_where_it_was_started() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    worker = Worker("test", double, begin=fail)
    with pytest.raises(ZeroDivisionError):
        await worker.start()
    assert worker.over
    with pytest.raises(StoreUnavailable):
        await worker.do(1)


async def test_leaving_finishes_what_is_queued_and_then_ends_in_the_thread() -> None:
    ended: list[str] = []
    worker = await running(end=lambda: ended.append(threading.current_thread().name))
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(worker.do, number)
        await anyio.wait_all_tasks_blocked()
        await worker.leave().outcome()
    assert ended == ["test"]


async def test_leaving_twice_is_leaving_once() -> None:
    worker = await running()
    assert await all_at_once([lambda: worker.leave().outcome() for _ in range(3)]) == [None] * 3
    await worker.leave().outcome()
    assert worker.over


async def test_a_job_that_comes_too_late_is_refused() -> None:
    worker = await running()
    await worker.leave().outcome()
    worker.do_soon(1)
    with pytest.raises(StoreUnavailable, match="closed"):
        await worker.do(1)


async def test_a_job_queued_behind_the_end_is_refused() -> None:
    gate = threading.Event()

    def gated(jobs: Sequence[Job[int]]) -> None:
        gate.wait(10)
        double(jobs)

    worker = await running(gated)
    worker.do_soon(1)
    await until(worker._queue.empty)
    left = worker.leave()
    outcomes: list[object] = []

    async def come_late() -> None:
        outcomes.extend(await all_at_once([partial(worker.do, 2)]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come_late)
        await until(lambda: worker._queue.qsize() == 2)
        gate.set()
        await left.outcome()
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable]


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not true():
            await anyio.sleep(0.001)


async def test_a_surprise_fails_its_batch_and_the_thread_goes_on() -> None:
    def stumble(jobs: Sequence[Job[int]]) -> None:
        if any(job.step == 0 for job in jobs):
            raise ZeroDivisionError
        double(jobs)

    worker = await running(stumble)
    with pytest.raises(StoreUnavailable, match="ZeroDivisionError"):
        await worker.do(0)
    assert await worker.do(2) == 4
    await worker.leave().outcome()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_a_thread_that_died() -> None:
    def die(jobs: Sequence[Job[int]]) -> None:
        raise SystemExit

    worker = await running(die)
    with anyio.fail_after(10):
        outcomes = await all_at_once([partial(worker.do, number) for number in range(5)])
    worker._thread.join(10)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 5
    # One each: a shared error would gather everybody's traceback.
    assert len({id(outcome) for outcome in outcomes}) == 5


async def test_a_cancelled_task_leaves_the_others_their_answers() -> None:
    gate = threading.Event()

    def gated(jobs: Sequence[Job[int]]) -> None:
        gate.wait(10)
        double(jobs)

    worker = await running(gated)
    with anyio.move_on_after(0.01):
        await worker.do(1)
    gate.set()
    assert await worker.do(2) == 4
    await worker.leave().outcome()


def test_two_loops_in_two_threads_share_one_worker() -> None:
    worker = asyncio.run(running())
    answers: list[int] = []

    async def ask() -> None:
        for number in range(100):
            answers.append(await worker.do(number))

    threads = [threading.Thread(target=asyncio.run, args=[ask()]), threading.Thread(target=trio.run, args=[ask])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == sorted(2 * [number * 2 for number in range(100)])

    async def leave() -> None:
        await worker.leave().outcome()

    asyncio.run(leave())


@pytest.mark.parametrize("run", [asyncio.run, lambda coroutine: trio.run(lambda: coroutine)])
def test_an_answer_for_a_loop_that_has_gone_falls_to_the_floor(run: Callable[[object], object]) -> None:
    async def make() -> Job[int]:
        return Job(1)

    job = run(make())
    assert isinstance(job, Job)
    answer([job])


def test_trio_as_a_guest_of_asyncio_is_trio() -> None:
    async def host() -> object:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[object] = loop.create_future()

        async def guest() -> int:
            worker = await running()
            doubled = await worker.do(21)
            await worker.leave().outcome()
            return int(doubled)

        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        return (await done).unwrap()  # type: ignore[attr-defined]

    assert asyncio.run(host()) == 42
