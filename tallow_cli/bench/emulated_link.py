"""What `tallow bench --link RATE,RTT,LOSS` puts between its two processes, as people write it.

`netem.link` emulates it; `bench.link_process` drives one `Link` each way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tallow_cli.errors import BadOption
from tallow_cli.netem.link import LinkConfig, LinkStats
from tallow_cli.quantities import parse_rate

# Ethernet's. Loopback carries 64 KiB in one piece, which no link does that somebody would want emulated.
MTU_BYTES: Final = 1500

# A queue shorter than either would lose bursts that real links' buffers take in.
SHORTEST_QUEUE_S: Final = 0.02
SMALLEST_QUEUE_BYTES: Final = 10 * MTU_BYTES

# One process in Python carries no more; for faster paths there are network namespaces (`make bench-lab`).
MAX_RATE_BPS: Final = 1e9
MIN_RATE_BPS: Final = 1e5
MAX_RTT_S: Final = 2.0  # a satellite takes 0.6 s; a queue of 2 s at the highest rate is 250 MB
MAX_LOSS: Final = 0.5

_OPTION: Final = "--link"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_TIME: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s)?", re.IGNORECASE)
_SHARE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*%?")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The link, alike in both directions. `loss` is the share of datagrams that die at random."""

    rate_bps: float  # IP and UDP headers included, Ethernet's framing not, as iperf3 and tc count
    rtt_s: float  # without queueing
    loss: float

    @property
    def queue_bytes(self) -> float:
        """One bandwidth-delay product, as routers have long been given."""
        return max(self.rate_bps * max(self.rtt_s, SHORTEST_QUEUE_S) / 8, SMALLEST_QUEUE_BYTES)

    @property
    def config(self) -> LinkConfig:
        """One direction of it. A datagram costs its IP and UDP headers too."""
        return LinkConfig(
            rate_bps=self.rate_bps,
            delay_s=self.rtt_s / 2,
            mtu_bytes=MTU_BYTES,
            queue_bytes=int(self.queue_bytes),
            loss=self.loss,
        )

    def __str__(self) -> str:
        return f"{self.rate_bps / 1e6:g} Mbit/s, {self.rtt_s * 1e3:g} ms, {self.loss * 100:g} %"


@dataclass(slots=True)
class LinkCounters:
    """What one direction did with its datagrams."""

    received: int = 0
    lost: int = 0  # by the link's random loss
    dropped_by_queue: int = 0
    too_large: int = 0  # for the MTU
    delivered: int = 0
    mean_late_s: float = 0.0  # after their time, since the emulator had no CPU or no fine enough timer
    overrun: int = 0  # not emulated: they died in the emulator's own socket, which it was too slow to read


def counters_of(stats: LinkStats, overrun: int) -> LinkCounters:
    """What the emulator counted, with what never reached it."""
    return LinkCounters(
        received=stats.sent_packets,
        lost=stats.dropped_at_random,
        dropped_by_queue=stats.dropped_by_queue,
        too_large=stats.too_large,
        delivered=stats.delivered_packets,
        mean_late_s=stats.late_s / stats.delivered_packets if stats.delivered_packets else 0.0,
        overrun=overrun,
    )


def parse_link(text: str) -> LinkSpec:
    """Return the link that `100Mbit,50ms,1%` describes; plain numbers (`100,50,1`) have these units.

    Raises BadOption.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        raise BadOption(_OPTION, f"{text!r} is not RATE,RTT,LOSS; write it like 100Mbit,50ms,1%")
    rate, rtt, loss = parts
    spec = LinkSpec(_rate_bps(rate), _seconds(rtt), _share(loss))
    if not MIN_RATE_BPS <= spec.rate_bps <= MAX_RATE_BPS:
        raise BadOption(_OPTION, f"the rate {rate!r} is not between 100 kbit/s and 1 Gbit/s")
    if spec.rtt_s > MAX_RTT_S:
        raise BadOption(_OPTION, f"the round-trip time {rtt!r} is over {MAX_RTT_S:g} s")
    if spec.loss > MAX_LOSS:
        raise BadOption(_OPTION, f"the loss {loss!r} is over {MAX_LOSS:.0%}")
    return spec


def _rate_bps(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text) * 1e6
    try:
        return parse_rate(text) * 8
    except ValueError as error:
        raise BadOption(_OPTION, str(error)) from error


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise BadOption(_OPTION, f"{text!r} is not a round-trip time; write it like 50ms or 0.4ms")
    return float(match["number"]) * _SECONDS[(match["unit"] or "ms").lower()]


def _share(text: str) -> float:
    match = _SHARE.fullmatch(text)
    if match is None:
        raise BadOption(_OPTION, f"{text!r} is not a loss; write it like 1% or 0.1%")
    return float(match["number"]) / 100
