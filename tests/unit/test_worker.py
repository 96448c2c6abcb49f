"""session.worker: blocking work in one thread, in order, with every error heard."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tallow_cli.session.worker import Worker


async def test_jobs_run_one_after_another_in_their_order() -> None:
    worker = Worker()
    order: list[int] = []
    done = asyncio.Event()
    for number in range(20):
        worker.submit(lambda number=number: order.append(number), lambda _: None, lambda _: None)  # type: ignore[misc]
    worker.submit(threading.get_ident, lambda _: done.set(), lambda _: None)
    await done.wait()
    assert order == list(range(20))
    await worker.close()


async def test_a_job_that_fails_tells_its_error() -> None:
    worker = Worker()
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    worker.submit(lambda: 1 // 0, lambda _: None, failed.set_result)
    assert isinstance(await failed, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    await worker.close()


async def test_a_result_that_nobody_can_use_is_an_error_too() -> None:
    worker = Worker()
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def refuse(_result: int) -> None:
        raise LookupError

    worker.submit(lambda: 1, refuse, failed.set_result)
    assert isinstance(await failed, LookupError)
    await worker.close()


async def test_closing_waits_for_the_job_that_has_begun_and_drops_the_others() -> None:
    worker = Worker()
    began, may_end = threading.Event(), threading.Event()
    finished: list[str] = []

    def first() -> None:
        began.set()
        may_end.wait(10)
        finished.append("first")

    worker.submit(first, lambda _: None, lambda _: None)
    worker.submit(lambda: finished.append("second"), lambda _: None, lambda _: None)
    await asyncio.to_thread(began.wait, 10)
    closing = asyncio.create_task(worker.close())
    await asyncio.sleep(0)
    assert not closing.done()  # and the event loop runs: this line is reached
    may_end.set()
    await closing
    assert finished == ["first"]


async def test_cancelling_who_waits_for_a_job_does_not_lose_sight_of_it() -> None:
    worker = Worker()
    began, may_end = threading.Event(), threading.Event()
    finished: list[str] = []

    def job() -> None:
        began.set()
        may_end.wait(10)
        finished.append("job")

    waiting = asyncio.create_task(worker.run(job))
    await asyncio.to_thread(began.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    may_end.set()
    await worker.close()
    assert finished == ["job"]
