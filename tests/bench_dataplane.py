"""What the data plane costs in Python: microseconds a packet at each end, back to back in memory.

    python -m tests.bench_dataplane [--packets 200000] [--repeat 3]

No sockets, no DTLS, no disk. A fixed window stands in for the congestion controller's decisions (its own cost is
measured with `--congestion bbr`). "send" is packets plus taking the SACKs; "receive" is receive_packets, events
and making the SACKs. The best of the repeats is printed: other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass

from tallow_cli.dataplane.association import Association
from tallow_cli.dataplane.congestion.controller import AckSample, CongestionController, ControllerConfig
from tallow_cli.dataplane.congestion.registry import register_controller
from tallow_cli.dataplane.reassembly import MessageReceived
from tests.sim.associations import make_configs

PACKETS_A_TURN = 46


class FixedWindow(CongestionController):
    """As much as one GSO batch a turn, always."""

    name = "fixed"
    state = "fixed"
    pacing_rate = 1e12
    cwnd_bytes = 4 * 65_536
    send_quantum_bytes = 65_536

    def __init__(self, config: ControllerConfig) -> None:
        super().__init__(config)
        self.cwnd_bytes = PACKETS_A_TURN * config.mtu_bytes * 2

    def on_sent(self, now: float, size_bytes: int, inflight_bytes: int) -> None: ...

    def on_ack(self, sample: AckSample) -> None: ...

    def on_rto(self, now: float) -> None: ...

    def set_mtu(self, mtu_bytes: int) -> None:
        self.cwnd_bytes = PACKETS_A_TURN * mtu_bytes * 2


@dataclass(frozen=True)
class Case:
    name: str
    message_bytes: int = 65_536
    zero_checksum: bool = True
    loss: float = 0.0
    ordered: bool = True
    max_retransmits: int | None = None


CASES = (
    Case("64 KiB, ordered, zero checksum"),
    Case("64 KiB, ordered, CRC32c", zero_checksum=False),
    Case("256 KiB, unordered, unreliable", message_bytes=262_144, ordered=False, max_retransmits=0),
    Case("64 KiB, ordered, 1 % loss", loss=0.01),
    Case("7,000 B, unordered, unreliable, 1 % loss", 7_000, loss=0.01, ordered=False, max_retransmits=0),
    Case("one packet each, unordered", 1_404, ordered=False, max_retransmits=0),
)


def measure(case: Case, packets: int, congestion: str) -> tuple[float, float]:
    """Microseconds a packet: sending end, receiving end."""
    rng = random.Random(7)
    left_config, right_config = make_configs(
        rng,
        congestion=congestion,
        base_packet_bytes=1432,
        max_packet_bytes=1432,
        send_zero_checksum=case.zero_checksum,
        accept_zero_checksum=case.zero_checksum,
    )
    left, right = Association(left_config), Association(right_config)
    message = rng.randbytes(case.message_bytes)
    now, sent, received = 0.0, 0, 0
    send_s = receive_s = 0.0
    clock = time.perf_counter
    while sent < packets:
        now += 0.0005
        while left.total_buffered_bytes < 262_144:
            left.send_message(1, 53, message, ordered=case.ordered, max_retransmits=case.max_retransmits)
        started = clock()
        left.handle_timeout(now)
        batches = left.packets(now)
        left.next_timeout()
        send_s += clock() - started
        arriving = [p for batch in batches for p in batch]
        sent += len(arriving)
        if case.loss:
            arriving = [packet for packet in arriving if rng.random() >= case.loss]
        started = clock()
        right.receive_packets(now, arriving)
        events = right.events()
        sacks = [p for batch in right.packets(now + 0.0021) for p in batch]
        receive_s += clock() - started
        received += sum(len(event.data) for event in events if isinstance(event, MessageReceived))
        started = clock()
        left.receive_packets(now + 0.0022, sacks)
        left.events()
        send_s += clock() - started
        now += 0.0022
    assert received > 0.2 * packets * 1_404, (received, left.stats)
    return send_s / sent * 1e6, receive_s / sent * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packets", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--congestion", default="fixed")
    options = parser.parse_args()
    register_controller("fixed", FixedWindow)
    print(f"{'microseconds a packet of 1,404 B':44} {'send':>6} {'receive':>8}")
    for case in CASES:
        runs = [measure(case, options.packets, options.congestion) for _ in range(options.repeat)]
        print(f"{case.name:44} {min(r[0] for r in runs):6.2f} {min(r[1] for r in runs):8.2f}", flush=True)


if __name__ == "__main__":
    main()
