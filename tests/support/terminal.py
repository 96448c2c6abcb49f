"""`tallow` in a terminal of its own (a pseudo-terminal), with somebody at the keyboard."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """What stands on the screen so far, escape sequences and all, in `text`."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._seen = bytearray()
        self._changed = threading.Condition()
        self._may_read = threading.Event()
        self._may_read.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        with self._changed:
            return self._seen.decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def stop_reading(self) -> None:
        """Take nothing more (Ctrl-S, a stalled ssh): what is written fills the terminal's buffer and then waits."""
        self._may_read.clear()

    def go_on_reading(self) -> None:
        self._may_read.set()

    def expect(self, words: str, timeout_s: float = 20) -> str:
        """Everything on the screen, once `words` stand there; they may go on in the next line."""
        deadline = time.monotonic() + timeout_s
        while not (words in self.text or words in _unfolded(self.text)):
            with self._changed:
                if time.monotonic() > deadline or not self._reader.is_alive():
                    raise AssertionError(f"{words!r} is not in {self._seen.decode(errors='replace')!r}")
                self._changed.wait(0.05)
        return self.text

    def wait(self, timeout_s: float = 30) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        while True:
            self._may_read.wait()
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # the last process has left the terminal
                piece = b""
            with self._changed:
                self._seen += piece
                self._changed.notify_all()
            if not piece:
                return


@contextmanager
def terminal(
    *arguments: str | Path,
    environment: Mapping[str, str],
    cwd: Path,
    columns: int = 100,
    rows: int = 40,
    shell: str | None = None,
) -> Iterator[Terminal]:
    """`tallow ARGUMENTS` in a terminal, or the command line `shell` with `tallow` spelled `$TALLOW`."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    tallow = [sys.executable, "-m", "tallow_cli", *map(str, arguments)]
    command = ["sh", "-c", shell] if shell is not None else tallow
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"TERM": "xterm-256color", **environment, "TALLOW": f"{sys.executable} -m tallow_cli"},
        cwd=cwd,
        preexec_fn=own_terminal,
    ) as process:
        os.close(slave)
        try:
            screen = Terminal(process, master)
            yield screen
        finally:
            screen.go_on_reading()
            if process.poll() is None:
                process.kill()
            process.wait(10)
            os.close(master)


def _unfolded(text: str) -> str:
    """Without colours, and with lines that a terminal's width has cut made one."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
