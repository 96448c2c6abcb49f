"""The path's MTU falls in the middle of a transfer, and no ICMP says so. What was too large has to arrive."""

from __future__ import annotations

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab import namespaces
from tests.support.processes import Shell

PROFILE = namespaces.Profile("raw", 0)
WHY_NOT = namespaces.missing(PROFILE) or (
    None if shutil.which("nft") else "it needs `nft` (Debian package nftables)"
)
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"namespaces: {WHY_NOT}"),
]
SIZE = 20_000_000
RATE = "4MB"  # so five seconds, and what the black hole costs
# Nothing larger passes, fragmented or not, as where a tunnel's fragments are lost too.
MTU = 1_280
RULES = """
table inet path {{
  chain forward {{
    type filter hook forward priority 0
    meta length > {mtu} drop
    ip frag-off & 0x3fff != 0 drop
    exthdr frag exists drop
  }}
}}
"""


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_a_path_whose_mtu_falls_without_a_word_costs_seconds_reliable_or_not(sh: Shell, ipv6: bool) -> None:
    # It was 32 s; with --reliable nothing passed any more, and both ended with 8 after 31 s.
    with namespaces.lab(PROFILE, ipv6=ipv6) as hosts, ThreadPoolExecutor(2) as pool:
        address = f"[{namespaces.IPV6_A}]" if ipv6 else namespaces.ADDRESS_A
        sh.within = hosts.on_a
        sh.start("serve", "--host", address.strip("[]"), "--port", "7777")
        server = ("--server", f"ws://{address}:7777", "--json")
        pairs = []
        for name, options in (("default", ()), ("reliable", ("--reliable",))):
            source = sh.directory / f"{name}.bin"
            source.write_bytes(bytes(SIZE))
            (sh.directory / name).mkdir()
            sh.within = hosts.on_a
            sender = sh.start("send", source, *server, "--limit", RATE, *options)
            code = sender.wait_event("code")["code"]
            sh.within = hosts.on_b
            pairs.append((sender, sh.start("recv", code, *server, "--yes", "-o", Path(name), *options)))
        for sender, _ in pairs:
            while not any(event["bytes"] > SIZE // 8 for event in sender.events("progress")):
                assert sender.process.poll() is None, sender.report()
                time.sleep(0.05)
        subprocess.run(
            [*["ip", "netns", "exec", hosts.router], "nft", "-f", "-"],
            input=RULES.format(mtu=MTU),
            text=True,
            check=True,
        )
        fell_at = time.monotonic()
        ends = [pool.submit(tallow.wait, 60) for pair in pairs for tallow in pair]
        assert [end.result() for end in ends] == [0] * 4
        took_s = time.monotonic() - fell_at
    assert took_s < SIZE / 4e6 + 10
