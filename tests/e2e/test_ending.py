"""Ctrl-C and SIGTERM end every process within 5 s, whatever it is busy with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import Shell

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

from tests.support.terminal import CTRL_C, terminal

pytestmark = pytest.mark.e2e

ENDS_S = 5.0

# Runs `tallow` with one function replaced by one that does not come back.
HARNESS = """
import ctypes, importlib, itertools, os, re, sys, threading, time

def hang():
    how = sys.argv[1]
    os.write(2, b"hanging\\n")
    while how == "python":
        pass
    while how == "sleep in C":
        ctypes.CDLL(None).sleep(1000)
    if how == "lock held by sum":
        sum(itertools.repeat(0))
    if how == "lock held by a regular expression":
        re.match("(a+)+$", "a" * 64 + "b")
    while how == "write":
        os.write(os.pipe()[1], b"x" * 1_000_000)
    if how == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if how == "deaf":  # hears nothing of being cancelled
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass

async def hang_in_the_loop(*_):
    hang()

place, how, *command = sys.argv[1:]
sys.argv = [sys.argv[0], how]
if place == "import":
    class Finder:
        def find_spec(self, name, path, target=None):
            if name == "typer":
                hang()
    sys.meta_path.insert(0, Finder())
else:
    module, name = place.rsplit(".", 1)
    is_async = name in ("send", "receive", "run_scenario", "_serve_until")
    setattr(importlib.import_module(module), name, hang_in_the_loop if is_async else lambda *_, **__: hang())
from tallow_cli.__main__ import main
hanging, sys.argv = sys.argv, ["tallow", *command]
_hang, hang = hang, lambda: (setattr(sys, "argv", hanging), _hang())
main()
"""

LOOP = "tallow_cli.session.send.send"
SEND = ("send", "f1", "--json")


@dataclass
class Ended:
    code: int
    seconds: float
    out: list[str]
    err: list[str]


def hang_and_signal(sh: Shell, place: str, how: str, command: Sequence[str], numbers: Sequence[int]) -> Ended:
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS, place, how, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**sh.environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=sh.directory,
    ) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            err = []
            for line in process.stderr:
                err.append(line)
                if line == "hanging\n":
                    break
            else:
                raise AssertionError(f"{place} {how}: it did not hang: {err}")
            time.sleep(0.1)
            began = time.monotonic()
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.2)
            out, rest = process.communicate(timeout=50)
            return Ended(process.returncode, time.monotonic() - began, out.splitlines(), rest.splitlines())
        finally:
            killer.cancel()


CASES = [
    # where it hangs, how, which command, signals, exit code
    (LOOP, "python", SEND, [signal.SIGINT], 130),
    (LOOP, "sleep in C", SEND, [signal.SIGTERM], 143),
    (LOOP, "write", SEND, [signal.SIGINT], 130),
    (LOOP, "lock", SEND, [signal.SIGHUP], 143),
    (LOOP, "deaf", SEND, [signal.SIGINT, signal.SIGINT], 130),
    (
        "tallow_cli.session.receive.receive",
        "sleep in C",
        ("recv", "4821-acorn-blend-crisp", "--yes"),
        [signal.SIGINT],
        130,
    ),
    ("tallow_cli.bench.runner.run_scenario", "sleep in C", ("bench",), [signal.SIGINT], 130),
    ("signaling.__main__._serve_until", "sleep in C", ("serve", "--port", "0"), [signal.SIGTERM], 143),
    ("tallow_cli.cli.send.open_source", "sleep in C", SEND, [signal.SIGINT], 130),
    ("tallow_cli.cli.send.open_source", "python", SEND, [signal.SIGTERM], 143),
    ("tallow_cli.cli.app.load_defaults", "lock", SEND, [signal.SIGINT], 130),
    ("import", "sleep in C", SEND, [signal.SIGINT], 130),
    ("import", "python", SEND, [signal.SIGTERM], 143),
]


def test_whatever_hangs_a_signal_ends_it_in_time_with_its_last_line(sh: Shell) -> None:
    (sh.directory / "f1").write_text("x")
    with ThreadPoolExecutor(5) as pool:
        running = [(case, pool.submit(hang_and_signal, sh, *case[:4])) for case in CASES]
    for (place, how, command, numbers, code), future in running:
        ended = future.result()
        said = f"{place} {how} {numbers}: {ended}"
        assert ended.code == code, said
        assert ended.seconds < ENDS_S, said
        if len(numbers) > 1:
            assert ended.seconds < 2, said
        if command[0] == "serve":
            continue
        assert ended.err[-1:] == ["tallow: Interrupted." if code == 130 else "tallow: Terminated."], said
        if "--json" in command:
            last = json.loads(ended.out[-1])
            assert (last["event"], last["exit_code"]) == ("error", code), said
            assert [json.loads(line)["event"] for line in ended.out].count("error") == 1


LOCK_HELD = [
    (LOOP, "lock held by sum", SEND, [signal.SIGINT]),
    (LOOP, "lock held by a regular expression", SEND, [signal.SIGTERM, signal.SIGTERM]),
    (LOOP, "lock held by sum", SEND, [signal.SIGHUP]),
    ("signaling.__main__._serve_until", "lock held by sum", ("serve", "--port", "0"), [signal.SIGTERM]),
    ("tallow_cli.cli.send.open_source", "lock held by sum", SEND, [signal.SIGINT, signal.SIGINT]),
    ("import", "lock held by sum", SEND, [signal.SIGINT]),
]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's fuse is Linux's")
def test_c_code_that_never_lets_the_interpreters_lock_go_is_ended_by_the_kernel(sh: Shell) -> None:
    (sh.directory / "f1").write_text("x")
    with ThreadPoolExecutor(6) as pool:
        running = [(case, pool.submit(hang_and_signal, sh, *case)) for case in LOCK_HELD]
    for case, future in running:
        ended = future.result()
        assert ended.code == -signal.SIGALRM, f"{case}: {ended}"
        assert ended.seconds < ENDS_S, f"{case}: {ended}"


def test_a_benchmark_that_is_left_at_once_leaves_no_process_behind(sh: Shell) -> None:
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "tallow_cli", "bench", "--runs", "9", "--size", "1GiB"],
        env={**sh.environment, "TMPDIR": str(sh.directory)},
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (children := children_of(process.pid)) and time.monotonic() < began + 20:
            time.sleep(0.05)
        time.sleep(0.5)
        children |= children_of(process.pid)
        assert children
        for child in children:
            with contextlib.suppress(ProcessLookupError):  # a run may just have ended
                os.kill(child, signal.SIGSTOP)  # deaf to their parent's voice
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - began < ENDS_S
    assert not [child for child in children if is_alive(child)]
    assert not list(sh.directory.glob("tallow-bench-*"))


def children_of(pid: int) -> set[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return {int(word) for word in found.stdout.split()}


def is_alive(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() not in ("", "Z")


def test_ctrl_c_at_a_prompt_gives_a_terminal_that_echoes(sh: Shell) -> None:
    variables = {key: value for key, value in sh.environment.items() if key not in ("NO_COLOR", "TERM")}
    shell = "trap : INT; $TALLOW recv; echo rc=$?; stty -a"
    with terminal(shell=shell, environment=variables, cwd=sh.directory) as screen:
        screen.expect("Code: ")
        screen.type(CTRL_C)
        screen.expect("rc=130", timeout_s=ENDS_S)
        screen.wait()
        assert screen.text.count("tallow: Interrupted.") == 1
        assert " echo " in screen.text
        assert " icanon" in screen.text
