"""What the figures of a transfer mean: a score, the bottleneck, and what to do about it.

The score starts at 100 and loses points for throughput, RTT, jitter and loss, read from the four tables below
and interpolated between their rows (the throughput's on a logarithmic scale). What is unknown costs nothing.
It is rounded down, so 100 means that nothing was lost. The tables are fixed by these examples:

    200 Mbit/s, RTT 8.5 ms, jitter 2.3 ms, loss 0.2 %     95
    gigabit LAN                                           95-100
    Wi-Fi, 200-250 Mbit/s                                 90-95
    internet at 100 Mbit/s, of which 50-60 are reached    85-90, `network-bandwidth`

The bottleneck is the first of these that holds:

    network-bandwidth   loss > 5 %
    network-latency     RTT > 200 ms or jitter > 50 ms
    memory              memory in use > 90 %
    backpressure        most of the time went to the receiver (its disk, the reader of its output, verifying) or to
                        a full buffer; where no account of the time is kept, or it went to reading what is sent: the
                        rate varied by > 50 % (its coefficient of variation)
    cpu                 most of the time went to a processor, at either end; without an account: this process was seen
                        to fill its core while the network lost < 1 %; where its use was not measured: low throughput
                        (< 100 Mbit/s, or < 50 % of what the link carries) on a good network (RTT < 20 ms, jitter
                        < 10 ms, loss < 1 %)
    network-bandwidth   the link's rate is known, less than 90 % of it was reached, the network is not good,
                        and nothing at either end was seen to hold the transfer back
    none

No score is given (`shown_score`) where it would say nothing of the path: a `--limit` had most of the time, or there
was next to nothing to send.

The last example has `network-bandwidth` either way: a path that reaches 55 of its 100 Mbit/s loses more than
5 % (the first rule) or, with `link_mbps` telling what it should carry, falls under the last.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from math import log10

from tallow_cli.measure.account import Verdict
from tallow_cli.measure.causes import Cause
from tallow_cli.measure.throughput import format_throughput
from tallow_cli.measure.verdict_words import sentence


class Bottleneck(StrEnum):
    NETWORK_BANDWIDTH = "network-bandwidth"
    NETWORK_LATENCY = "network-latency"
    BACKPRESSURE = "backpressure"
    CPU = "cpu"
    MEMORY = "memory"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured; None is unknown."""

    mbps: float
    rtt_ms: float | None = None
    jitter_ms: float | None = None
    loss: float | None = None  # fraction
    min_rtt_ms: float | None = None
    variation: float = 0.0  # coefficient of variation of the rate
    sample_count: int = 0
    cpu_fraction: float | None = None  # of one core: used, or waited for while others had it
    memory_fraction: float | None = None
    verdict: Verdict | None = None  # where the time went, as both ends account for it
    sending: bool = True  # at which end the words are read
    moved_bytes: int | None = None
    link_mbps: float | None = None


# Fewer samples than this decide nothing about the rate: a transfer of a second is all start and end.
FEWEST_SAMPLES_TO_JUDGE_RATE = 4

BANDWIDTH_LOSS = 0.05
LATENCY_RTT_MS = 200.0
LATENCY_JITTER_MS = 50.0
BACKPRESSURE_VARIATION = 0.5
MEMORY_PRESSURE = 0.9
BUSY_CORE = 0.85  # a single-threaded process above this has nothing left to give
GOOD_RTT_MS = 20.0
GOOD_JITTER_MS = 10.0
GOOD_LOSS = 0.01
LOW_MBPS = 100.0  # any wired LAN of this century carries that
LOW_LINK_FRACTION = 0.5
FULL_LINK_FRACTION = 0.9  # headers and acknowledgements take the rest
QUEUED_RTT_FACTOR = 3  # an RTT this far above its minimum is queueing, not distance

# A payload that a path carries in the time of a few round trips does not measure it.
TINY_BYTES = 1024 * 1024

