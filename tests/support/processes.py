"""Real `tallow` processes for end-to-end tests: each with its own runtime directory and no multicast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any


@dataclass
class Tallow:
    """One running `tallow` command. Lines of both streams are collected as they come."""

    process: subprocess.Popen[bytes]
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _readers: list[threading.Thread] = field(default_factory=list)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON events so far, all or those called `name`."""
        with self._changed:
            parsed = [json.loads(line) for line in self.out]
        return [event for event in parsed if name is None or event["event"] == name]

    def wait_event(self, name: str, timeout_s: float = 20) -> dict[str, Any]:
        """The first event called `name`. Raises AssertionError with all output when it does not come."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.events(name)
            if found:
                return found[0]
            with self._changed:
                if time.monotonic() > deadline or (self.process.poll() is not None and not self._reading()):
                    raise AssertionError(f"no {name!r} event; {self.report()}")
                self._changed.wait(0.05)

    def wait(self, timeout_s: float = 60) -> int:
        """The exit code. Raises AssertionError with all output if the command does not end in time."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s; {self.report()}") from None
        for reader in self._readers:
            reader.join(5)
        return code

    def report(self) -> str:
        return f"exit {self.process.poll()}, stdout: {self.out[-15:]}, stderr: {self.err[-15:]}"

    @property
    def error_text(self) -> str:
        return "\n".join(self.err)

    def _reading(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def _collect(self, stream: IO[bytes], lines: list[str]) -> None:
        for raw in stream:
            with self._changed:
                lines.append(raw.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()


class Shell:
    """Starts commands that find each other (one runtime directory) and ends those still running."""

    def __init__(self, directory: Path) -> None:
        runtime = directory / "runtime"
        runtime.mkdir(mode=0o700, parents=True)
        self.directory = directory
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TALLOW_")},
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "TALLOW_NO_MDNS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self.within: Sequence[str] = ()  # what every command is run by: `ip netns exec …`, `unshare …`
        self._running: list[Tallow] = []

    def start(
        self,
        *arguments: str | Path,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: IO[bytes] | None = None,
        cwd: Path | None = None,
        **variables: str,
    ) -> Tallow:
        """Start `tallow ARGUMENTS`. With `stdout` given, that stream is not collected."""
        process = subprocess.Popen(
            [*self.within, sys.executable, "-m", "tallow_cli", *map(str, arguments)],
            stdin=stdin,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **variables},
            cwd=cwd or self.directory,
        )
        tallow = Tallow(process)
        for stream, lines in ((process.stdout, tallow.out), (process.stderr, tallow.err)):
            if stream is not None:
                reader = threading.Thread(target=tallow._collect, args=(stream, lines), daemon=True)
                reader.start()
                tallow._readers.append(reader)
        self._running.append(tallow)
        return tallow

    def transfer(
        self, send: Sequence[str | Path], recv: Sequence[str | Path], timeout_s: float = 60
    ) -> tuple[Tallow, Tallow]:
        """One whole transfer, both ends with --json; returns them when both have ended."""
        sender = self.start("send", *send, "--json")
        code = sender.wait_event("code")["code"]
        receiver = self.start("recv", code, "--yes", "--json", *recv)
        receiver.wait(timeout_s)
        sender.wait(timeout_s)
        return sender, receiver

    def close(self) -> None:
        for tallow in self._running:
            if tallow.process.poll() is None:
                tallow.process.kill()
            tallow.wait(10)
            for stream in (tallow.process.stdout, tallow.process.stderr):
                if stream is not None:
                    stream.close()


@contextmanager
def shell(directory: Path) -> Iterator[Shell]:
    """A Shell whose processes are ended on leaving."""
    opened = Shell(directory)
    try:
        yield opened
    finally:
        opened.close()
