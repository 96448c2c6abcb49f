"""Whole paths by name: both directions, as the data plane is measured on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from tallow_cli.netem.link import LinkConfig


@dataclass(frozen=True, slots=True)
class PathPreset:
    """Both directions of a path: data go `forward`, acknowledgements come `back`."""

    name: str
    forward: LinkConfig
    back: LinkConfig

    @property
    def rtt_s(self) -> float:
        return self.forward.delay_s + self.back.delay_s


def path(
    name: str,
    rate_mbps: float,
    rtt_ms: float,
    loss: float = 0.0,
    *,
    queue_bdp: float = 1.0,
    ack_rate_share: float = 1.0,
    back_loss: float = 0.0,
    **forward: Any,
) -> PathPreset:
    """A symmetric path with a queue of `queue_bdp` bandwidth-delay products, at least 64 KiB.

    `ack_rate_share`: the return path's rate as a share of the data path's. `forward`: more of `LinkConfig`.
    """
    rate_bps = rate_mbps * 1e6
    delay_s = rtt_ms / 2000
    base = LinkConfig(rate_bps=rate_bps, delay_s=delay_s)
    queue_bytes = max(int(queue_bdp * base.bdp_bytes(rtt_ms / 1000)), 64 * 1024)
    back_rate = rate_bps * ack_rate_share
    back = LinkConfig(rate_bps=back_rate, delay_s=delay_s, queue_bytes=queue_bytes, loss=back_loss)
    return PathPreset(name, replace(base, queue_bytes=queue_bytes, loss=loss, **forward), back)


# The paths the data plane is measured on. Rates in Mbit/s, round trips in milliseconds.
PRESETS: Final[dict[str, PathPreset]] = {
    preset.name: preset
    for preset in (
        path("lan1g", 1000, 0.4, queue_bdp=20),
        path("wifi", 300, 4, 0.001, queue_bdp=4),
        path("inet", 100, 40, 0.001),
        path("inet1", 100, 50, 0.01),
        path("inet1-bursts", 100, 50, 0.01, burst_packets=10),
        path("far3", 20, 150, 0.03),
        path("shallow", 100, 40, queue_bdp=0.25),
        path("deep", 100, 40, queue_bdp=4),
        path("halving", 100, 40, queue_bdp=4, rate_changes=((5.0, 50e6),)),
        path("doubling", 50, 40, queue_bdp=2, rate_changes=((5.0, 100e6),)),
        path("outage", 100, 40, outages=((4.0, 6.0),)),
        path("reorder5", 100, 40, reorder=0.05, reorder_delay_s=0.005),
        path("thin-acks", 100, 40, ack_rate_share=0.01),
    )
}
