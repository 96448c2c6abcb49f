"""`make bench-lab`: file to file over the lab's links, beside iperf3 and stock aiortc, as a Markdown table.

    python -m tests.lab.bench_lab [--runs 3] [--profiles raw,lan1g] [--sizes …]

Every figure is the median of the runs made here and now. What cannot run on this machine is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from tests.lab.namespaces import ADDRESS_B, PROFILES, Lab, Profile, lab, missing

SECONDS = 20  # about how long a run should take, so that the start, half a second of it, weighs little
IPERF_SECONDS = 8
# What aiortc may be expected to move, for runs of a few seconds; the loss decides.
AIORTC_RUNS = 2
AIORTC_BYTES, AIORTC_LOSSY_BYTES = 40_000_000, 3_000_000
SIZE_LIMIT_BYTES = 1_500_000_000
RAW_MBPS = 1200  # what to expect where the link has no rate
BLOCK = 1_000_000
COMPANY_S, COMPANY_AFTER_S, COMPANY_BYTES = 45, 6, 120_000_000


@dataclass(frozen=True, slots=True)
class Run:
    mbps: float
    sender_cpu_s_per_gb: float = 0.0
    receiver_cpu_s_per_gb: float = 0.0
    max_rss_mib: float = 0.0
    min_rtt_ms: float | None = None
    avg_rtt_ms: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profiles", default="raw,lan1g,lan500,wifi,inet,inet1")
    parser.add_argument("--no-peers", action="store_true", help="only Tallow's default engine")
    arguments = parser.parse_args()
    print(
        "| link | turbo Mbit/s | share of the link | without GSO, GRO | iperf3 BBR | iperf3 CUBIC | aiortc | CPU s/GB "
        "| MiB | RTT ms |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as directory:
        for name in arguments.profiles.split(","):
            profile = PROFILES[name]
            reason = missing(profile)
            if reason:
                print(f"| {name} | left out: {reason} |", flush=True)
                continue
            print(row(profile, Path(directory), arguments.runs, peers=not arguments.no_peers), flush=True)
        if not arguments.no_peers and not missing(PROFILES["clean"]) and shutil.which("iperf3"):
            print("\n| queue | turbo Mbit/s | a CUBIC flow that was there before, meanwhile |")
            print("| --- | ---: | ---: |")
            for queue_bdp in (1.0, 0.5):
                print(company(queue_bdp, Path(directory)), flush=True)
    return 0


def company(queue_bdp: float, directory: Path) -> str:
    """One transfer beside one CUBIC flow on 100 Mbit/s and 50 ms: what each has while both are there."""
    profile = replace(PROFILES["clean"], queue_bdp=queue_bdp)
    with lab(profile) as hosts:
        server = subprocess.Popen([*hosts.on_b, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        client = [
            *hosts.on_a,
            "iperf3",
            "-c",
            ADDRESS_B,
            "-C",
            "cubic",
            "-t",
            str(COMPANY_S),
            "-i",
            "1",
            "-J",
        ]
        cubic = subprocess.Popen(client, stdout=subprocess.PIPE, text=True)
        began = time.monotonic()
        time.sleep(COMPANY_AFTER_S)
        ours = transfer(hosts, directory, "turbo", COMPANY_BYTES)
        ended = time.monotonic() - began
        output, _ = cubic.communicate()
        server.wait(5)
    intervals = [interval["sum"] for interval in json.loads(output)["intervals"]]
    together = [
        interval["bits_per_second"] / 1e6
        for interval in intervals
        if interval["start"] > COMPANY_AFTER_S + 2 and interval["end"] < ended
    ]
    return f"| {queue_bdp:g} BDP | {ours.mbps:.0f} | {mean(together):.0f} |"


def row(profile: Profile, directory: Path, runs: int, *, peers: bool) -> str:
    """One link's figures."""
    expected = profile.rate_mbps or RAW_MBPS
    turbo: list[Run] = []
    others: dict[str, list[float]] = {"singly": [], "bbr": [], "cubic": [], "aiortc": []}
    with lab(profile) as hosts:
        for _ in range(runs):
            turbo.append(transfer(hosts, directory, "turbo", size_for(expected)))
            if peers and not profile.loss_percent:
                singly = transfer(hosts, directory, "turbo", size_for(expected) // 2, offload=False)
                others["singly"].append(singly.mbps)
            if peers:
                for congestion in ("bbr", "cubic"):
                    others[congestion].append(iperf(hosts, congestion))
        if peers:
            size = AIORTC_LOSSY_BYTES if profile.loss_percent else AIORTC_BYTES
            others["aiortc"] = [transfer(hosts, directory, "aiortc", size).mbps for _ in range(AIORTC_RUNS)]
    best = median(run.mbps for run in turbo)
    share = f"{best / profile.rate_mbps:.1%}" if profile.rate_mbps else "–"
    cells = [
        profile.name,
        f"{best:.0f} ({min(r.mbps for r in turbo):.0f}–{max(r.mbps for r in turbo):.0f})",
        share,
        *(f"{median(values):.0f}" if values else "–" for values in others.values()),
        f"{median(r.sender_cpu_s_per_gb for r in turbo):.1f} + {median(r.receiver_cpu_s_per_gb for r in turbo):.1f}",
        f"{max(r.max_rss_mib for r in turbo):.0f}",
        f"{median(r.avg_rtt_ms or 0 for r in turbo):.1f} (least {min(r.min_rtt_ms or 0 for r in turbo):.1f})",
    ]
    return "| " + " | ".join(cells) + " |"


def size_for(mbps: float) -> int:
    return min(int(mbps * 1e6 / 8 * SECONDS) // BLOCK * BLOCK + BLOCK, SIZE_LIMIT_BYTES)


def iperf(hosts: Lab, congestion: str) -> float:
    """TCP goodput in Mbit/s as iperf3 sees it at the receiver; 0 where this kernel lacks the algorithm."""
    if shutil.which("iperf3") is None:
        return 0.0
    server = subprocess.Popen(
        [*hosts.on_b, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(0.3)
    command = [*hosts.on_a, "iperf3", "-c", ADDRESS_B, "-t", str(IPERF_SECONDS), "-C", congestion, "-J"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    server.terminate()
    server.wait(5)
    try:
        return float(json.loads(result.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e6
    except (ValueError, KeyError):
        return 0.0


def transfer(hosts: Lab, directory: Path, engine: str, size: int, *, offload: bool = True) -> Run:
    """One real transfer, file to file, by the real commands."""
    source = random_file(directory, size)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(directory), "TALLOW_NO_MDNS": "1"}
    if not offload:
        environment["TALLOW_NO_OFFLOAD"] = "1"
    tallow = [sys.executable, "-m", "tallow_cli"]
    with received(directory) as target:
        send = ["send", str(source), "--json", "--engine", engine]
        sender = Measured([*hosts.on_a, *tallow, *send], environment, directory / "sender.jsonl")
        code = sender.event("code")
        receive = [
            "recv",
            code["code"],
            "--server",
            code["reachable_as"],
            "--yes",
            "--json",
            "-o",
            str(target),
        ]
        receiver = Measured(
            [*hosts.on_b, *tallow, *receive, "--engine", engine], environment, directory / "receiver.jsonl"
        )
        receiver_use, sender_use = receiver.end(), sender.end()
        done = sender.event("done")
        copied = target / source.name
        if copied.stat().st_size != size:
            raise RuntimeError("the received file is not whole")
    figures = done["benchmark"]
    return Run(
        mbps=done["mbps"],
        sender_cpu_s_per_gb=sender_use.cpu_s / size * 1e9,
        receiver_cpu_s_per_gb=receiver_use.cpu_s / size * 1e9,
        max_rss_mib=max(sender_use.rss_mib, receiver_use.rss_mib),
        min_rtt_ms=figures["min_rtt_ms"],
        avg_rtt_ms=figures["avg_rtt_ms"],
    )


@dataclass(frozen=True, slots=True)
class Use:
    cpu_s: float
    rss_mib: float


class Measured:
    """A command whose JSON lines go to a file, which never blocks it, and whose resources are read when it ends."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, env=environment, stdout=output)
        self._returned: int | None = None

    def event(self, name: str) -> dict[str, Any]:
        """The first event of that name. Raises RuntimeError if the command ends without it."""
        while True:
            ended = self._returned is not None or not Path(f"/proc/{self._process.pid}").exists()
            events = [
                json.loads(line)
                for line in self._log.read_text().splitlines(keepends=True)
                if line[-1] == "\n"
            ]
            for event in events:
                if event["event"] == name:
                    return event
            if ended or any(event["event"] == "error" for event in events):
                raise RuntimeError(f"no {name!r} event: {events[-1:]}")
            time.sleep(0.02)

    def end(self) -> Use:
        """Wait for the end. Raises RuntimeError if the command failed."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = self._returned = os.waitstatus_to_exitcode(status)
        if self._returned:
            raise RuntimeError(f"a transfer ended with {self._returned}: {self._log.read_text()[-500:]}")
        return Use(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def random_file(directory: Path, size: int) -> Path:
    """A file of that many random bytes, made once."""
    path = directory / f"random-{size}"
    if not path.exists():
        with path.open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - start)))
    return path


@contextmanager
def received(directory: Path) -> Iterator[Path]:
    target = directory / "received"
    target.mkdir()
    try:
        yield target
    finally:
        shutil.rmtree(target)


if __name__ == "__main__":
    sys.exit(main())