_RECEIVER = (Cause.RECEIVER_DISK, Cause.RECEIVER_OUTPUT, Cause.VERIFYING, Cause.BUFFERS)
_READING = (Cause.SENDER_DISK, Cause.SENDER_INPUT)
_CPU = (Cause.SENDER_CPU, Cause.RECEIVER_CPU)
_PATH = (Cause.NETWORK_CAPACITY, Cause.NETWORK_DELAY, Cause.NETWORK_LOSS, Cause.RELAY)
_LIMITS = (Cause.SENDER_LIMIT, Cause.RECEIVER_LIMIT)

# (value, points lost) at the rows; between them linear, beyond the ends constant.
_LOG10_MBPS_POINTS = tuple(
    (log10(mbps), points)
    for mbps, points in (
        (0.1, 45),
        (1, 35),
        (10, 18),
        (50, 8),
        (100, 5),
        (200, 3.7),
        (300, 3.4),
        (500, 2),
        (900, 0),
    )
)
_RTT_MS_POINTS = ((1, 0), (10, 1), (50, 4), (200, 15), (1000, 30))
_JITTER_MS_POINTS = ((1, 0), (10, 1.5), (50, 10), (200, 20))
_LOSS_POINTS = ((0.0, 0), (0.01, 1), (0.05, 3.5), (0.10, 12), (0.20, 30), (0.50, 50))


def quality_score(facts: Facts) -> int:
    """Return 0-100 by the tables above."""
    lost = _interpolate(_LOG10_MBPS_POINTS, log10(max(facts.mbps, 1e-9)))
    if facts.loss is not None:
        lost += _interpolate(_LOSS_POINTS, facts.loss)
    if facts.rtt_ms is not None:
        lost += _interpolate(_RTT_MS_POINTS, facts.rtt_ms)
    if facts.jitter_ms is not None:
        lost += _interpolate(_JITTER_MS_POINTS, facts.jitter_ms)
    return max(0, int(100 - lost))


def shown_score(facts: Facts) -> int | None:
    """The score, where it says something of the path."""
    cause = None if facts.verdict is None else facts.verdict.cause
    is_tiny = facts.moved_bytes is not None and facts.moved_bytes < TINY_BYTES
    if cause in _LIMITS or (is_tiny and cause not in _PATH):
        return None
    return quality_score(facts)


def judge(facts: Facts) -> tuple[Bottleneck, str]:
    """Return the bottleneck and the recommendation: what was observed, then what to turn."""
    bottleneck, words = _judge(facts)
    if facts.verdict is not None:  # the account knows best, and says the same at both ends
        words = sentence(facts.verdict, sending=facts.sending)
    return bottleneck, words


def _judge(facts: Facts) -> tuple[Bottleneck, str]:
    cause = None if facts.verdict is None else facts.verdict.cause
    if facts.loss is not None and facts.loss > BANDWIDTH_LOSS:
        return Bottleneck.NETWORK_BANDWIDTH, (
            f"The network lost {_percent(facts.loss, 1)} of the packets. Use a wired or less busy network."
        )
    if (facts.rtt_ms or 0.0) > LATENCY_RTT_MS or (facts.jitter_ms or 0.0) > LATENCY_JITTER_MS:
        return Bottleneck.NETWORK_LATENCY, _on_latency(facts)
    is_full = facts.memory_fraction is not None and facts.memory_fraction > MEMORY_PRESSURE
    if cause is Cause.MEMORY or is_full:
        return Bottleneck.MEMORY, (
            f"{_percent(facts.memory_fraction or 1.0)} of the memory is in use. Close other programs."
        )
    if facts.sample_count < FEWEST_SAMPLES_TO_JUDGE_RATE:
        return Bottleneck.NONE, "Too little was measured yet to say what limits the rate."
    is_uneven = facts.variation > BACKPRESSURE_VARIATION and (cause is None or cause in _READING)
    if cause in _RECEIVER or is_uneven:
        return Bottleneck.BACKPRESSURE, _on_backpressure(facts)
    if cause in _CPU or (cause is None and _is_cpu_bound(facts)):
        return Bottleneck.CPU, _on_cpu(facts)
    if (cause is None or cause in _PATH) and _falls_short_of_link(facts):
        return Bottleneck.NETWORK_BANDWIDTH, (
            f"{facts.mbps:.0f} of the link's {facts.link_mbps:.0f} Mbit/s were reached "
            f"({_network(facts)}), and nothing at this end was seen to hold them back. "
            "Use a wired or less busy network, or try at another time."
        )
    return Bottleneck.NONE, "Nothing measured here holds the transfer back."


