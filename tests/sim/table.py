"""The tables of `docs/explanation/performance.md`, in Markdown.

`python -m tests.sim.table [CONTROLLER]`: the data plane alone, then a file through the whole stack. Virtual time: the
figures are the same on every machine. About 50 seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tallow_cli.dataplane.congestion.registry import DEFAULT_CONTROLLER
from tallow_cli.netem.presets import PRESETS, PathPreset
from tests.sim.profiles import Measurement, measure
from tests.sim.whole_stack import TransferMeasurement, measure_transfer

HEADER = "| profile | path | goodput Mbit/s | of the link | mean queue ms | p99 queue ms | lost |"
RULE = "| --- | --- | ---: | ---: | ---: | ---: | ---: |"


def describe(preset: PathPreset) -> str:
    """The path in a few words."""
    forward, rate_bps = preset.forward, preset.forward.rate_bps or 0.0
    words = [f"{rate_bps / 1e6:.0f} Mbit/s", f"{preset.rtt_s * 1e3:g} ms"]
    if forward.loss:
        bursts = f" in bursts of {forward.burst_packets:g}" if forward.burst_packets > 1 else ""
        words.append(f"{forward.loss:.1%} loss{bursts}")
    words.append(f"queue {(forward.queue_bytes or 0) / forward.bdp_bytes(preset.rtt_s):.2g} BDP")
    words += [f"{rate / 1e6:.0f} Mbit/s from {at:g} s on" for at, rate in forward.rate_changes]
    words += [f"outage {start:g}-{end:g} s" for start, end in forward.outages]
    if forward.reorder:
        words.append(f"{forward.reorder:.0%} late by {forward.reorder_delay_s * 1e3:g} ms")
    back_bps = preset.back.rate_bps or 0.0
    if back_bps < rate_bps:
        words.append(f"return path {back_bps / rate_bps:.0%}")
    return ", ".join(words)


def row(measurement: Measurement) -> str:
    return (
        f"| `{measurement.name}` | {describe(PRESETS[measurement.name])} | {measurement.goodput_mbps:.1f} "
        f"| {measurement.link_share:.1%} | {measurement.mean_queue_ms:.1f} | {measurement.p99_queue_ms:.0f} "
        f"| {measurement.loss:.2%} |"
    )


def table(congestion: str) -> Iterator[str]:
    """The table, line by line as it is measured."""
    yield HEADER
    yield RULE
    for name in PRESETS:
        yield row(measure(name, congestion=congestion))


def transfer_row(measurement: TransferMeasurement) -> str:
    return (
        f"| `{measurement.name}` | {measurement.size_bytes / 1e6:.0f} MB | {measurement.seconds:.1f} "
        f"| {measurement.goodput_mbps:.1f} | {measurement.sent_share:.3f} | {measurement.mean_queue_ms:.1f} "
        f"| {measurement.most_retained_bytes / 1e6:.0f} MB |"
    )


def transfer_table(congestion: str) -> Iterator[str]:
    """One file a profile, about ten seconds of the path each."""
    yield "| profile | file | seconds | payload Mbit/s | sent / file | mean queue ms | sender's memory |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, preset in PRESETS.items():
        seconds = 1.5 if name == "lan1g" else 4.0 if name == "wifi" else 10.0
        size_bytes = round((preset.forward.rate_bps or 0.0) / 8 * seconds / 1e6) * 1_000_000
        yield transfer_row(measure_transfer(name, size_bytes, congestion=congestion))


def main() -> None:
    congestion = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_CONTROLLER
    for lines in (table(congestion), [""], transfer_table(congestion)):
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
