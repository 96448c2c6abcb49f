"""One SCTP association's data transfer (RFC 9260 section 6, RFC 3758, RFC 8985), sans-IO.

The shell (net/turbo_sctp.py) keeps the association's life: INIT, COOKIE, HEARTBEAT requests, RE-CONFIG, SHUTDOWN,
ABORT. This class owns DATA, SACK, FORWARD-TSN, the path MTU probes and every timer about them.

Driver contract
    Make one `Association` once the peer's INIT or INIT ACK is known (its tag, initial TSN and a_rwnd). All calls
    come from one thread; `now` is seconds of one monotonic clock and never runs backwards. Feed one input, drain
    all outputs, then wait for the next input or the deadline:

    inputs   `receive_packets(now, packets)`   everything one wake-up of the socket gave, decrypted, in order, as
                                               `bytes`; returns the chunks that are the shell's to answer
             `send_message(...)`               queues; never sends by itself
             `handle_timeout(now)`             when `next_timeout()` has come (early or late calls are harmless)
    outputs  `poll_transmit(now)`              batches to seal and send, each one send call: packets of equal size,
                                               only the last may be shorter. Call it until it returns [] or stop
                                               early and call again later; what it returned counts as sent. Not
                                               before the association is ESTABLISHED
             `events()`                        what to tell the application, in order; drains
             `next_timeout()`                  the next `now` at which to call `handle_timeout` and `poll_transmit`
                                               (pacing, delayed SACK, loss timers), or None

    So a shell's whole turn is: input; `events()`; while batches := `poll_transmit(now)`: send them; arm one timer
    for `next_timeout()`. `events()` held back counts against the receive window, so drain it every turn.

    Packets are built for `remote_tag` and `remote_port`; received packets with another tag are dropped, except
    INIT (tag 0), which is handed to the shell. Nothing the peer sends makes any method raise: what is malformed
    is dropped and counted in `stats.dropped_packets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tallow_cli.dataplane.congestion import DEFAULT_CONTROLLER

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
    `ack_every_packets`: SACK after so many packets, or after 2 ms. Between Tallow peers 16; towards stock stacks,
    whose window grows by the number of SACKs, 2.
    `max_message_bytes`: the largest message reassembled, as announced to the peer.
    `uniform`: numbers in [0, 1) for the congestion controller; `entropy`: for the nonces of path probes.
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
    ack_every_packets: int = 16
    max_message_bytes: int = 64 * MIB
    congestion: str = DEFAULT_CONTROLLER
    initial_rtt_s: float | None = None
    uniform: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class ControlChunk:
    """A chunk that is the shell's business, in the order received: type, flags and value (header cut off)."""

    type: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole message from the peer. `data` is the user message, unpadded."""

    stream_id: int
    ppid: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BytesDrained:
    """`size_bytes` of the stream's messages left the queue: given to the network for the first time, or dropped
    because the message expired. Exactly what `buffered_bytes` fell by since the last such event of the stream."""

    stream_id: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MessageAbandoned:
    """A partially reliable message was given up (RFC 3758)."""

    stream_id: int
    size_bytes: int


Event = MessageReceived | BytesDrained | MessageAbandoned


class Association:
    """See the module's driver contract."""

    def __init__(self, config: AssociationConfig) -> None: ...

    # inputs

    def send_message(
        self,
        stream_id: int,
        ppid: int,
        data: bytes,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        expires_at: float | None = None,
    ) -> None:
        """Queue one message. Streams take turns, message by message; one stream's messages keep their order.

        `max_retransmits`, `expires_at` (a time of `now`'s clock): when to give it up, RFC 7496. `data` must not be
        empty (RFC 8831 has its own PPIDs for empty messages, with one byte): ValueError.
        """

    def receive_packets(self, now: float, packets: Sequence[bytes]) -> list[ControlChunk]:
        """Take one wake-up's packets; return the chunks of other types than ours (INIT, HEARTBEAT, RE-CONFIG, …)."""
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        """Run whatever timers are due."""

    # outputs

    def poll_transmit(self, now: float) -> list[list[bytes]]:
        """The next few batches to send, in order, [] if nothing may leave now."""
        raise NotImplementedError

    def events(self) -> list[Event]:
        """Everything that happened since the last call."""
        raise NotImplementedError

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout` and then `poll_transmit`, if nothing else happens before."""
        raise NotImplementedError

    # state

    def buffered_bytes(self, stream_id: int) -> int:
        """Bytes queued on the stream and never yet given to the network."""
        raise NotImplementedError

    @property
    def total_buffered_bytes(self) -> int:
        raise NotImplementedError

    @property
    def unacknowledged_bytes(self) -> int:
        """Queued, in flight or lost: 0 means that the peer has, or we have given up, everything."""
        raise NotImplementedError

    # hooks for RE-CONFIG (RFC 6525) and SHUTDOWN, which the shell runs; TSNs and SSNs as on the wire

    @property
    def next_tsn(self) -> int:
        """The TSN the next new DATA chunk will carry (`Sender's Last Assigned TSN` is one less)."""
        raise NotImplementedError

    @property
    def cumulative_tsn_received(self) -> int:
        """All of the peer's DATA up to here has arrived, or was abandoned: compare with a reset's last TSN."""
        raise NotImplementedError

    @property
    def cumulative_tsn_acked(self) -> int:
        """All of our DATA up to here was acknowledged."""
        raise NotImplementedError

    def reset_outgoing_stream(self, stream_id: int) -> None:
        """The peer agreed to a reset: the next ordered message starts at SSN 0 again."""

    def reset_incoming_stream(self, stream_id: int) -> None:
        """The peer reset its stream and `cumulative_tsn_received` has reached its last TSN: expect SSN 0."""

    def drop_queued(self, stream_id: int) -> None:
        """Forget the stream's messages of which nothing was sent yet (the application closed the channel)."""
