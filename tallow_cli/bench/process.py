"""What both kinds of worker process share: settings from the parent, their event loop, their voice, their use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tallow_cli.errors import ExitCode

EventLoopName = Literal["uvloop", "asyncio"]


@dataclass(frozen=True, slots=True)
class BareSettings:
    """What a process of `bench.bare` is told."""

    role: Literal["offer", "answer"]
    size: int
    loop: EventLoopName = "uvloop"


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a worker used up: CPU seconds since it began its work, and its largest resident size."""

    cpu_s: float
    max_rss_bytes: int | None  # None where the system does not say


def loop_factory(name: EventLoopName) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop; None is asyncio's own, also where uvloop is not installed."""
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def leave_ctrl_c_to_parent() -> None:
    """The parent gets it too, and ends what it started: a process here ends with its parent's voice, or is killed.

    Otherwise the parent would sometimes hear of a process that died first, and take that for the reason of the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_with_parent() -> None:
    """From now on, end when standard input does, which the parent keeps open while it lives."""
    threading.Thread(target=_end_at_end_of_input, daemon=True).start()


def _end_at_end_of_input() -> None:
    sys.stdin.read()
    os._exit(ExitCode.TERMINATED)


def say(event: str, fields: Mapping[str, Any]) -> None:
    """Write one event to the parent process, as a JSON line."""
    sys.stdout.write(msgspec.json.encode({"event": event, **fields}).decode() + "\n")
    sys.stdout.flush()


def say_use(cpu_before_s: float) -> None:
    """Say what this process used since its `time.process_time()` was `cpu_before_s`."""
    use = ProcessUse(time.process_time() - cpu_before_s, _max_rss_bytes())
    say("use", msgspec.to_builtins(use))


def _max_rss_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, everyone else KiB
