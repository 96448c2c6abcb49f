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


async def test_closing_does_not_wait_for_a_job_that_never_ends() -> None:
    worker = Worker()
    began, never = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        never.wait(60)

    told: list[object] = []
    worker.submit(hang, told.append, told.append)
    worker.submit(lambda: told.append("second"), told.append, told.append)
    await asyncio.to_thread(began.wait, 10)
    assert not await worker.close(wait_s=0.01)
    assert told == []
    never.set()  # and what it returns by then reaches nobody
    await asyncio.sleep(0)


async def test_a_job_may_look_whether_it_should_stop_and_tell_how_far_it_came() -> None:
    worker = Worker()
    heard: list[int] = []
    began = threading.Event()

    def job() -> str:
        worker.tell(lambda: heard.append(1))
        began.set()
        worker.stopping.wait(10)
        worker.tell(lambda: heard.append(2))
        return "ended early"

    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_result(result: str) -> None:
        heard.append(3)
        ended.set_result(result)

    worker.submit(job, on_result, lambda _: None)
    await asyncio.to_thread(began.wait, 10)
    assert await worker.close()
    assert await ended == "ended early"
    assert heard == [1, 2, 3]


async def test_an_exception_that_futures_do_not_take_is_told_all_the_same() -> None:
    worker = Worker()

    def job() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await worker.run(job)
    await worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        await worker.run(job)


def test_a_job_that_ends_after_its_loop_harms_nobody() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        began.set()
        may_end.wait(10)
        ended.set()

    async def leave() -> None:
        worker = Worker()
        worker.submit(job, lambda _: None, lambda _: None)
        await asyncio.to_thread(began.wait, 10)
        assert not await worker.close(wait_s=0)

    asyncio.run(leave())
    may_end.set()
    assert ended.wait(10)
