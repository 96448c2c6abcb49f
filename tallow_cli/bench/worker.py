"""One end of a benchmark run, in a process of its own: `python -m tallow_cli.bench.worker`.

    parent → worker     WorkerSettings, one JSON line (standard input, so that no code shows in `ps`)
    worker → parent     every session event as a JSON line, `error` instead of a traceback,
                        and at the end {"event": "use", "cpu_s": …, "max_rss_bytes": …}

Standard input stays open for the worker's life: when it ends, the parent is gone, and the worker ends too.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from tallow_cli.bench.process import (
    EventLoopName,
    end_with_parent,
    leave_ctrl_c_to_parent,
    loop_factory,
    say,
    say_use,
)
from tallow_cli.crypto.codes import parse_code
from tallow_cli.errors import TallowError
from tallow_cli.offer.manifest import Manifest
from tallow_cli.session.events import Failed, SessionEvent, Stats
from tallow_cli.session.receive import receive
from tallow_cli.session.send import send
from tallow_cli.session.settings import LinkSettings, ReceiveSettings, SendSettings, Waits
from tallow_cli.session.trace_file import open_trace
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.file_source import FileSource
from tallow_cli.store.memory_source import RandomSource
from tallow_cli.store.sequential_sink import NullSink
from tallow_cli.store.sink import Sink
from tallow_cli.store.source import Source

_WAITS = Waits(reconnect_s=0)  # what is measured is one connection


class WorkerSettings(msgspec.Struct, frozen=True):
    """`file` (sender) and `directory` (receiver) name what is on the disk; None keeps it in memory."""

    role: Literal["send", "receive"]
    link: LinkSettings
    size: int
    code: str | None = None  # the receiver's
    file: str | None = None
    directory: str | None = None
    loop: EventLoopName = "uvloop"
    trace: str | None = None  # a file to make


def main() -> None:
    """The process. Exits with 0, or with the error's code after an `error` line."""
    leave_ctrl_c_to_parent()
    settings = msgspec.json.decode(sys.stdin.readline(), type=WorkerSettings)
    cpu_before_s = time.process_time()
    end_with_parent()
    try:
        with _tracing(settings) as traced, asyncio.Runner(loop_factory=loop_factory(settings.loop)) as runner:
            runner.run(_send(traced) if traced.role == "send" else _receive(traced))
    except TallowError as error:
        _tell(Failed(error))
        sys.exit(error.exit_code)
    say_use(cpu_before_s)


@contextmanager
def _tracing(settings: WorkerSettings) -> Iterator[WorkerSettings]:
    """The settings with their trace open, if they name one. Raises ReportExists, TargetUnwritable."""
    if settings.trace is None:
        yield settings
        return
    role = "sender" if settings.role == "send" else "receiver"
    trace = open_trace(settings.trace, role=role, now=time.monotonic(), unix_time=time.time())
    try:
        yield msgspec.structs.replace(settings, link=replace(settings.link, trace=trace))
    finally:
        shortfall = trace.close()
        if shortfall is not None:
            sys.stderr.write(f"{shortfall}\n")


async def _send(settings: WorkerSettings) -> None:
    with closing(_source(settings)) as source:
        await send(source, SendSettings(link=settings.link, waits=_WAITS), _tell)


async def _receive(settings: WorkerSettings) -> None:
    async def decide(manifest: Manifest) -> Sink:
        return NullSink() if settings.directory is None else DirectorySink(settings.directory)

    code = parse_code(settings.code or "")
    await receive(ReceiveSettings(code=code, link=settings.link, waits=_WAITS), _tell, decide)


def _source(settings: WorkerSettings) -> Source:
    return RandomSource(settings.size) if settings.file is None else FileSource([Path(settings.file)])


def _tell(event: SessionEvent) -> None:
    if isinstance(event, Stats):
        return  # the parent wants the end's figures only, and reading would cost the machine under test
    say(event.event, _fields(event))


def _fields(event: SessionEvent) -> dict[str, Any]:
    if isinstance(event, Failed):
        return {"message": event.error.sentence, "exit_code": int(event.error.exit_code)}
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return fields


if __name__ == "__main__":
    main()
