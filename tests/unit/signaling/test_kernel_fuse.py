"""signaling.kernel_fuse, in processes of its own: it changes signals for the whole process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from signaling.kernel_fuse import SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="F_SETSIG is Linux's")

LAY = """
import itertools, os, signal, threading, time
from signaling import kernel_fuse
ear, mouth = os.pipe()
os.set_blocking(mouth, False)
assert kernel_fuse.lay(ear)
def listen():
    kernel_fuse.hear()
    while True:
        os.read(ear, 1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("heard", flush=True)
threading.Thread(target=listen, daemon=True).start()
time.sleep(0.1)
"""


def run(code: str, *, signum: int | None = None) -> tuple[int, str, float]:
    """Exit code, output, and how long it took from the signal on, which is sent at the first output."""
    with subprocess.Popen(
        [sys.executable, "-c", LAY + code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        killer = threading.Timer(30, process.kill)
        killer.start()
        assert process.stdout is not None
        out = process.stdout.readline()
        time.sleep(0.1)
        began = time.monotonic()
        if signum is not None:
            process.send_signal(signum)
        out += process.stdout.read()
        code_ = process.wait()
        killer.cancel()
    return code_, out, time.monotonic() - began


def test_a_byte_that_nobody_can_hear_ends_the_process_four_seconds_later() -> None:
    code, out, took_s = run(
        "signal.set_wakeup_fd(mouth); signal.signal(15, print); print('hangs', flush=True); sum(itertools.repeat(0))",
        signum=signal.SIGTERM,
    )
    assert (code, out) == (-signal.SIGALRM, "hangs\n")
    assert SECONDS - 0.1 <= took_s < SECONDS + 0.9


def test_a_byte_that_is_heard_costs_nothing() -> None:
    code, out, _ = run(
        "for _ in range(3): os.write(mouth, b'x'); time.sleep(0.05)\ntime.sleep(4.5); print('alive')"
    )
    assert (code, out.split()) == (0, ["heard"] * 3 + ["alive"])


def test_a_real_illegal_instruction_is_fatal_as_ever() -> None:
    # The kernel forces such a signal where it is blocked, and does not run the handler.
    code, _, took_s = run(
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=7); page.write(bytes(4096) if os.uname().machine != 'x86_64' "
        "else b'\\x0f\\x0b')\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()"
    )
    assert code == -signal.SIGILL
    assert took_s < SECONDS


def test_what_was_laid_is_taken_up_again() -> None:
    code, out, _ = run(
        "kernel_fuse.take_up(ear); os.write(mouth, b'x'); time.sleep(0.1)\n"
        "print(signal.getsignal(4) is signal.SIG_DFL, 4 in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    assert (code, out.split()[-2:]) == (0, ["True", "False"])
