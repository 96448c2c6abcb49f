"""Runs a scenario: two worker processes per run, one that sends and one that receives.

    results = await run_scenario(scenario, on_run=print)

Nothing is simulated: the sender starts the signaling server, the receiver finds it, they agree on keys, connect
and transfer, as `tallow send` and `tallow recv` do. Cancelling ends the processes and removes the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from tallow_cli.bench.emulated_link import LinkCounters
from tallow_cli.bench.link_process import LinkProcessSettings
from tallow_cli.bench.process import BareSettings, ProcessUse
from tallow_cli.bench.scenarios import BARE, MIB, Scenario
from tallow_cli.bench.sdp import sdp_via
from tallow_cli.bench.worker import WorkerSettings
from tallow_cli.errors import (
    BrokenOffError,
    DiskFull,
    IntegrityError,
    LocalFileError,
    NoPathError,
    NoPeerError,
    PeerVanished,
    RefusedError,
    SignalingError,
    TallowError,
    TransferStalled,
    UsageError,
    WrongCodeError,
)
from tallow_cli.measure.benchmark import BenchmarkSnapshot
from tallow_cli.measure.throughput import mbps

# How long a process told to end may take before it is killed: three of them one after another, within the time that
# a benchmark itself has to end.
END_S: Final = 1.0
_LINE_BYTES: Final = (
    4 * MIB
)  # asyncio's default of 64 KiB would be enough for all but an SDP of many addresses

# A worker's error comes back as its kind, so that `tallow bench` ends with the same exit code.
_KINDS: Final[Mapping[int, type[TallowError]]] = {
    int(kind.exit_code): kind
    for kind in (
        UsageError,
        SignalingError,
        NoPeerError,
        WrongCodeError,
        NoPathError,
        RefusedError,
        BrokenOffError,
        IntegrityError,
        LocalFileError,
    )
}


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of one subject. `seconds` goes from the first byte of payload to the receiver's confirmation."""

    subject: str  # an engine's name, or `bare`
    run: int  # from 1
    size_bytes: int
    seconds: float
    mbps: float
    sender: ProcessUse
    receiver: ProcessUse
    benchmark: BenchmarkSnapshot | None  # None for `bare`
    link: tuple[LinkCounters, LinkCounters] | None = (
        None  # of the emulated link: sender to receiver, and back
    )


@dataclass(slots=True)
class Underway:
    """The run that is being measured, for who watches: `share` of its bytes have arrived (0 for `bare`, to the end)."""

    subject: str = ""
    run: int = 0
    share: float = 0.0


class Children:
    """The processes that a scenario is running: for a parent that is left at once and may not leave them behind."""

    def __init__(self) -> None:
        self._pids: set[int] = set()

    @contextmanager
    def with_one(self, pid: int) -> Iterator[None]:
        self._pids.add(pid)
        try:
            yield
        finally:
            self._pids.discard(pid)  # it has been waited for

    def kill(self) -> None:
        """From any thread, whatever the event loop does."""
        for pid in [*self._pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


async def run_scenario(
    scenario: Scenario,
    on_run: Callable[[RunResult], None],
    underway: Underway | None = None,
    children: Children | None = None,
) -> list[RunResult]:
    """Run everything, each subject once per round, and tell `on_run` of every result. `underway` is kept up to date.

    `children` is told of every process that runs.

    Raises the kind of TallowError that ended a worker, TransferStalled after `run_timeout_s`, DiskFull.
    """
    results: list[RunResult] = []
    underway = Underway() if underway is None else underway
    with _workplace(scenario, children or Children()) as workplace:
        for run in range(1, scenario.runs + 1):
            for subject in scenario.subjects:
                underway.subject, underway.run, underway.share = subject, run, 0.0
                try:
                    async with asyncio.timeout(scenario.run_timeout_s):
                        if subject == BARE:
                            result = await _run_bare(scenario, workplace, subject, run)
                        else:
                            result = await _run_session(scenario, workplace, underway)
                except TimeoutError:
                    raise TransferStalled(f"measuring {subject}", scenario.run_timeout_s) from None
                except ExceptionGroup as group:
                    raise _first(group) from group
                results.append(result)
                on_run(result)
    return results


@dataclass(frozen=True, slots=True)
class _Workplace:
    """Directories for one scenario: where its processes find each other, and what they read and write."""

    runtime: Path
    source: Path | None  # None: no disk
    target: Path | None
    children: Children


@contextmanager
def _workplace(scenario: Scenario, children: Children) -> Iterator[_Workplace]:
    with contextlib.ExitStack() as stack:
        runtime = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallow-bench-")))
        if scenario.disk is None:
            yield _Workplace(runtime, None, None, children)
            return
        files = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tallow-bench-", dir=scenario.disk))
        )
        needed = 2 * scenario.size_bytes
        if shutil.disk_usage(files).free < needed:
            raise DiskFull(str(scenario.disk), needed)
        source = files / "random.bin"
        _write_random(source, scenario.size_bytes)
        yield _Workplace(runtime, source, files / "received", children)


