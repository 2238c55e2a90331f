"""A latch lets threads and tasks of any loop go on, once."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from ductape_asgi.latch import Latch


def waiting(latch: Latch, count: int) -> None:
    """Until so many wait."""
    reached = threading.Event()
    for _ in range(2000):
        if latch.waiting == count:
            return
        reached.wait(0.01)
    raise AssertionError(f"{latch.waiting} wait, not {count}")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_threads_and_tasks_wait_and_go_on(backend: str) -> None:
    latch, done = Latch(), []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(latch.wait_async)
        done.append(backend)

    threads = [threading.Thread(target=latch.wait, daemon=True) for _ in range(2)]
    threads.append(threading.Thread(target=anyio.run, args=[main], kwargs={"backend": backend}, daemon=True))
    for thread in threads:
        thread.start()
    waiting(latch, 5)
    assert all(thread.is_alive() for thread in threads)
    latch.open()
    for thread in threads:
        thread.join(20)
    assert done == [backend]
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.anyio
async def test_who_comes_later_does_not_wait() -> None:
    latch = Latch()
    latch.open()
    latch.open()
    latch.wait()
    with anyio.fail_after(5):
        await latch.wait_async()
    assert latch.waiting == 0


@pytest.mark.anyio
async def test_who_gave_up_does_not_keep_it_from_opening() -> None:
    latch = Latch()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(latch.wait_async)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    latch.open()
    await latch.wait_async()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_has_gone_is_passed_over(backend: str) -> None:
    latch = Latch()

    async def give_up() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(latch.wait_async)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    anyio.run(give_up, backend=backend)
    assert latch.waiting == 1
    latch.open()
    assert asyncio.run(_passes(latch))


async def _passes(latch: Latch) -> bool:
    await latch.wait_async()
    return True
