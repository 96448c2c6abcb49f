"""signaling.starting: Ctrl-C before a program has begun ends it quietly, with the right exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from signaling.starting import QuietInterrupts
from tallow_cli.errors import ExitCode

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# Interrupts the process in the middle of the import of one module.
INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
import {module}
sys.argv = ["tallow", "--help"]
{module}.main()
"""


@pytest.mark.parametrize(
    ("module", "imported", "exit_code"),
    [
        ("tallow_cli.__main__", "signaling.process", ExitCode.INTERRUPTED),
        ("tallow_cli.__main__", "tallow_cli.cli.last_words", ExitCode.INTERRUPTED),
        ("signaling.__main__", "asyncio", 0),
        ("signaling.__main__", "signaling.server", 0),
        ("signaling.__main__", "typer", 0),
    ],
)
def test_an_import_that_is_interrupted_ends_without_a_traceback(
    module: str, imported: str, exit_code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module), imported],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", "")


def test_what_others_do_with_the_signal_stays() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with QuietInterrupts(130):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        for theirs in (signal.SIG_IGN, lambda *_: None):
            signal.signal(signal.SIGINT, theirs)
            with QuietInterrupts(130):
                assert signal.getsignal(signal.SIGINT) is theirs
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with QuietInterrupts(130):
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # taken over for good
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_on_another_thread_nothing_is_done() -> None:
    problems: list[BaseException] = []

    def use() -> None:
        try:
            with QuietInterrupts(130):
                pass
        except BaseException as problem:  # noqa: BLE001 - a thread nobody looks into
            problems.append(problem)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert problems == []
