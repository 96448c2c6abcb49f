"""Two associations over an emulated path, in virtual time: the loop a real shell runs, without sockets or DTLS.

Everything random comes from one seed, so a run repeats exactly. `wake_s` is how coarse the shells' wake-ups are: all
that arrives within one is one batch, as with a socket drained in a loop.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tallow_cli.dataplane.association import Association
from tallow_cli.dataplane.association_words import (
    AssociationConfig,
    BytesDrained,
    MessageAbandoned,
    PathMtuChanged,
)
from tallow_cli.dataplane.packets import HEARTBEAT, HEARTBEAT_ACK, PacketWriter
from tallow_cli.dataplane.reassembly import MessageReceived
from tallow_cli.dataplane.receiver import ControlChunk
from tallow_cli.netem.link import IP_UDP_OVERHEAD_BYTES, Link
from tallow_cli.netem.presets import PathPreset

DTLS_BYTES = 37
MIB = 1024 * 1024


def make_configs(
    rng: random.Random, *, first_tsns: tuple[int, int] | None = None, **options: Any
) -> tuple[AssociationConfig, AssociationConfig]:
    """What a handshake between two Tallow peers would agree on; `options` apply to both ends."""
    tsns = first_tsns or (rng.getrandbits(32), rng.getrandbits(32))
    tags = (rng.getrandbits(32) or 1, rng.getrandbits(32) or 1)
    common: dict[str, Any] = {
        "remote_rwnd_bytes": options.get("local_rwnd_bytes", 16 * MIB),
        "entropy": rng.randbytes,
        "send_zero_checksum": True,
        "accept_zero_checksum": True,
        "uniform": rng.random,
    }
    common.update(options)
    left = AssociationConfig(5000, 5001, tags[0], tags[1], tsns[0], tsns[1], **common)
    right = AssociationConfig(5001, 5000, tags[1], tags[0], tsns[1], tsns[0], **common)
    return left, right


class End:
    """One association and what its application saw."""

    def __init__(self, config: AssociationConfig) -> None:
        self.association = Association(config)
        self._writer = PacketWriter(
            config.local_port, config.remote_port, config.remote_tag, zero_checksum=False
        )
        self.received: list[MessageReceived] = []
        self.abandoned: list[MessageAbandoned] = []
        self.mtu_changes: list[PathMtuChanged] = []
        self.for_shell: list[ControlChunk] = []
        self.drained_bytes: dict[int, int] = {}
        self.received_bytes = 0
        self.keep_messages = True
        self.max_packet_bytes_on_path: int | None = None
        self.on_turn: Callable[[float], None] | None = None

    def answer_heartbeat(self, chunk: ControlChunk) -> bytes:
        """What the shell does: RFC 9260 section 8.3."""
        return self._writer.control(struct.pack("!BBH", HEARTBEAT_ACK, 0, 4 + len(chunk.body)) + chunk.body)

    def take_events(self) -> None:
        for event in self.association.events():
            if isinstance(event, MessageReceived):
                self.received_bytes += len(event.data)
                if self.keep_messages:
                    self.received.append(event)
            elif isinstance(event, BytesDrained):
                so_far = self.drained_bytes.get(event.stream_id, 0)
                self.drained_bytes[event.stream_id] = so_far + event.size_bytes
            elif isinstance(event, MessageAbandoned):
                self.abandoned.append(event)
            else:
                self.mtu_changes.append(event)


class SimulatedPath:
    """`left` talks over `forward`, `right` over `back`. `run` until a condition holds or time is up."""

    def __init__(
        self,
        preset: PathPreset,
        seed: int,
        *,
        left: dict[str, Any] | None = None,
        right: dict[str, Any] | None = None,
        wake_s: float = 0.0002,
        **options: Any,
    ) -> None:
        self.rng = random.Random(seed)
        left_config, right_config = make_configs(self.rng, **options)
        self.left = End(replace(left_config, **(left or {})))
        self.right = End(replace(right_config, **(right or {})))
        self.forward = Link(preset.forward, self.rng)
        self.back = Link(preset.back, self.rng)
        self.now = 0.0
        self.wake_s = wake_s
        self.turns = 0

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Advance until the condition holds; False if `limit_s` of virtual time passes first."""
        ends_at = self.now + limit_s
        while True:
            self._turn(self.left, self.back, self.forward)
            self._turn(self.right, self.forward, self.back)
            if until():
                return True
            wake_at = self._next_wake()
            if wake_at is None or wake_at > ends_at:
                self.now = ends_at
                return until()
            self.now = max(wake_at, self.now + self.wake_s)

    def _next_wake(self) -> float | None:
        times = [self.forward.next_timeout(), self.back.next_timeout()]
        times += [end.association.next_timeout() for end in (self.left, self.right)]
        return min((at for at in times if at is not None), default=None)

    def _turn(self, end: End, incoming: Link, outgoing: Link) -> None:
        self.turns += 1
        association, now = end.association, self.now
        packets = incoming.receive(now)
        if packets:
            for chunk in association.receive_packets(now, packets):
                end.for_shell.append(chunk)
                if chunk.type == HEARTBEAT:
                    self._put(now, end, outgoing, end.answer_heartbeat(chunk))
        end.take_events()
        association.handle_timeout(now)
        if end.on_turn is not None:
            end.on_turn(now)
        while batches := association.packets(now):
            for batch in batches:
                sizes = [len(packet) for packet in batch]
                assert len(set(sizes[:-1])) <= 1, sizes
                assert sizes[-1] <= sizes[0], sizes
                for packet in batch:
                    self._put(now, end, outgoing, packet)
        end.take_events()

    @staticmethod
    def _put(now: float, end: End, link: Link, packet: bytes) -> None:
        too_large = end.max_packet_bytes_on_path
        if too_large is None or len(packet) <= too_large:
            link.send(now, packet, len(packet) + DTLS_BYTES + IP_UDP_OVERHEAD_BYTES)


def keep_queue_full(end: End, message: bytes, target_bytes: int, **options: Any) -> None:
    """An application that always has `target_bytes` waiting, over four streams."""
    sent = [0]

    def refill(_now: float) -> None:
        while end.association.total_buffered_bytes < target_bytes:
            end.association.send_message(1 + sent[0] % 4, 53, message, **options)
            sent[0] += 1

    end.on_turn = refill


def goodput_mbps(
    preset: PathPreset, seed: int, seconds: float, *, message_bytes: int = 65_536, **options: Any
) -> Any:
    """Bulk transfer over a path; returns (Mbit/s received, the path)."""
    send_options = {name: options.pop(name) for name in ("ordered", "max_retransmits") if name in options}
    path = SimulatedPath(preset, seed, **options)
    path.right.keep_messages = False
    keep_queue_full(path.left, path.rng.randbytes(message_bytes), 4 * MIB, **send_options)
    path.run(lambda: False, seconds)
    return path.right.received_bytes * 8 / seconds / 1e6, path
