"""coturn on the public host of the lab of NATs, as somebody runs it who is not us: a name and a password, and TLS."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.nats import PUBLIC, NatLab
from tests.support.certificates import self_signed

USER, PASSWORD = "somebody", "a-password-that-nobody-shows"


def missing() -> str | None:
    return None if shutil.which("turnserver") else "coturn is not installed"


@contextmanager
def coturn(lab: NatLab, directory: Path) -> Iterator[Path]:
    """Ports 3478 (UDP, TCP) and 5349 (TLS), relaying from 51000 to 51099. Yields its certificate, signed by itself."""
    certificate, key = self_signed(directory, PUBLIC)
    said = directory / "coturn.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [
                *(*lab.on_public, "turnserver", "-n", f"--listening-ip={PUBLIC}", f"--relay-ip={PUBLIC}"),
                *("--listening-port=3478", "--tls-listening-port=5349", "--no-dtls", "--no-cli"),
                *(f"--cert={certificate}", f"--pkey={key}", "--min-port=51000", "--max-port=51099"),
                *("--lt-cred-mech", f"--user={USER}:{PASSWORD}", "--realm=x", "--log-file=stdout"),
                *(f"--pidfile={directory}/pid", f"--userdb={directory}/db"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        give_up_at = time.monotonic() + 15
        while not _listens(lab) and process.poll() is None and time.monotonic() < give_up_at:
            time.sleep(0.1)
        yield certificate
    finally:
        process.terminate()
        process.wait(10)


def _listens(lab: NatLab) -> bool:
    asked = [*lab.on_public, "bash", "-c", f"</dev/tcp/{PUBLIC}/5349"]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0