def _write_random(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))


class _EmulatedLink:
    """The process between the two of a run; for one without a link, none."""

    def __init__(self, process: _Worker | None = None, ports: Mapping[str, Any] | None = None) -> None:
        self._process = process
        self.via_of_sender: tuple[str, int] | None = None
        self.via_of_receiver: tuple[str, int] | None = None
        if ports is not None:
            self.via_of_sender = (ports["address"], ports["facing_sender"])
            self.via_of_receiver = (ports["address"], ports["facing_receiver"])

    async def end(self) -> tuple[LinkCounters, LinkCounters] | None:
        """End it, and return what it did in either direction."""
        if self._process is None:
            return None
        self._process.hang_up()
        counters = await self._process.hear("counters")
        return msgspec.convert((counters["forward"], counters["back"]), tuple[LinkCounters, LinkCounters])


@asynccontextmanager
async def _link_of(scenario: Scenario, workplace: _Workplace, run: int) -> AsyncIterator[_EmulatedLink]:
    if scenario.emulated is None:
        yield _EmulatedLink()
        return
    async with _worker("tallow_cli.bench.link_process", workplace) as process:
        # Every subject of a round meets the same luck, and every round another.
        await process.tell(LinkProcessSettings(scenario.emulated, seed=run))
        yield _EmulatedLink(process, await process.hear("ports"))


async def _run_session(scenario: Scenario, workplace: _Workplace, underway: Underway) -> RunResult:
    subject, run = underway.subject, underway.run

    def on_progress(fields: Mapping[str, Any]) -> None:
        underway.share = fields["bytes"] / scenario.size_bytes

    shared = WorkerSettings(
        role="send",
        link=replace(scenario.link, engine=subject),
        size=scenario.size_bytes,
        file=None if workplace.source is None else str(workplace.source),
        directory=None if workplace.target is None else str(workplace.target),
        loop=scenario.loop,
    )
    if workplace.target is not None:
        workplace.target.mkdir()
    try:
        async with (
            _link_of(scenario, workplace, run) as link,
            _worker("tallow_cli.bench.worker", workplace) as sender,
            _worker("tallow_cli.bench.worker", workplace) as receiver,
        ):
            sender.on_progress = on_progress
            await sender.tell(_over(_traced(shared, scenario, run), link.via_of_sender))
            code = (await sender.hear("code"))["code"]
            receiving = msgspec.structs.replace(shared, role="receive", code=code)
            await receiver.tell(_over(_traced(receiving, scenario, run), link.via_of_receiver))
            done, sender_use, receiver_use = await _finish(sender, receiver)
            counters = await link.end()
    finally:
        if workplace.target is not None:
            shutil.rmtree(workplace.target, ignore_errors=True)
    return RunResult(
        subject,
        run,
        size_bytes=done["bytes"],
        seconds=done["seconds"],
        mbps=done["mbps"],
        sender=sender_use,
        receiver=receiver_use,
        benchmark=msgspec.convert(done["benchmark"], BenchmarkSnapshot),
        link=counters,
    )


def _over(settings: WorkerSettings, via: tuple[str, int] | None) -> WorkerSettings:
    return msgspec.structs.replace(settings, link=replace(settings.link, via=via))