def _is_network_good(facts: Facts) -> bool:
    return (
        (facts.loss or 0.0) < GOOD_LOSS
        and facts.rtt_ms is not None
        and facts.rtt_ms < GOOD_RTT_MS
        and (facts.jitter_ms or 0.0) < GOOD_JITTER_MS
    )


def _is_cpu_bound(facts: Facts) -> bool:
    if facts.cpu_fraction is not None:
        # Round trips prove nothing then: a process that cannot keep up lets its own packets queue.
        return facts.cpu_fraction > BUSY_CORE and (facts.loss or 0.0) < GOOD_LOSS
    return _is_network_good(facts) and facts.mbps < (
        LOW_MBPS if facts.link_mbps is None else LOW_LINK_FRACTION * facts.link_mbps
    )


def _falls_short_of_link(facts: Facts) -> bool:
    return (
        facts.link_mbps is not None
        and facts.mbps < FULL_LINK_FRACTION * facts.link_mbps
        and not _is_network_good(facts)
        and (facts.cpu_fraction or 0.0) <= BUSY_CORE
    )


def _on_latency(facts: Facts) -> str:
    rtt_ms, jitter_ms = facts.rtt_ms or 0.0, facts.jitter_ms or 0.0
    if rtt_ms <= LATENCY_RTT_MS:
        return (
            f"Round trips vary by {jitter_ms:.0f} ms around {rtt_ms:.0f} ms. "
            "Use a wired network or a better radio link."
        )
    if facts.min_rtt_ms is not None and rtt_ms > QUEUED_RTT_FACTOR * facts.min_rtt_ms:
        return (
            f"Round trips take {rtt_ms:.0f} ms, although the path itself takes {facts.min_rtt_ms:.0f} ms: "
            "data is queueing on the way. Stop what else fills the path."
        )
    return (
        f"Round trips take {rtt_ms:.0f} ms: the other side is far away, or the path goes round. "
        "Find a more direct path, with no VPN or relay in between."
    )


def _on_backpressure(facts: Facts) -> str:
    return (
        f"The rate varied by {_percent(facts.variation)} around its mean. "
        "See whether a disk is busy at either end, or others use the network."
    )


def _on_cpu(facts: Facts) -> str:
    if facts.cpu_fraction is not None:
        return (
            f"This process needed a core {_percent(facts.cpu_fraction)} of the time ({_network(facts)}). "
            "Close other programs or use a faster machine; --no-encrypt leaves the encryption to DTLS alone."
        )
    return (
        f"Only {format_throughput(facts.mbps)} passed although the network is good ({_network(facts)}): "
        "probably the processor is the limit. Close other programs, or use a faster machine."
    )


def _network(facts: Facts) -> str:
    """The network as measured, to stand in brackets."""
    figures = []
    if facts.rtt_ms is not None:
        figures.append(f"RTT {facts.rtt_ms:.1f} ms")
    if facts.loss is not None:
        figures.append(f"loss {_percent(facts.loss, 1)}")
    return ", ".join(figures) or "the network was not measured at this end"


def _percent(fraction: float, decimals: int = 0) -> str:
    return f"{100 * fraction:.{decimals}f} %"


def _interpolate(rows: tuple[tuple[float, float], ...], value: float) -> float:
    """Return the points at `value`: linear between rows, constant beyond the first and the last."""
    index = bisect_right(rows, value, key=lambda row: row[0])
    if index == 0:
        return rows[0][1]
    if index == len(rows):
        return rows[-1][1]
    (x0, y0), (x1, y1) = rows[index - 1], rows[index]
    return y0 + (y1 - y0) * (value - x0) / (x1 - x0)
