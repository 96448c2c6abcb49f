"""Relays that people bring themselves, a real coturn over UDP, TCP and TLS, and connections that show nothing else."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.nats import PUBLIC, Nat, NatLab, missing, nat_lab
from tests.lab.relay import PASSWORD, USER, coturn
from tests.lab.relay import missing as missing_relay
from tests.support.processes import Shell, Tallow
from tests.support.signaling_program import serving

WHY_NOT = missing() or missing_relay()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces and coturn: {WHY_NOT}"),
]
SERVER = f"ws://{PUBLIC}:8765"
UDP, TCP, TLS = (
    f"turn:{PUBLIC}:3478",
    f"turn:{PUBLIC}:3478?transport=tcp",
    f"turns:{PUBLIC}:5349?transport=tcp",
)
WITH_PASSWORD = {"TALLOW_ICE_PASSWORD": PASSWORD}


def carried(
    lab: NatLab,
    sh: Shell,
    sending: Sequence[str],
    receiving: Sequence[str] = (),
    variables: dict[str, str] | None = None,
) -> tuple[Tallow, Tallow]:
    """Send a text from A to B, with everything told."""
    variables = {**WITH_PASSWORD, **(variables or {})}
    told = ("--json", "-v", "--server", SERVER)
    sh.within = lab.on_a
    sender = sh.start("send", "--text", "hello", *told, "--trace", "sender.trace", *sending, **variables)
    code = sender.wait_event("code")["code"]
    sh.within = lab.on_b
    receiver = sh.start("recv", code, "--yes", *told, "--trace", "receiver.trace", *receiving, **variables)
    receiver.wait(60)
    sender.wait(60)
    return sender, receiver


@pytest.mark.parametrize(
    ("a", "b", "url"),
    [
        (Nat.SYMMETRIC, Nat.SYMMETRIC, UDP),
        (Nat.TCP_ONLY, Nat.SYMMETRIC, TCP),
        (Nat.TCP_ONLY, Nat.SYMMETRIC, TLS),
    ],
)
def test_the_relay_of_one_side_is_enough(tmp_path: Path, sh: Shell, a: Nat, b: Nat, url: str) -> None:
    with (
        nat_lab(a, b) as lab,
        coturn(lab, tmp_path) as authority,
        serving(host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        mine = ("--ice-server", url, "--ice-user", USER)
        sides = carried(lab, sh, mine, variables={"SSL_CERT_FILE": str(authority)})
    for side in sides:
        assert side.process.returncode == 0, side.report()
        assert side.wait_event("connected")["path"] == "relayed"
        assert PASSWORD not in "\n".join((*side.out, *side.err))
    for trace in ("sender.trace", "receiver.trace"):
        assert PASSWORD not in (sh.directory / trace).read_text()


def test_a_stun_server_of_ones_own_is_asked_where_the_signaling_server_answers_nobody(
    tmp_path: Path, sh: Shell
) -> None:
    with (
        nat_lab(Nat.CONE, Nat.CONE) as lab,
        coturn(lab, tmp_path),
        serving("--stun-port", "off", host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        sides = carried(lab, sh, (), variables={"TALLOW_ICE_SERVERS": f"stun:{PUBLIC}"})
    for side in sides:
        assert side.process.returncode == 0, side.report()
        assert side.wait_event("connected")["path"] == "direct"


@pytest.mark.parametrize(
    ("url", "user", "password", "said"),
    [
        (TLS, USER, PASSWORD, "its TLS certificate is not trusted: self-signed certificate"),
        (UDP, USER, "another", "it does not take these credentials"),
        (f"turn:{PUBLIC}:9", USER, PASSWORD, "it does not answer"),
        (f"turn:{PUBLIC}:9?transport=tcp", USER, PASSWORD, "nothing listens there"),
        ("turn:no-such-host.invalid", USER, PASSWORD, "its name cannot be resolved"),
    ],
)
def test_a_relay_that_cannot_be_used_is_named_with_its_reason_before_there_is_a_code(
    tmp_path: Path, sh: Shell, url: str, user: str, password: str, said: str
) -> None:
    with (
        nat_lab(Nat.OPEN, Nat.OPEN) as lab,
        coturn(lab, tmp_path),
        serving(host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        sh.within = lab.on_a
        mine = ("--relay-only", "--ice-server", url, "--ice-user", user, "--server", SERVER)
        sender = sh.start("send", "--text", "x", "--json", "-v", *mine, TALLOW_ICE_PASSWORD=password)
        assert sender.wait() == 6, sender.report()
    assert said in sender.error_text
    assert "--relay-only needs a relay" in sender.error_text
    assert sender.events("code") == []
    assert password not in sender.error_text + "\n".join(sender.out)


def test_a_receiver_that_finds_no_relay_says_so_and_leaves_the_code_to_another(
    tmp_path: Path, sh: Shell
) -> None:
    with (
        nat_lab(Nat.OPEN, Nat.OPEN) as lab,
        coturn(lab, tmp_path),
        serving(host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        sh.within = lab.on_a
        sender = sh.start("send", "--text", "x", "--json", "--server", SERVER)
        code = sender.wait_event("code")["code"]
        sh.within = lab.on_b
        receiving = ("recv", code, "--yes", "--server", SERVER)
        hidden = sh.start(*receiving, "--relay-only")
        assert hidden.wait() == 6, hidden.report()
        assert "(the signaling server names none)" in hidden.error_text
        mine = ("--relay-only", "--ice-server", UDP, "--ice-user", USER)
        hidden = sh.start(*receiving, *mine, TALLOW_ICE_PASSWORD="wrong")
        assert hidden.wait() == 6, hidden.report()
        assert "it does not take these credentials" in hidden.error_text
        assert sh.start(*receiving).wait() == 0
        assert sender.wait() == 0


# Only a relay is shown


@contextmanager
def capturing(lab: NatLab, host: str, directory: Path) -> Iterator[list[Path]]:
    """What that host and its router get and send, in these files."""
    files = [directory / f"{each}.pcap" for each in (host, f"r{host}")]
    dumps = []
    for file in files:
        within = ["ip", "netns", "exec", f"{lab.prefix}{file.stem}"]
        # Without the immediate mode packets may lie in the kernel for a second: the last ones would be missed.
        how = ("--immediate-mode", "-U", "-n", "-i", "any", "-w", str(file), "not arp")
        command = [*within, "tcpdump", *how]
        dumps.append(subprocess.Popen(command, stderr=subprocess.PIPE))
    try:
        for each in dumps:
            assert each.stderr is not None
            while b"listening on" not in (line := each.stderr.readline()):
                assert line
        yield files
        time.sleep(0.3)
    finally:
        for each in dumps:
            each.terminate()
            each.communicate(timeout=10)


def holds(file: Path, address: str) -> bool:
    """Whether a packet is from or to this address, or has it in its bytes, also as STUN masks it."""
    packets = file.read_bytes()
    raw = ipaddress.IPv4Address(address).packed
    masked = bytes(one ^ other for one, other in zip(raw, b"\x21\x12\xa4\x42", strict=True))
    return any(each in packets for each in (raw, masked, address.encode()))


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@pytest.mark.parametrize("engine", ["turbo", "aiortc"])
@pytest.mark.parametrize(("hidden", "other", "number"), [("a", "b", 1), ("b", "a", 2)])
def test_with_relay_only_no_address_of_this_machine_comes_to_the_other_side(
    tmp_path: Path, sh: Shell, hidden: str, other: str, number: int, engine: str
) -> None:
    """Of the two machines, behind cones that could connect directly, one shows a relay alone."""
    with (
        nat_lab(Nat.CONE, Nat.CONE) as lab,
        coturn(lab, tmp_path),
        serving(host="0.0.0.0", port=8765, on=lab.on_public),
    ):
        mine = ("--relay-only", "--ice-server", UDP, "--ice-user", USER)
        plain = ("--engine", engine)
        with capturing(lab, other, tmp_path) as captured:
            sides = carried(lab, sh, *((mine, plain) if hidden == "a" else (plain, mine)))
    for side in sides:
        assert side.process.returncode == 0, side.report()
    sees = sides[1 if hidden == "a" else 0]
    assert sees.wait_event("connected")["remote_address"] == PUBLIC
    own, mapped = f"10.92.{number}.2", f"203.0.113.{number + 1}"
    assert all(holds(file, PUBLIC) for file in captured)
    assert not any(holds(file, address) for file in captured for address in (own, mapped))
    assert not any(address in line for line in sees.out for address in (own, mapped))
