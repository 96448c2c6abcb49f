"""What people see of two machines behind routers of their own, with one public server (tests/lab/nats.py)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.nats import PUBLIC, Nat, NatLab, missing, nat_lab
from tests.support.signaling_program import serving

WHY_NOT = missing()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}"),
]
TALLOW = [sys.executable, "-m", "tallow_cli"]


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
