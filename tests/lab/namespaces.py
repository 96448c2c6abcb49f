"""Two hosts in network namespaces with a link between them: the lab the data plane is measured in.

Fast links are veth pairs through a router namespace, with the kernel's tbf for a rate. Links with delay and loss are
`linkemu`, because not every kernel has netem. Needs root and `ip`; the emulated ones a C compiler too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESS_A, ADDRESS_B = "10.91.1.2", "10.91.2.2"
IPV6_A, IPV6_B = "fd91:1::2", "fd91:2::2"
# The queue is a bandwidth-delay product, or what 20 ms hold where the round trip is shorter.
SHORTEST_QUEUE_S = 0.020
TBF_QUEUE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Profile:
    """A link. `rate_mbps` 0: unlimited. `rtt_ms` 0: veth and tbf instead of the emulator."""

    name: str
    rate_mbps: int
    rtt_ms: float = 0.0
    loss_percent: float = 0.0
    queue_bdp: float = 1.0

    @property
    def queue_bytes(self) -> int:
        return int(self.rate_mbps * 1e6 / 8 * max(self.rtt_ms / 1000, SHORTEST_QUEUE_S) * self.queue_bdp)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("raw", 0),
        Profile("lan1g", 1000),
        Profile("lan500", 500, 1.0),
        Profile("wifi", 300, 4.0, 0.1),
        Profile("inet", 100, 40.0, 0.1),
        Profile("inet1", 100, 50.0, 1.0),
        Profile("clean", 100, 50.0),
        Profile("bad", 20, 150.0, 3.0),
    )
}


def missing(profile: Profile) -> str | None:
    """Why this profile cannot be set up here; None if it can."""
    if os.geteuid() != 0:
        return "it needs root"
    if shutil.which("ip") is None:
        return "it needs `ip` (Debian package iproute2)"
    if profile.rtt_ms and shutil.which("cc") is None:
        return "it needs a C compiler"
    if profile.rtt_ms and not Path("/dev/net/tun").exists():
        return "it needs /dev/net/tun"
    return None


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up. `on_a` and `on_b` prefix a command with what runs it on that host."""

    a: str
    b: str
    router: str = ""  # between veth pairs
    change: Callable[[Profile], None] | None = (
        None  # of an emulated link: its rate, round trip, loss and queue
    )

    @property
    def on_a(self) -> list[str]:
        return ["ip", "netns", "exec", self.a]

    @property
    def on_b(self) -> list[str]:
        return ["ip", "netns", "exec", self.b]


@contextmanager
def lab(profile: Profile, *, offloads: bool = True, ipv6: bool = False) -> Iterator[Lab]:
    """The two hosts, gone again on leaving. Without `offloads` a veth does not aggregate on receipt either.
    `ipv6`: veth pairs have no IPv4."""
    prefix = f"tl{os.getpid() % 10_000}"
    a, b, router = (f"{prefix}{end}" for end in "abr")
    try:
        if profile.rtt_ms:
            with _emulated(profile, a, b) as change:
                yield Lab(a, b, change=change)
        else:
            _veth(profile, prefix, a, b, router, offloads=offloads, ipv6=ipv6)
            yield Lab(a, b, router)
    finally:
        for name in (a, b, router):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _veth(profile: Profile, prefix: str, a: str, b: str, router: str, *, offloads: bool, ipv6: bool) -> None:
    for name in (a, b, router):
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    ends = ((a, IPV6_A), (b, IPV6_B)) if ipv6 else ((a, ADDRESS_A), (b, ADDRESS_B))
    bits, at_once = (64, ("nodad",)) if ipv6 else (24, ())
    for host, address in ends:
        gateway = address[:-1] + "1"
        near, far = f"{host}0", f"{host}1"
        _ip("link", "add", near, "netns", host, "type", "veth", "peer", "name", far, "netns", router)
        _ip("-n", host, "addr", "add", f"{address}/{bits}", "dev", near, *at_once)
        _ip("-n", router, "addr", "add", f"{gateway}/{bits}", "dev", far, *at_once)
        # The wire carries packets of 1500 bytes: what a card would segment is segmented before the link.
        _ethtool(host, near, "tso", "off", "gso", "off", "tx-udp-segmentation", "off")
        _ethtool(host, near, "gro", "on" if offloads else "off")
        _ethtool(router, far, "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
        _ip("-n", host, "link", "set", near, "up")
        _ip("-n", router, "link", "set", far, "up")
        _ip("-n", host, "route", "add", "default", "via", gateway)
        if profile.rate_mbps:
            _shape(router, far, profile.rate_mbps)
    forward = "net.ipv6.conf.all.forwarding=1" if ipv6 else "net.ipv4.ip_forward=1"
    subprocess.run(["ip", "netns", "exec", router, "sysctl", "-qw", forward], check=True)


def _ethtool(namespace: str, device: str, *settings: str) -> None:
    """Best effort: without ethtool the link flatters whoever uses offloads."""
    if shutil.which("ethtool"):
        subprocess.run(
            ["ip", "netns", "exec", namespace, "ethtool", "-K", device, *settings],
            check=False,
            capture_output=True,
        )


def _shape(namespace: str, device: str, rate_mbps: int) -> None:
    rate, queue = f"{rate_mbps}mbit", str(TBF_QUEUE_BYTES)
    shaper = [
        "tc",
        "qdisc",
        "add",
        "dev",
        device,
        "root",
        "tbf",
        "rate",
        rate,
        "burst",
        "32k",
        "limit",
        queue,
    ]
    subprocess.run(["ip", "netns", "exec", namespace, *shaper], check=True)


@contextmanager
def _emulated(profile: Profile, a: str, b: str) -> Iterator[Callable[[Profile], None]]:
    for name in (a, b):
        _ip("netns", "add", name)
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "linkemu"
        source = Path(__file__).with_name("linkemu.c")
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(program), str(source)], check=True)
        numbers = (
            profile.rate_mbps,
            int(profile.rtt_ms * 500),
            profile.loss_percent,
            profile.queue_bytes,
            7,
            1,
        )
        command = [str(program), a, ADDRESS_A, b, ADDRESS_B, *map(str, numbers)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def change(new: Profile) -> None:
            assert process.stdin is not None
            one_way_us = int(new.rtt_ms * 500)
            print(
                new.rate_mbps, one_way_us, new.loss_percent, new.queue_bytes, file=process.stdin, flush=True
            )

        try:
            if process.stdout is None or process.stdout.readline().strip() != "up":
                raise RuntimeError("the link emulator did not start")
            time.sleep(0.05)
            yield change
        finally:
            process.terminate()
            process.communicate(timeout=5)
