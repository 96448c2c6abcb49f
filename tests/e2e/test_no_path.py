"""Why there is no way, from the real program: relays that refuse, are silent or full, and what both sides say."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.crossing import Crossing, carried
from tests.lab.nats import PUBLIC, Nat, NatLab, missing, nat_lab
from tests.support.signaling_program import serving

WHY_NOT = missing() or (None if shutil.which("turnserver") else "coturn is not installed")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces and coturn: {WHY_NOT}"),
]
SECRET = "a-secret-of-some-length"


@contextmanager
def turnserver(lab: NatLab, directory: Path, *options: str) -> Iterator[None]:
    """coturn on the public host, listening."""
    process = subprocess.Popen(
        [*lab.on_public, "turnserver", "-n", f"--listening-ip={PUBLIC}", f"--relay-ip={PUBLIC}", "--no-cli", "--no-tls",
         "--no-dtls", "--realm=x", "--log-file=stdout", f"--pidfile={directory}/pid", f"--userdb={directory}/db",
         "--use-auth-secret", *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # The one port that the full relay may use is taken.
    taken = (
        "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 50000)); "
        "print(flush=True); time.sleep(90)"
    )
    holding = subprocess.Popen([*lab.on_public, sys.executable, "-c", taken], stdout=subprocess.PIPE)
    assert holding.stdout is not None
    holding.stdout.readline()
    asked = [*lab.on_public, "bash", "-c", f"</dev/tcp/{PUBLIC}/3478"]
    give_up_at = time.monotonic() + 15
    while (
        subprocess.run(asked, check=False, capture_output=True).returncode and time.monotonic() < give_up_at
    ):
        time.sleep(0.1)
    try:
        yield
    finally:
        for each in (process, holding):
            each.terminate()
            each.wait(10)
        holding.stdout.close()


def tried(directory: Path, a: Nat, b: Nat, url: str, *coturn: str) -> Crossing:
    """With a relay named to both, and coturn run with these options if there are any."""
    (directory / "secret").write_text(SECRET)
    told = ("--turn", url, "--turn-secret-file", str(directory / "secret"))
    with nat_lab(a, b) as lab, serving(*told, host="0.0.0.0", port=8765, on=lab.on_public):
        if not coturn:
            return carried(lab, directory, f"ws://{PUBLIC}:8765")
        with turnserver(lab, directory, *coturn):
            return carried(lab, directory, f"ws://{PUBLIC}:8765")


@pytest.mark.parametrize(
    ("a", "b", "url", "coturn", "problem", "helps"),
    [
        pytest.param(
            *(Nat.SYMMETRIC, Nat.CONE, f"turn:{PUBLIC}:3478?transport=udp", ("--static-auth-secret=another",)),
            *("does not take these credentials", ["mend-relay", "network"]),
            id="other-secret",
        ),
        pytest.param(
            *(Nat.SYMMETRIC, Nat.CONE, f"turn:{PUBLIC}:3478?transport=udp", ()),
            *("does not answer", ["mend-relay", "network"]),
            id="nobody-there",
        ),
        pytest.param(
            *(Nat.SYMMETRIC, Nat.CONE, f"turn:{PUBLIC}:3478?transport=udp"),
            *((f"--static-auth-secret={SECRET}", "--min-port=50000", "--max-port=50000"),),
            *("it is full (508", ["mend-relay", "network"]),
            id="full",
        ),
        pytest.param(
            *(Nat.TCP_ONLY, Nat.TCP_ONLY, f"turn:{PUBLIC}:3478?transport=udp", (f"--static-auth-secret={SECRET}",)),
            *("does not answer", ["relay-by-tcp", "network"]),
            id="udp-alone-where-there-is-none",
        ),
    ],
)  # fmt: skip
def test_a_relay_that_gives_nothing_is_named_with_its_reason(
    tmp_path: Path, a: Nat, b: Nat, url: str, coturn: tuple[str, ...], problem: str, helps: list[str]
) -> None:
    seen = tried(tmp_path, a, b, url, *coturn)
    sides = (seen.sender, seen.receiver)
    assert [each.exit_code for each in sides] == [6, 6]
    details = [each.detail for each in sides]
    assert details[0]["cause"] == details[1]["cause"]
    told = [relay for each in details for relay in each["relays"]]
    assert told
    assert all(relay["url"] == url for relay in told)
    # On a busy machine a relay may take longer to refuse than anybody waits for it.
    assert any(problem in relay["problem"] for relay in told), told
    assert all(problem in relay["problem"] or "does not answer" in relay["problem"] for relay in told), told
    for side, detail in zip(sides, details, strict=True):
        assert detail["help"] == helps
        assert side.gave_up_after_s < 15
        if detail["relays"]:
            assert url in side.events["error"]["message"]
        assert SECRET not in str(side.events)


def test_one_family_each_is_told_at_once(tmp_path: Path) -> None:
    with nat_lab(Nat.OPEN, Nat.OPEN) as lab, serving(host="", port=8765, on=lab.on_public):
        subprocess.run([*lab.on_a, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
        only_6 = ["ip", "-n", lab.on_b[-1]]
        for command in (
            ["addr", "add", "2001:db8:2::2/64", "dev", "eth0", "nodad"],
            ["-6", "route", "add", "default", "via", "2001:db8:2::1"],
        ):
            subprocess.run([*lab.on_b, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"], check=True)
            subprocess.run([*only_6, *command], check=True)
        seen = carried(lab, tmp_path, f"ws://{PUBLIC}:8765", receiving=("--interface", "2001:db8:2::2"))
    for side in (seen.sender, seen.receiver):
        assert (side.exit_code, side.detail["cause"]) == (6, "no-common-family")
        assert side.gave_up_after_s < 3
