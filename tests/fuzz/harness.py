"""What every fuzz of real endpoints asserts: no hang, no error that escaped or was passed over, no memory kept.

    async with probing("sctp turbo") as probe:
        while probe.goes_on():
            … one round of hostile input, drawn from probe.rng …

The seed is in the report of a failure; TALLOW_SEED repeats it. Each fuzz goes on for SECONDS times TALLOW_FUZZ, which
`make test` leaves at 1 and `make fuzz` raises.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import logging
import os
import random
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

SECONDS = 4.0 * float(os.environ.get("TALLOW_FUZZ", "1"))
# Of CPU time, so that a crowded machine is no hang. The costliest honest turn takes tens of milliseconds.
HANG_CPU_S = 4.0
MAX_GROWTH_BYTES = 160 * 1024 * 1024
LIBRARIES = ("aiortc", "aioice", "asyncio", "websockets")


class Hang(BaseException):
    """Raised in the event loop's thread by the watchdog. Not an Exception, so that nothing passes it over."""


class Watchdog(threading.Thread):
    """Notices that the loop got no turn while the process worked, whatever the loop does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True, name="fuzz watchdog")
        self._loop = loop
        self._victim = threading.get_ident()
        self._beat_cpu = time.process_time()
        self._ended = threading.Event()
        self.found = False

    def beat(self) -> None:
        self._beat_cpu = time.process_time()
        if not self._ended.is_set():
            self._loop.call_later(0.05, self.beat)

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        while not self._ended.wait(0.2):
            if time.process_time() - self._beat_cpu > HANG_CPU_S:
                self.found = True
                faulthandler.dump_traceback(file=sys.__stderr__)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._victim), ctypes.py_object(Hang)
                )
                return


class _Complaints(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(self.format(record))


class Probe:
    """`rng`: the only source of chance. `complaints`: what ended up at the loop's handler or in a library's log."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.rng = random.Random(f"{name} {seed}")
        self.rounds = 0
        self.complaints: list[str] = []
        self._ends_at = time.monotonic() + SECONDS
        self._rss_at_first: int | None = None

    def goes_on(self) -> bool:
        self.rounds += 1
        if self._rss_at_first is None and self.rounds > 3:
            gc.collect()
            self._rss_at_first = rss_bytes()
        return time.monotonic() < self._ends_at

    def __str__(self) -> str:
        return f"{self.name}: TALLOW_SEED={self.seed}, round {self.rounds}"

    def check(self) -> None:
        gc.collect()  # tasks whose errors nobody asked for say so when they go
        assert not self.complaints, f"{self}: {self.complaints[:3]}"
        if self._rss_at_first is not None:
            growth = rss_bytes() - self._rss_at_first
            assert growth < MAX_GROWTH_BYTES, f"{self}: {growth / 2**20:.0f} MiB kept"


@asynccontextmanager
async def probing(name: str) -> AsyncIterator[Probe]:
    seed = int(os.environ.get("TALLOW_SEED") or random.SystemRandom().randrange(1 << 32))
    probe = Probe(name, seed)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: probe.complaints.append(_told(context)))
    handler = _Complaints(probe.complaints)
    loggers = [logging.getLogger(library) for library in LIBRARIES]
    for logger in loggers:
        logger.addHandler(handler)
    watchdog = Watchdog(loop)
    watchdog.beat()
    watchdog.start()
    try:
        yield probe
        await asyncio.sleep(0.05)
        probe.check()
        print(f"{probe} passed", file=sys.stderr)
    except BaseException as error:
        error.add_note(f"{probe}, complaints: {probe.complaints[:3]}")
        raise
    finally:
        watchdog.end()
        for logger in loggers:
            logger.removeHandler(handler)
    assert not watchdog.found, f"{probe}: the event loop hung"


def rss_bytes() -> int:
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _told(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r} in {context.get('handle') or context.get('task')}"
