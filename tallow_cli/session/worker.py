"""One thread for a session's blocking work: disk and hashing, in the order they were asked for.

One thread and not a pool: files are read, hashed and written front to back, and sources and sinks are not made for
more. BLAKE3, reads and writes release the GIL, so the event loop runs on meanwhile. A daemon thread and not an
executor's: a disk that never answers must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

CLOSE_WAIT_S: Final = (
    30.0  # as long as a busy disk may need for what one job does between two looks at `stopping`
)


class Worker:
    """Runs jobs one after another off the event loop on which it was made."""

    def __init__(self) -> None:
        self.stopping: Final = threading.Event()  # long jobs look at it, and end early
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._jobs: set[asyncio.Future[Any]] = set()  # not ended; of any result

    async def run(self, job: Callable[..., T], *arguments: object) -> T:
        """The job's result. Raises what it raises. Cancelling does not stop a job that has begun."""
        return await asyncio.shield(self._start(lambda: job(*arguments)))

    def submit(
        self, job: Callable[[], T], on_result: Callable[[T], None], on_error: Callable[[BaseException], None]
    ) -> None:
        """Run a job and hand its result, or its exception, to a callback on the event loop.

        `on_error` is told of what `on_result` raises, too: nobody else would be.
        """

        def finished(done: asyncio.Future[T]) -> None:
            if done.cancelled():
                return
            error = done.exception()
            if error is None:
                try:
                    on_result(done.result())
                except Exception as problem:  # noqa: BLE001 - a callback of the loop hands every error on
                    error = problem
            if error is not None:
                on_error(error)

        self._start(job).add_done_callback(finished)

    def tell(self, callback: Callable[[], object]) -> None:
        """From within a job: have the event loop call this, before anything is heard of the job's end."""
        with contextlib.suppress(RuntimeError):  # the loop has ended without waiting for us
            self._loop.call_soon_threadsafe(callback)

    async def close(self, wait_s: float = CLOSE_WAIT_S) -> bool:
        """Drop jobs that have not begun, ask the one that has to stop, and wait for it. The event loop goes on
        meanwhile.

        False if it has not ended after `wait_s`: then the disk hangs, and the thread is left to itself.
        """
        self.stopping.set()
        self._closed = True
        self._queue.put(None)
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=wait_s)
        hangs = [job for job in self._jobs if not job.done()]
        for job in hangs:
            job.cancel()
        return not hangs

    def _start(self, job: Callable[[], T]) -> asyncio.Future[T]:
        if self._closed:
            raise RuntimeError("the worker is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tallow-disk", daemon=True)
            self._thread.start()
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)
        self._queue.put((job, future))
        return future

    def _work(self) -> None:
        """The thread."""
        while (item := self._queue.get()) is not None:
            job, future = item
            if self._closed:
                self.tell(future.cancel)
                continue
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - whoever asked for the job is told, whatever it is
                self.tell(lambda future=future, error=error: _fail(future, error))  # type: ignore[misc]
            else:
                self.tell(lambda future=future, result=result: _finish(future, result))  # type: ignore[misc]
            del item, job, future  # or the last job's data would live until the next


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future takes any but this one
        error = RuntimeError(f"a job raised {error!r}")
    future.set_exception(error)
