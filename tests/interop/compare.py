"""`python -m tests.interop.compare`: how fast each stack's reliable channel is on this machine, in one run.

Two processes of the same stack over this machine's own addresses, ordered and reliable, messages of 64 KiB; the
stacks take turns, and the median of the rounds is printed as a Markdown table. Nothing is sealed, hashed or
written: it is the channel alone. Rates count what the receiver's application got.

Loopback flatters Tallow: its packets grow to 16 KiB there, and GSO batches are never cut. The rows with packets of
Ethernet's size, with and without GSO and GRO, are the fairer ones beside stacks that send 1,200 bytes at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.interop.conftest import PEERS, find_peer
from tests.interop.peer_process import PeerError, PeerProcess, running

LABEL: Final = "flood"


class Run(NamedTuple):
    mbit_per_s: float
    sender_cpu_s_per_gb: float
    receiver_cpu_s_per_gb: float


def stacks() -> dict[str, tuple[list[str], str | None]]:
    """Name: (command, why it cannot be run or None)."""
    aiortc, _ = find_peer("aiortc")
    tallow = [sys.executable, str(PEERS / "tallow_peer.py")]
    return {
        "Tallow turbo (Python, uvloop)": ([*tallow, "turbo"], None),
        "the same, packets of Ethernet's size": ([*tallow, "turbo", "--ethernet"], None),
        "the same, and no GSO or GRO": ([*tallow, "turbo", "--ethernet", "--no-offload"], None),
        "libdatachannel (C++, usrsctp)": find_peer("libdatachannel"),
        "libwebrtc (C++, dcSCTP)": find_peer("libwebrtc"),
        "aiortc (Python, uvloop)": ([*aiortc, "--uvloop"], None),
        "aiortc (Python, asyncio)": (aiortc, None),
    }


async def run(command: Sequence[str], size: int, seconds: float) -> Run:
    async with running(command) as sender, running(command) as receiver:
        sender.command("channel", label=LABEL, id=0)
        receiver.command("channel", label=LABEL, id=0)
        sender.command("offer")
        await _pass_on(await sender.wait("description"), receiver)
        await _pass_on(await receiver.wait("description"), sender)
        await sender.wait("open", label=LABEL)
        await receiver.wait("open", label=LABEL)
        receiver.command("sink", label=LABEL)
        sender.command("flood", label=LABEL, size=size, seconds=seconds)
        flooded = await sender.wait("flooded", timeout_s=seconds + 60)
        receiver.command("report", label=LABEL)
        report = await receiver.wait("report")
        gigabytes = report["bytes"] / 1e9
        return Run(
            report["bytes"] * 8 / 1e6 / report["seconds"],
            flooded["cpu"] / gigabytes,
            report["cpu"] / gigabytes,
        )


async def _pass_on(description: dict[str, str], to: PeerProcess) -> None:
    to.command("remote", type=description["type"], sdp=description["sdp"])


async def compare(rounds: int, size: int, seconds: float) -> None:
    runs: dict[str, list[Run]] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for name, (command, reason) in stacks().items():
            if reason is not None:
                missing[name] = reason
                continue
            try:
                runs.setdefault(name, []).append(await run(command, size, seconds))
            except PeerError as error:
                missing[name] = str(error)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(
        f"{rounds} rounds of {seconds:g} s, messages of {size} bytes, {os.cpu_count()} cores, load {load}\n"
    )
    print("| stack | Mbit/s, median (least to most) | CPU s/GB, sender | CPU s/GB, receiver |")
    print("| --- | ---: | ---: | ---: |")
    for name, several in runs.items():
        rates = sorted(each.mbit_per_s for each in several)
        sender, receiver = (statistics.median(each[place] for each in several) for place in (1, 2))
        spread = f"{statistics.median(rates):.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"
        print(f"| {name} | {spread} | {sender:.1f} | {receiver:.1f} |")
    for name, reason in missing.items():
        print(f"\n{name}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=65_536)
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    asyncio.run(compare(chosen.rounds, chosen.size, chosen.seconds))


if __name__ == "__main__":
    main()
