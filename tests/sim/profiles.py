"""The paths the data plane is judged on, and how one is measured: two real associations over the emulated path.

The figures are of virtual time: exact, and the same on every machine and in every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallow_cli.netem.presets import PRESETS, PathPreset
from tests.sim.associations import MIB, SimulatedPath, keep_queue_full

# Ethernet: 1472 bytes of UDP payload less a DTLS record's 37.
MAX_PACKET_BYTES = 1435
MESSAGE_BYTES = 65_536
# Long enough to get over the start: a hundred round trips or more.
SECONDS = {"lan1g": 2.0, "wifi": 5.0, "far3": 20.0}
DEFAULT_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """`goodput_mbps`: application bytes that arrived, from the first moment on. `steady_mbps`: without the first two
    seconds (half a second on the LAN). `link_share`: of what the link could have carried, bytes on the wire.
    Queue delays are of the bottleneck. `per_second_mbps`: goodput second by second."""

    name: str
    goodput_mbps: float
    steady_mbps: float
    link_share: float
    mean_queue_ms: float
    p99_queue_ms: float
    lost_packets: int
    sent_packets: int
    timeouts: int
    per_second_mbps: tuple[float, ...]

    @property
    def loss(self) -> float:
        return self.lost_packets / self.sent_packets if self.sent_packets else 0.0


def capacity_bits(preset: PathPreset, seconds: float) -> float:
    """What the bottleneck can carry, its rate changes and outages counted."""
    config = preset.forward
    if config.rate_bps is None:
        raise ValueError(f"{preset.name} has no rate")
    rate_bps, since, bits = config.rate_bps, 0.0, 0.0
    for at, changed_bps in config.rate_changes:
        bits += rate_bps * (min(at, seconds) - since)
        rate_bps, since = changed_bps, min(at, seconds)
    bits += rate_bps * (seconds - since)
    return bits - sum(config.rate_bps * (min(end, seconds) - start) for start, end in config.outages)


def measure(
    name: str,
    *,
    seed: int = 1,
    seconds: float | None = None,
    message_bytes: int = MESSAGE_BYTES,
    **options: Any,
) -> Measurement:
    """A bulk transfer over the preset. `options`: `ordered`, `max_retransmits`, or of `AssociationConfig`."""
    preset = PRESETS[name]
    seconds = seconds or SECONDS.get(name, DEFAULT_SECONDS)
    send_options = {key: options.pop(key) for key in ("ordered", "max_retransmits") if key in options}
    options.setdefault("max_packet_bytes", MAX_PACKET_BYTES)
    path = SimulatedPath(preset, seed, wake_s=0.0002 if preset.rtt_s < 0.002 else 0.0005, **options)
    path.right.keep_messages = False
    keep_queue_full(
        path.left, path.rng.randbytes(message_bytes), 4 * MIB, **({"ordered": False} | send_options)
    )
    step_s = min(1.0, seconds / 4)
    rates: list[float] = []
    while path.now < seconds - step_s / 2:
        before = path.right.received_bytes
        path.run(lambda: False, step_s)
        rates.append((path.right.received_bytes - before) * 8 / step_s / 1e6)
    link, stats = path.forward.stats, path.left.association.stats
    steady = rates[2:] if len(rates) > 4 else rates[1:]
    return Measurement(
        name,
        path.right.received_bytes * 8 / seconds / 1e6,
        sum(steady) / len(steady),
        link.delivered_bytes * 8 / capacity_bits(preset, seconds),
        link.mean_queue_delay_s * 1e3,
        link.p99_queue_delay_s * 1e3,
        stats.lost_packets,
        stats.sent_packets,
        stats.timeouts,
        tuple(rates),
    )
