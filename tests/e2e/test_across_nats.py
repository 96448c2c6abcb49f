"""Two machines behind routers of their own, and one public server that one command sets up (tests/lab/nats.py)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.nats import PUBLIC, Nat, NatLab, missing, nat_lab
from tests.support.signaling_program import serving

WHY_NOT = missing()
NO_RELAY = None if shutil.which("turnserver") else "coturn is not installed"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}"),
]
TALLOW = [sys.executable, "-m", "tallow_cli"]
RELAYED = pytest.mark.skipif(NO_RELAY is not None, reason=str(NO_RELAY))


def carried(lab: NatLab, directory: Path, *options: str) -> tuple[int, int, str]:
    """Send 3 MB from A to B: both exit codes, and what the receiver said."""
    content = os.urandom(3_000_000)
    (directory / "sent.bin").write_bytes(content)
    environment = {**os.environ, "TALLOW_SERVER": f"ws://{PUBLIC}:8765", "XDG_RUNTIME_DIR": str(directory)}
    with subprocess.Popen(
        [*lab.on_a, *TALLOW, "send", "sent.bin", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=directory,
    ) as sender:
        assert sender.stdout is not None
        code = next(found[0] for line in sender.stdout if (found := re.search(r"\d{4,}(-[a-z]+){3}", line)))
        received = subprocess.run(
            [*lab.on_b, *TALLOW, "recv", code, "--yes", "-o", "in/", *options],
            capture_output=True,
            text=True,
            timeout=90,
            env=environment,
            cwd=directory,
            check=False,
        )
        sender.communicate(timeout=60)
    said = received.stdout + received.stderr
    if received.returncode == 0:
        assert (directory / "in" / "sent.bin").read_bytes() == content
    return sender.returncode, received.returncode, said


@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_nats_that_keep_their_port_need_nothing_but_the_server(tmp_path: Path, engine: str) -> None:
    with nat_lab(Nat.CONE, Nat.CONE) as lab, serving(host="0.0.0.0", port=8765, on=lab.on_public):
        sent, received, said = carried(lab, tmp_path, "--engine", engine)
    assert (sent, received) == (0, 0), said
    assert "Connected directly across NATs" in said


@RELAYED
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
def test_where_there_is_a_relay_too_the_direct_way_is_used(tmp_path: Path, engine: str) -> None:
    """Its first check only opens the own NAT, so the relay answers before."""
    relay = ("--relay", "--relay-ports", "50000-50099")
    with (
        nat_lab(Nat.CONE, Nat.CONE) as lab,
        serving(*relay, host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        for number in range(3):
            directory = tmp_path / f"{number}"
            directory.mkdir()
            sent, received, said = carried(lab, directory, "--engine", engine)
            assert (sent, received) == (0, 0), said
            assert "Connected directly" in said


@RELAYED
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Nat.SYMMETRIC, Nat.SYMMETRIC),
        (Nat.CONE, Nat.SYMMETRIC),
        (Nat.TCP_ONLY, Nat.CONE),
        (Nat.TCP_ONLY, Nat.TCP_ONLY),
    ],
)
def test_where_there_is_no_direct_way_the_servers_relay_is_one(tmp_path: Path, a: Nat, b: Nat) -> None:
    with (
        nat_lab(a, b) as lab,
        serving("--relay", "--relay-ports", "50000-50099", host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        sent, received, said = carried(lab, tmp_path)
    assert (sent, received) == (0, 0), said
    assert "Connected through the relay" in said
