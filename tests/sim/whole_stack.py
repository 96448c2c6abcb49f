"""The whole stack in virtual time: the transfer protocol (core) over the data plane (dataplane) over the emulator.

`SctpPair` stands where `channels.py` has its message-level wires: two associations and two links, seen from each
side as a `SctpWire`. Channel 0 is ordered and reliable, the others are as `SendOptions` say: so too, or
unordered with so many retransmissions. What it leaves out is DTLS (37 bytes a packet are counted) and the operating
system.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tallow_cli.dataplane.packets import PACKET_OVERHEAD_BYTES
from tallow_cli.netem.link import IP_UDP_OVERHEAD_BYTES, Link
from tallow_cli.netem.presets import PRESETS, PathPreset
from tallow_cli.transfer.options import SendOptions
from tallow_cli.webrtc.turbo_engine import TurboEngine
from tests.sim.associations import DTLS_BYTES, End, make_configs
from tests.sim.channels import CONTROL
from tests.sim.model_flow import ModelFlow
from tests.sim.profiles import MAX_PACKET_BYTES
from tests.sim.transfer import Scenario, Simulation

PPID_BINARY = 53


class SctpPair:
    """Two associations joined by two links; `turn` lets both live up to `now`. Nothing wakes more often than
    `wake_s`: what arrives in between is one batch. `company`: another sender through the same links."""

    def __init__(
        self,
        preset: PathPreset,
        rng: Random,
        *,
        wake_s: float,
        congestion: str,
        company: ModelFlow | None = None,
    ) -> None:
        configs = make_configs(rng, max_packet_bytes=MAX_PACKET_BYTES, congestion=congestion)
        self.ends = (End(configs[0]), End(configs[1]))
        self.links = (Link(preset.forward, rng), Link(preset.back, rng))
        self._company = company
        self._wake_s = wake_s
        self._last_turn_at = -1.0

    def turn(self, now: float) -> None:
        if now > self._last_turn_at:
            self._last_turn_at = now
            for side in (0, 1):
                end = self.ends[side]
                packets = self._without_company(now, side, self.links[1 - side].receive(now))
                if packets:
                    for chunk in end.association.receive_packets(now, packets):
                        end.for_shell.append(chunk)
                        self._put(now, side, end.answer_heartbeat(chunk))
                end.association.handle_timeout(now)
                end.take_events()
                self.flush(now, side)

    def flush(self, now: float, side: int) -> None:
        while batches := self.ends[side].association.packets(now):
            for batch in batches:
                for packet in batch:
                    self._put(now, side, packet)

    def _without_company(self, now: float, side: int, arrived: list[Any]) -> list[Any]:
        """Our packets among those that arrived; the others go to whom they belong, whose turn this is too."""
        company = self._company
        if company is None:
            return arrived
        theirs = [packet[1] for packet in arrived if isinstance(packet, tuple)]
        if side == 0:
            company.on_acks(now, theirs)
            company.send(now, self.links[0])
            company.report(now)
        else:
            for number in theirs:
                company.on_packet(now, number)
            company.acknowledge(now, self.links[1])
        return [packet for packet in arrived if not isinstance(packet, tuple)]

    def next_timeout(self) -> float | None:
        if self._company is not None:
            return max(0.0, self._last_turn_at + self._wake_s)
        times = [link.next_timeout() for link in self.links]
        times += [end.association.next_timeout() for end in self.ends]
        earliest = min((at for at in times if at is not None), default=None)
        return None if earliest is None else max(earliest, self._last_turn_at + self._wake_s)

    def _put(self, now: float, side: int, packet: bytes) -> None:
        self.links[side].send(now, packet, len(packet) + DTLS_BYTES + IP_UDP_OVERHEAD_BYTES)


class SctpWire:
    """What one side sends and the other receives: the interface of `channels.Wire`."""

    def __init__(self, pair: SctpPair, side: int, send: SendOptions) -> None:
        self._pair = pair
        self._side = side
        self._options: dict[str, Any] = (
            {} if send.reliable else {"ordered": False, "max_retransmits": send.retransmissions}
        )
        self._dead: set[int] = set()
        self.largest_queue = 0

    def send(self, now: float, channel: int, message: bytes) -> None:
        if channel in self._dead:
            return
        association = self._pair.ends[self._side].association
        if channel == CONTROL:
            association.send_message(channel, PPID_BINARY, message)
        else:
            association.send_message(channel, PPID_BINARY, message, **self._options)
        self.largest_queue = max(self.largest_queue, association.total_buffered_bytes)
        self._pair.flush(now, self._side)

    def buffered(self, channel: int) -> int:
        return self._pair.ends[self._side].association.buffered_bytes(channel)

    def next_timeout(self) -> float | None:
        return self._pair.next_timeout()

    def next_arrival(self) -> float | None:
        return self._pair.next_timeout()

    def advance(self, now: float) -> None:
        self._pair.turn(now)

    def receive(self, now: float) -> list[tuple[int, bytes]]:
        self._pair.turn(now)
        receiver = self._pair.ends[1 - self._side]
        arrived = [(event.stream_id, bytes(event.data)) for event in receiver.received]
        receiver.received = []
        return [(channel, data) for channel, data in arrived if channel not in self._dead]

    def kill(self, channel: int) -> None:
        self._dead.add(channel)
        self._pair.ends[self._side].association.drop_queued(channel)


class WholeStack(Simulation):
    """A `Simulation` whose channels are real associations over the preset path."""

    def __init__(
        self,
        preset: PathPreset,
        scenario: Scenario,
        *,
        congestion: str = "bbr",
        company: ModelFlow | None = None,
    ) -> None:
        super().__init__(scenario)
        self.pair = SctpPair(
            preset,
            Random(scenario.seed),
            wake_s=0.0002 if preset.rtt_s < 0.002 else 0.0005,
            congestion=congestion,
            company=company,
        )
        self.there = SctpWire(self.pair, 0, scenario.send)  # type: ignore[assignment]  # the same interface
        self.back = SctpWire(self.pair, 1, scenario.send)  # type: ignore[assignment]
        self._packet_bytes = 0

    def acked_at(self, until_s: float) -> int:
        """Run on until then, or to the end; returns the bytes acknowledged so far."""
        while not self._over and self.now < until_s:
            self._drain()
            if not self._over:
                self.now = max(self.now, self._next_time())
                self._feed()
        return self.sender.figures.bytes_acked

    def _feed(self) -> None:
        super()._feed()
        packet_bytes = self.pair.ends[0].association.stats.packet_bytes
        if packet_bytes != self._packet_bytes:
            self._packet_bytes = packet_bytes
            # As the session does with `link.network_packet_bytes`: whole fragments, on a 4-byte boundary.
            self.sender.network_packet((packet_bytes & ~3) - PACKET_OVERHEAD_BYTES)


@dataclass(frozen=True, slots=True)
class TransferMeasurement:
    """One file through the whole stack: payload rate from the first data to the verified end.

    `sent_share`: bytes on the wire for each byte of the file: headers of all layers and what was sent again.
    """

    name: str
    size_bytes: int
    goodput_mbps: float
    seconds: float
    sent_share: float
    mean_queue_ms: float
    most_retained_bytes: int


def measure_transfer(
    name: str,
    size_bytes: int,
    *,
    seed: int = 1,
    chunk_bytes: int = 131_072,
    congestion: str = "bbr",
    retransmissions: int = TurboEngine.retransmissions,
) -> TransferMeasurement:
    """Send `size_bytes` over the preset; raises AssertionError unless every byte arrives where it belongs."""
    scenario = Scenario(
        files=(size_bytes,),
        seed=seed,
        chunk_bytes=chunk_bytes,
        send=SendOptions(retransmissions=retransmissions),
    )
    stack = WholeStack(PRESETS[name], scenario, congestion=congestion)
    outcome = stack.run()
    assert outcome.sender_error is None, outcome.sender_error
    assert outcome.receiver_error is None, outcome.receiver_error
    assert outcome.data == stack.content
    link = stack.pair.links[0].stats
    return TransferMeasurement(
        name,
        size_bytes,
        size_bytes * 8 / outcome.seconds / 1e6,
        outcome.seconds,
        link.sent_bytes / size_bytes,
        link.mean_queue_delay_s * 1e3,
        outcome.most_retained,
    )
