"""The real signaling server as a process, for tests of what others see of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Serving:
    """It listens. `said` are its lines up to the one that says so."""

    url: str
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port


def listening_url(process: subprocess.Popen[str], said: list[str] | None = None) -> str:
    """Wait until it says where it listens. What it says until then goes into `said`."""
    said = [] if said is None else said
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.rstrip())
        if found := re.search(r"Listening on (wss?://\S+)", line):
            return found[1]
    raise AssertionError(f"it ended with {process.wait()}: {said}")


@contextmanager
def serving(
    *arguments: str, host: str = "127.0.0.1", port: int = 0, on: Sequence[str] = ()
) -> Iterator[Serving]:
    """`on` prefixes the command with what runs it elsewhere, as in another namespace."""
    command = [*on, sys.executable, "-m", "signaling", "--host", host, "--port", str(port), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    said: list[str] = []
    try:
        yield Serving(listening_url(process, said), process, said)
    finally:
        process.terminate()
        process.communicate(timeout=15)
