"""Two hosts and a signaling server between which a share of all packets is lost, each way, on every path.

    A ─── emulated link: rate, round trip, loss ─── B
    └─ nftables drops the same share of A's packets ─ P, where the server runs; B's go through A, and lose on the link

Needs what an emulated link does, and nftables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.namespaces import Lab, Profile, lab
from tests.lab.namespaces import missing as missing_link

SERVER = "10.91.3.2"


def missing(profile: Profile) -> str | None:
    """Why this cannot be set up here; None if it can."""
    if shutil.which("nft") is None:
        return "it needs nftables"
    return missing_link(profile)


@dataclass(frozen=True, slots=True)
class LossyLab:
    """The commands that run something on one of the hosts."""

    hosts: Lab
    on_public: list[str]


@contextmanager
def lossy_lab(profile: Profile) -> Iterator[LossyLab]:
    """The three hosts, gone again on leaving."""
    public = f"tq{os.getpid() % 10_000}"
    with lab(profile) as hosts:
        try:
            _run("ip", "netns", "add", public)
            _run(
                "ip",
                "link",
                "add",
                "pa",
                "netns",
                hosts.a,
                "type",
                "veth",
                "peer",
                "name",
                "pp",
                "netns",
                public,
            )
            for where, device, address in ((hosts.a, "pa", "10.91.3.1"), (public, "pp", SERVER)):
                _run("ip", "-n", where, "addr", "add", f"{address}/24", "dev", device)
                _run("ip", "-n", where, "link", "set", device, "up")
            _run("ip", "-n", public, "link", "set", "lo", "up")
            _run("ip", "-n", public, "route", "add", "default", "via", "10.91.3.1")
            _run(*hosts.on_a, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            drop = f"numgen random mod 1000 < {profile.loss_percent * 10:.0f} drop"
            rules = f"""table ip lossy {{
                chain out {{ type filter hook output priority 0; oifname "pa" {drop}; }}
                chain in {{ type filter hook input priority 0; iifname "pa" {drop}; }}
            }}""".replace("drop; }", "drop\n }")
            subprocess.run([*hosts.on_a, "nft", "-f", "-"], input=rules, text=True, check=True)
            yield LossyLab(hosts, ["ip", "netns", "exec", public])
        finally:
            subprocess.run(["ip", "netns", "del", public], check=False, capture_output=True)


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True)
