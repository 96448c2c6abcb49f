"""One file sent from A to B of the lab of NATs by the real program, and what both sides said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.nats import PUBLIC, PUBLIC_6, Family, Nat, NatLab, nat_lab
from tests.support.signaling_program import serving

TALLOW = (sys.executable, "-m", "tallow_cli")
RELAY = ("--relay", "--relay-ports", "50000-50099")


@dataclass(frozen=True, slots=True)
class Side:
    """How one of the two ended."""

    exit_code: int
    events: dict[str, dict[str, Any]]  # the first of each kind

    @property
    def detail(self) -> dict[str, Any]:
        """Of the error."""
        found: dict[str, Any] = self.events["error"]["detail"]
        return found

    @property
    def gave_up_after_s(self) -> float:
        """From when the other side was there."""
        return float(self.events["error"]["t"] - self.events["peer"]["t"])


@dataclass(frozen=True, slots=True)
class Crossing:
    sender: Side
    receiver: Side
    is_whole: bool  # the file arrived, byte for byte


def crossing(
    a: Nat,
    b: Nat,
    directory: Path,
    *,
    family: Family = Family.IPV4,
    serve: Sequence[str] = (),
    options: Sequence[str] = (),
    size_bytes: int = 300_000,
) -> Crossing:
    """`serve`: options of the server on the public host; `options`: of both sides."""
    directory.mkdir(parents=True)
    host = f"[{PUBLIC_6}]" if family is Family.IPV6 else PUBLIC
    with (
        nat_lab(a, b, family=family) as lab,
        serving(*serve, host="", port=8765, on=lab.on_public),
    ):
        return carried(lab, directory, f"ws://{host}:8765", options, size_bytes)


def carried(
    lab: NatLab,
    directory: Path,
    server: str,
    options: Sequence[str] = (),
    size_bytes: int = 300_000,
    *,
    receiving: Sequence[str] = (),
) -> Crossing:
    """`server`: its URL; `options`: of both sides, `receiving`: of B alone."""
    content = os.urandom(size_bytes)
    (directory / "sent.bin").write_bytes(content)
    environment = {**os.environ, "TALLOW_SERVER": server, "XDG_RUNTIME_DIR": str(directory)}

    def start(on: list[str], *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*on, *TALLOW, *arguments, "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=directory,
        )

    with start(lab.on_a, "send", "sent.bin") as sender:
        assert sender.stdout is not None
        said = [json.loads(sender.stdout.readline())]
        while said[-1]["event"] != "code":
            said.append(json.loads(sender.stdout.readline()))
        with start(lab.on_b, "recv", said[-1]["code"], "--yes", "-o", "in/", *receiving) as receiver:
            received = _side(receiver)
        sent = _side(sender, said)
    arrived = directory / "in" / "sent.bin"
    return Crossing(sent, received, arrived.exists() and arrived.read_bytes() == content)


def _side(process: subprocess.Popen[str], said: Sequence[dict[str, Any]] = ()) -> Side:
    out, _ = process.communicate(timeout=90)
    events: dict[str, dict[str, Any]] = {}
    for event in (*said, *map(json.loads, out.splitlines())):
        events.setdefault(event["event"], event)
    return Side(process.returncode, events)
