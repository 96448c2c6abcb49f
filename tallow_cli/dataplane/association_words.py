"""The words in which a shell and an `Association` talk: what it is made with, what it tells, what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from tallow_cli.dataplane.congestion.pacing import MAX_SAVED_BYTES
from tallow_cli.dataplane.congestion.registry import DEFAULT_CONTROLLER
from tallow_cli.dataplane.reassembly import MessageReceived
from tallow_cli.dataplane.sender import MAX_RETAINED_BYTES
from tallow_cli.tracing import Trace

MIB: Final = 1024 * 1024
# A window caps the rate at window / RTT: 16 MiB at 50 ms is 2.7 Gbit/s, 1 MiB only 168 Mbit/s.
DEFAULT_LOCAL_RWND: Final = 16 * MIB
# 1280 (least IPv6 MTU) - 40 (IPv6) - 8 (UDP) - 4 (TURN channel) - 37 (DTLS 1.2 GCM record): never probed, always works.
BASE_PACKET_BYTES: Final = 1191


@dataclass(frozen=True, slots=True)
class AssociationConfig:
    """What the handshake agreed on, and local policy.

    `local_tag`: the Verification Tag we gave the peer, which its packets must carry. `remote_tag`: the one it gave us.
    `remote_rwnd_bytes`: a_rwnd of its INIT or INIT ACK. `local_rwnd_bytes`: what our own INIT announced.
    `send_zero_checksum`: the peer announced RFC 9653 (EDMID 1). `accept_zero_checksum`: we did.
    `partial_reliability`: the peer supports FORWARD-TSN; without it every message is reliable.
    `max_packet_bytes`: the largest SCTP packet ever to send; above `base_packet_bytes` only what path MTU probes
    confirmed. Leave it at the base unless the socket sets the don't-fragment bit. Peers that are not Tallow: 1415
    (IPv6) or 1435 (IPv4) at most.
    `max_batch_bytes`, `max_batch_packets`: of one send call, seal overhead (`record_overhead_bytes` a packet) included.
    `max_saved_bytes`: what may leave in one go to make up for a timer that fired late (see `pacing`).
    `ack_every_packets`: SACK after so many packets, or after 2 ms. Between Tallow peers 16; towards stock stacks,
    whose window grows by the number of SACKs, 2.
    `max_message_bytes`: the largest message reassembled, as announced to the peer.
    `peer_joins_parts`: the peer puts packets in parts together again (packet_parts.py), so what was sent too large for
    a path that shrank needs no fragments of IP.
    `max_retained_bytes`: what the peer may leave us to keep (see `sender`).
    `uniform`: numbers in [0, 1) for the congestion controller; `entropy`: for the nonces of path probes.
    `trace`: told of losses, timers and measurements, once per wake-up.
    """

    local_port: int
    remote_port: int
    local_tag: int
    remote_tag: int
    local_initial_tsn: int
    remote_initial_tsn: int
    remote_rwnd_bytes: int
    entropy: Callable[[int], bytes]
    local_rwnd_bytes: int = DEFAULT_LOCAL_RWND
    send_zero_checksum: bool = False
    accept_zero_checksum: bool = False
    partial_reliability: bool = True
    base_packet_bytes: int = BASE_PACKET_BYTES
    max_packet_bytes: int = BASE_PACKET_BYTES
    record_overhead_bytes: int = 37
    max_batch_bytes: int = 65_000
    max_batch_packets: int = 64
    max_saved_bytes: int = MAX_SAVED_BYTES
    ack_every_packets: int = 16
    max_message_bytes: int = 64 * MIB
    peer_joins_parts: bool = False
    congestion: str = DEFAULT_CONTROLLER
    initial_rtt_s: float | None = None
    uniform: Callable[[], float] | None = None
    max_retained_bytes: int = MAX_RETAINED_BYTES
    trace: Trace | None = None


class BytesDrained(NamedTuple):
    """`size_bytes` of the stream's messages left the queue: given to the network for the first time, or dropped
    because the message expired. Exactly what `buffered_bytes` fell by since the last such event of the stream."""

    stream_id: int
    size_bytes: int


class MessageAbandoned(NamedTuple):
    """A partially reliable message was given up (RFC 3758)."""

    stream_id: int
    size_bytes: int


class PathMtuChanged(NamedTuple):
    """Packets are now at most so large. `needs_fragments`: clear the don't-fragment bit until told otherwise, because
    larger packets that the path has stopped carrying must be sent again as they are."""

    packet_bytes: int
    needs_fragments: bool


Event = MessageReceived | BytesDrained | MessageAbandoned | PathMtuChanged


class AssociationStats(NamedTuple):
    """A snapshot for `--verbose`, benchmarks and tests."""

    sent_packets: int
    resent_packets: int
    lost_packets: int
    received_packets: int
    dropped_packets: int
    timeouts: int
    srtt_s: float
    min_rtt_s: float
    jitter_s: float
    cwnd_bytes: int
    inflight_bytes: int
    pacing_rate: float
    packet_bytes: int
    controller_state: str
    path_loss: float | None  # what the path loses however little is sent, as far as the controller knows
    is_growing: bool  # the controller is still finding out how much the path carries
