"""Transfers between real processes in which one cause is staged: what both ends say is why."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.processes import Shell, Tallow

MiB = 1024 * 1024
_SOURCE = Path(__file__).parent / "slow_disk.c"


def build_slow_disk(directory: Path) -> str:
    """The library of slow_disk.c, for LD_PRELOAD. Raises CalledProcessError where there is no compiler for it."""
    library = directory / "slow_disk.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return os.fspath(library)


@contextlib.contextmanager
def busy_core(core: int, loops: int) -> Iterator[None]:
    """Programs beside, each of which would fill this core alone."""
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    programs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(loops)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def free_share(core: int) -> float:
    """How much of a core a program gets that wants all of it, just now."""
    code = (
        "import os, time\n"
        f"os.sched_setaffinity(0, {{{core}}})\n"
        "begun, used = time.monotonic(), time.process_time()\n"
        "while time.monotonic() < begun + 0.5: pass\n"
        "print((time.process_time() - used) / (time.monotonic() - begun))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(told.stdout)


def causes_said(tallow: Tallow, *, after_s: float = 0.0) -> Counter[str]:
    """How often each cause was said first in `progress`, from so many seconds after data began to move."""
    progress = [event for event in tallow.events("progress") if event["verdict"]]
    if not progress:
        return Counter()
    since = progress[0]["t"] + after_s
    return Counter(event["verdict"]["cause"] for event in progress if event["t"] >= since)


def last_verdict(tallow: Tallow) -> dict[str, Any] | None:
    """The last one of `progress`."""
    told = [event["verdict"] for event in tallow.events("progress") if event["verdict"]]
    return told[-1] if told else None


def begin(
    sh: Shell,
    size: int,
    *,
    send: tuple[str, ...] = (),
    receive: tuple[str | Path, ...] = (),
    sender_env: dict[str, str] | None = None,
    receiver_env: dict[str, str] | None = None,
    cores: tuple[int, int] | None = None,
) -> tuple[Tallow, Tallow]:
    """A transfer of one file that has begun; with `cores`, sender and receiver each on one."""
    source = sh.directory / "payload"
    with source.open("wb") as file:
        for _ in range(0, size, MiB):
            file.write(os.urandom(MiB))
    on_core = [("taskset", "-c", str(core)) for core in cores] if cores else [(), ()]
    sh.within = on_core[0]
    sender = sh.start("send", source, *send, "--json", **(sender_env or {}))
    code = sender.wait_event("code")["code"]
    where = receive or ("-o", Path("inbox/"))
    sh.within = on_core[1]
    receiver = sh.start("recv", code, "--yes", "--json", *where, **(receiver_env or {}))
    sh.within = ()
    receiver.wait_event("progress", 30)
    return sender, receiver


def watch(seconds: float, *ends: Tallow) -> None:
    """Let them go on for so long, or until both have ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(end.process.poll() is None for end in ends):
        time.sleep(0.1)
