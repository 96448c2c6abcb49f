"""One thread for a session's blocking work: disk and hashing, in the order they were asked for.

One thread and not a pool: files are read, hashed and written front to back, and sources and sinks are not made for
more. BLAKE3, reads and writes release the GIL, so the event loop runs on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Runs jobs one after another off the event loop."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tallow-disk")
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

    async def close(self) -> None:
        """Drop jobs that have not begun and wait for the one that has. The event loop goes on meanwhile."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._jobs:
            await asyncio.wait(self._jobs)

    def _start(self, job: Callable[[], T]) -> asyncio.Future[T]:
        future = asyncio.get_running_loop().run_in_executor(self._executor, job)
        self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)
        return future
