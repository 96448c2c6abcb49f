"""One SCTP association's data transfer (RFC 9260 section 6, RFC 3758, RFC 8985), sans-IO.

The shell (webrtc/turbo_sctp.py) keeps the association's life: INIT, COOKIE, HEARTBEAT requests, RE-CONFIG, SHUTDOWN,
ABORT. This class owns DATA, SACK, FORWARD-TSN, the path MTU probes and every timer about them.

Driver contract
    Make one `Association` once the peer's INIT or INIT ACK is known (its tag, initial TSN and a_rwnd). All calls
    come from one thread; `now` is seconds of one monotonic clock and never runs backwards. Feed one input, drain
    all outputs, then wait for the next input or the deadline:

    inputs   `receive_packets(now, packets)`   everything one wake-up of the socket gave, decrypted, in order, as
                                               `bytes`; returns the chunks that are the shell's to answer
             `send_message(...)`               queues; never sends by itself
             `handle_timeout(now)`             when `next_timeout()` has come (early or late calls are harmless)
    outputs  `packets(now)`                    batches to seal and send, each one send call: packets of equal size,
                                               only the last may be shorter. Call it until it returns [] or stop
                                               early and call again later; what it returned counts as sent. Not
                                               before the association is ESTABLISHED
             `events()`                        what to tell the application, in order; drains
             `next_timeout()`                  the next `now` at which to call `handle_timeout` and `packets` (pacing,
                                               delayed SACK, loss timers), or None; what has passed is due at once

    So a shell's whole turn is: input; `events()`; while batches := `packets(now)`: send them; arm one timer
    for `next_timeout()`. `events()` held back counts against the receive window, so drain it every turn.

    Packets are built for `remote_tag` and `remote_port`; received packets with another tag are dropped, except
    INIT (tag 0), which is handed to the shell. Nothing the peer sends makes any method raise: what is malformed
    is dropped and counted in `stats.dropped_packets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallow_cli.dataplane.association_words import (
    AssociationConfig,
    AssociationStats,
    BytesDrained,
    Event,
    MessageAbandoned,
    PathMtuChanged,
)
from tallow_cli.dataplane.batches import BatchBuilder
from tallow_cli.dataplane.outbound import OutboundMessage
from tallow_cli.dataplane.packets import (
    COMMON_HEADER_BYTES,
    HEARTBEAT_ACK,
    SACK,
    PacketWriter,
    Sack,
    encode_path_probe,
    parse_path_probe_ack,
    parse_sack_untrusted,
)
from tallow_cli.dataplane.pathmtu import PathMtu
from tallow_cli.dataplane.receiver import ControlChunk, Receiver
from tallow_cli.dataplane.recovery_trace import RecoveryTrace
from tallow_cli.dataplane.sender import BATCH_ACK_DELAY_S, Sender
from tallow_cli.dataplane.serial import TSN_MASK
from tallow_cli.errors import PeerProtocolError

# RFC 9260 section 6.2: a stock peer acknowledges every second packet, and may hold a SACK back for 200 ms.
STOCK_ACK_EVERY: Final = 2
STOCK_ACK_DELAY_S: Final = 0.2


class Association:
    """See the module's driver contract."""

    def __init__(self, config: AssociationConfig) -> None:
        self._config = config
        self._writer = PacketWriter(
            config.local_port, config.remote_port, config.remote_tag, zero_checksum=config.send_zero_checksum
        )
        self._path_mtu = PathMtu(config.base_packet_bytes, config.max_packet_bytes)
        self._sender = Sender(
            writer=self._writer,
            initial_tsn=config.local_initial_tsn,
            peer_rwnd_bytes=config.remote_rwnd_bytes,
            packet_bytes=self._path_mtu.current_bytes,
            congestion=config.congestion,
            initial_rtt_s=config.initial_rtt_s,
            max_quantum_bytes=config.max_batch_bytes,
            max_saved_bytes=config.max_saved_bytes,
            peer_ack_delay_s=BATCH_ACK_DELAY_S
            if config.ack_every_packets > STOCK_ACK_EVERY
            else STOCK_ACK_DELAY_S,
            peer_joins_parts=config.peer_joins_parts,
            uniform=config.uniform,
            max_retained_bytes=config.max_retained_bytes,
        )
        self._receiver = Receiver(
            local_tag=config.local_tag,
            remote_tag=config.remote_tag,
            initial_tsn=config.remote_initial_tsn,
            local_rwnd_bytes=config.local_rwnd_bytes,
            accept_zero_checksum=config.accept_zero_checksum,
            ack_every_packets=config.ack_every_packets,
            max_message_bytes=config.max_message_bytes,
        )
        self._probe_nonce = config.entropy(8)
        self._announced_rwnd_bytes = config.local_rwnd_bytes
        self._needs_fragments_until: int | None = None
        self._path_events: list[PathMtuChanged] = []
        self._trace = (
            None if config.trace is None else RecoveryTrace(config.trace, self._sender, self._path_mtu)
        )
        self._now = 0.0  # of the last input or turn: what the pacer owes is counted from there

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
        if not data:
            raise ValueError("SCTP has no empty messages")
        if not self._config.partial_reliability:
            max_retransmits = expires_at = None
        self._sender.queue.push(
            OutboundMessage(
                stream_id,
                ppid,
                data,
                ordered=ordered,
                max_retransmits=max_retransmits,
                expires_at=expires_at,
            )
        )

    def receive_packets(self, now: float, packets: Sequence[bytes]) -> list[ControlChunk]:
        """Take one wake-up's packets; return the chunks that are not ours (INIT, HEARTBEAT, RE-CONFIG, …)."""
        self._now = now
        sacks: list[Sack] = []
        for_shell: list[ControlChunk] = []
        for chunk in self._receiver.receive(now, packets):
            if chunk.type == SACK:
                try:
                    sacks.append(parse_sack_untrusted(chunk.body))
                except PeerProtocolError:
                    self._receiver.dropped_packets += 1
            elif chunk.type != HEARTBEAT_ACK or not self._on_heartbeat_ack(now, chunk.body):
                for_shell.append(chunk)
        if sacks:
            self._sender.on_sacks(now, sacks)
            self._check_fragments()
            if self._trace is not None:
                self._trace.look(now)
        return for_shell

    def handle_timeout(self, now: float) -> None:
        """Run whatever timers are due."""
        self._now = now
        self._sender.handle_timeout(now)
        if self._sender.is_black_holed and self._path_mtu.on_black_hole(now):
            # What was sent at the larger size has TSNs and cannot be cut smaller.
            if not self._config.peer_joins_parts:
                self._needs_fragments_until = self._sender.window.next_tsn
            self._set_packet_bytes()
        if self._trace is not None:
            self._trace.look(now)

    # outputs

    def packets(self, now: float) -> list[list[bytes]]:
        """The next few batches to send, in order, [] if nothing may leave now."""
        self._now = now
        config = self._config
        batches = BatchBuilder(config.max_batch_packets, config.max_batch_bytes, config.record_overhead_bytes)
        sack_at = self._receiver.tsns.sack_at
        if (sack_at is not None and sack_at <= now) or self._must_announce_window():
            batches.add_alone(self._sack())
        forward_tsn = self._sender.poll_forward_tsn(now)
        if forward_tsn is not None:
            batches.add_alone(forward_tsn)
        self._sender.poll_data(now, batches)
        size_bytes = self._next_probe(now)
        if size_bytes is not None:
            batches.add_alone(self._writer.control(encode_path_probe(self._probe_nonce, size_bytes)))
        return batches.batches

    def events(self) -> list[Event]:
        """Everything that happened since the last call."""
        receiver, sender = self._receiver, self._sender
        events: list[Event] = list(receiver.reassembly.take_delivered())
        drained = sender.queue.take_drained()
        if drained:
            events += [BytesDrained(stream_id, size) for stream_id, size in drained.items()]
        if sender.given_up:
            events += [MessageAbandoned(message.stream_id, message.size) for message in sender.given_up]
            sender.given_up = []
        if self._path_events:
            events += self._path_events
            self._path_events = []
        return events

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout` and then `packets`, if nothing else happens before."""
        times = [at for at in self._sender.timers(self._now) if at is not None]
        # Where IP may cut packets, a probe's answer says nothing of the path.
        probe_at = self._path_mtu.next_timeout() if self._needs_fragments_until is None else None
        for at in (self._receiver.tsns.sack_at, probe_at):
            if at is not None:
                times.append(at)
        return min(times) if times else None

    # state

    def buffered_bytes(self, stream_id: int) -> int:
        """Bytes queued on the stream and never yet given to the network."""
        return self._sender.queue.buffered_bytes(stream_id)

    @property
    def total_buffered_bytes(self) -> int:
        return self._sender.queue.total_bytes

    @property
    def fragment_bytes(self) -> int:
        """How much of a message one packet carries now; rises and falls with the path MTU (`PathMtuChanged`).

        A message of a multiple of it leaves no packet half empty.
        """
        return self._sender.fragment_bytes

    @property
    def is_flushed(self) -> bool:
        """The peer has, or we have given up, everything ever queued."""
        return not self._sender.queue and self._sender.window.is_settled

    @property
    def stats(self) -> AssociationStats:
        sender, receiver = self._sender, self._receiver
        return AssociationStats(
            sender.sent_packets,
            sender.resent_packets,
            sender.window.lost_packets,
            receiver.received_packets,
            receiver.dropped_packets,
            sender.timeouts,
            sender.rtt.srtt_s,
            sender.rtt.min_rtt_s,
            sender.rtt.jitter.value_s,
            sender.controller.cwnd_bytes,
            sender.window.inflight_bytes,
            sender.controller.pacing_rate,
            self._path_mtu.current_bytes,
            sender.controller.state,
            sender.controller.path_loss,
            sender.controller.is_growing,
        )

    @property
    def held_bytes(self) -> int:
        """Weight of what the receiving side keeps: unfinished, blocked or undelivered messages."""
        return self._receiver.reassembly.held_bytes

    # hooks for RE-CONFIG (RFC 6525) and SHUTDOWN, which the shell runs; TSNs as on the wire

    @property
    def next_tsn(self) -> int:
        """The TSN the next new DATA chunk will carry (`Sender's Last Assigned TSN` is one less)."""
        return self._sender.window.next_tsn & TSN_MASK

    @property
    def cumulative_tsn_received(self) -> int:
        """All of the peer's DATA up to here has arrived, or was abandoned: compare with a reset's last TSN."""
        return (self._receiver.tsns.cumulative_end - 1) & TSN_MASK

    @property
    def cumulative_tsn_acked(self) -> int:
        """All of our DATA up to here was acknowledged."""
        return (self._sender.window.cumulative_end - 1) & TSN_MASK

    def reset_outgoing_stream(self, stream_id: int) -> None:
        """The peer agreed to a reset: the next ordered message starts at SSN 0 again."""
        self._sender.reset_stream(stream_id)

    def reset_incoming_stream(self, stream_id: int) -> None:
        """The peer reset its stream and `cumulative_tsn_received` has reached its last TSN: expect SSN 0."""
        self._receiver.reassembly.reset_stream(stream_id)

    def drop_queued(self, stream_id: int) -> None:
        """Forget the stream's messages of which nothing was sent yet (the application closed the channel)."""
        self._sender.queue.drop_stream(stream_id)

    def hasten_sack(self, now: float) -> None:
        """Before an ABORT: what has arrived is acknowledged by the next `packets`, and not after a delay."""
        if self._receiver.tsns.sack_at is not None:
            self._receiver.tsns.sack_at = now

    def keep_only_stream(self, stream_id: int) -> None:
        """Before an ABORT: what is queued on this stream leaves now; all else, reliable or not, is given up."""
        self._sender.keep_only(stream_id)

    def _sack(self) -> bytes:
        self._announced_rwnd_bytes = self._receiver.rwnd_bytes
        room = self._path_mtu.base_bytes - COMMON_HEADER_BYTES
        return self._writer.control(self._receiver.tsns.take_sack(self._announced_rwnd_bytes, room))

    def _must_announce_window(self) -> bool:
        """The window we last announced was small, and has opened since: the peer may be waiting for it."""
        whole = self._config.local_rwnd_bytes
        return self._announced_rwnd_bytes < whole // 4 and self._receiver.rwnd_bytes > whole // 2

    def _on_heartbeat_ack(self, now: float, body: bytes) -> bool:
        """Whether it answers one of our path MTU probes."""
        probe = parse_path_probe_ack(body)
        if probe is None or probe[0] != self._probe_nonce:
            return False
        if self._path_mtu.on_probe_ack(now, probe[1]):
            self._set_packet_bytes()
        return True

    def _next_probe(self, now: float) -> int | None:
        if self._needs_fragments_until is not None:
            return None
        return self._path_mtu.next_probe(now, self._sender.rtt.srtt_s)

    def _set_packet_bytes(self) -> None:
        packet_bytes = self._path_mtu.current_bytes
        self._sender.set_packet_bytes(packet_bytes)
        self._path_events.append(PathMtuChanged(packet_bytes, self._needs_fragments_until is not None))

    def _check_fragments(self) -> None:
        until = self._needs_fragments_until
        if until is not None and self._sender.window.cumulative_end >= until:
            self._needs_fragments_until = None
            self._path_events.append(PathMtuChanged(self._path_mtu.current_bytes, False))