async def _run_bare(scenario: Scenario, workplace: _Workplace, subject: str, run: int) -> RunResult:
    async with (
        _link_of(scenario, workplace, run) as link,
        _worker("tallow_cli.bench.bare", workplace) as offer,
        _worker("tallow_cli.bench.bare", workplace) as answer,
    ):
        await offer.tell(BareSettings("offer", scenario.size_bytes, scenario.loop))
        await answer.tell(BareSettings("answer", scenario.size_bytes, scenario.loop))
        await answer.tell(_moved(await offer.hear("description"), link.via_of_receiver))
        await offer.tell(_moved(await answer.hear("description"), link.via_of_sender))
        done, offer_use, answer_use = await _finish(offer, answer)
        counters = await link.end()
    return RunResult(
        subject,
        run,
        size_bytes=done["bytes"],
        seconds=done["seconds"],
        mbps=mbps(done["bytes"], done["seconds"]),
        sender=offer_use,
        receiver=answer_use,
        benchmark=None,
        link=counters,
    )


def _moved(description: Mapping[str, Any], via: tuple[str, int] | None) -> dict[str, Any]:
    sdp = description["sdp"]
    return {"sdp": sdp if via is None else sdp_via(sdp, via)}


def _traced(settings: WorkerSettings, scenario: Scenario, run: int) -> WorkerSettings:
    """With the file that this end of this run traces into, if traces are wanted."""
    if scenario.trace is None:
        return settings
    end = "sender" if settings.role == "send" else "receiver"
    path = scenario.trace / f"{run:02d}-{settings.link.engine}-{end}.jsonl"
    return msgspec.structs.replace(settings, trace=str(path))


async def _finish(sender: _Worker, receiver: _Worker) -> tuple[dict[str, Any], ProcessUse, ProcessUse]:
    """Wait for both ends, and return the sender's `done` and what each used. Raises ExceptionGroup."""
    async with asyncio.TaskGroup() as group:
        done = group.create_task(_done_and_use(sender))
        received = group.create_task(receiver.hear("use"))
    fields, sender_use = done.result()
    return fields, sender_use, msgspec.convert(received.result(), ProcessUse)


async def _done_and_use(worker: _Worker) -> tuple[dict[str, Any], ProcessUse]:
    done = await worker.hear("done")
    return done, msgspec.convert(await worker.hear("use"), ProcessUse)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """What made the others fail: the first TallowError, else the first of any kind."""
    leaves = [leaf for leaf in _leaves(group) if isinstance(leaf, TallowError)]
    return leaves[0] if leaves else group.exceptions[0]


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _as_told(exit_code: int, sentence: str) -> TallowError:
    """The error a worker ended with: its kind, and its sentence as it is."""
    kind = _KINDS.get(exit_code, TallowError)
    error = kind.__new__(kind)
    error.args = (sentence,)  # some kinds make a sentence of what they are given; this one is whole
    return error


class _Worker:
    """A child process that speaks JSON lines."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.on_progress: Callable[[Mapping[str, Any]], None] | None = None

    async def tell(self, message: object) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            stdin.write(msgspec.json.encode(message) + b"\n")
            with contextlib.suppress(ConnectionError):  # it ended: `hear` says why
                await stdin.drain()

    async def hear(self, name: str) -> dict[str, Any]:
        """Return the fields of the next event of that name, passing over others.

        Raises the kind of TallowError the worker ended with, or PeerVanished if it ended without a word.
        """
        while True:
            line = await self._process.stdout.readline() if self._process.stdout else b""
            if not line:
                raise PeerVanished(
                    "a benchmark process ended unexpectedly; TALLOW_DEBUG=1 shows what it said"
                )
            fields: dict[str, Any] = msgspec.json.decode(line)
            event = fields.pop("event")
            if event == name:
                return fields
            if event == "progress" and self.on_progress is not None:
                self.on_progress(fields)
            if event == "error":
                raise _as_told(fields["exit_code"], fields["message"])

    def hang_up(self) -> None:
        """Let it end: a worker does so with its parent's voice."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """Ask it to end, and make it end if it does not."""
        self.hang_up()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def _worker(module: str, workplace: _Workplace) -> AsyncIterator[_Worker]:
    debugging = bool(os.environ.get("TALLOW_DEBUG"))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=PIPE,
        stdout=PIPE,
        stderr=None if debugging else DEVNULL,
        limit=_LINE_BYTES,
        # They find each other here and nowhere else; nobody on the network needs to hear of a benchmark.
        env={**os.environ, "XDG_RUNTIME_DIR": str(workplace.runtime), "TALLOW_NO_MDNS": "1"},
    )
    worker = _Worker(process)
    with workplace.children.with_one(process.pid):
        try:
            yield worker
        finally:
            await asyncio.shield(worker.end())
