"""The receiving half of an association: DATA and FORWARD-TSN in, messages and SACKs out.

Every packet of a wake-up goes through one loop. A packet with one DATA chunk that carries the next TSN, which is
nearly every packet, costs one `unpack`, a few comparisons and one slice; everything else (gaps, duplicates, several
chunks, other chunk types) takes the plain road packet by packet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from tallow_cli.dataplane.packet_parts import PacketJoiner
from tallow_cli.dataplane.packets import (
    COMMON_HEADER_BYTES,
    DATA,
    DATA_CHUNK,
    DATA_HEADER_BYTES,
    DATA_PACKET,
    FLAG_BEGIN,
    FLAG_END,
    FLAG_IMMEDIATE,
    FLAG_UNORDERED,
    FORWARD_TSN,
    INIT,
    PACKET_OVERHEAD_BYTES,
    PAD,
    PART,
    checksum_is_valid,
    chunks_untrusted,
    parse_forward_tsn_untrusted,
    verification_tag_untrusted,
)
from tallow_cli.dataplane.reassembly import FRAGMENT_WEIGHT, Piece, Reassembly
from tallow_cli.dataplane.received_tsns import MAX_SPAN, ReceivedTsns
from tallow_cli.dataplane.serial import TSN_MASK, unwrap_tsn
from tallow_cli.errors import PeerProtocolError

ABORT: Final = 6
SHUTDOWN_COMPLETE: Final = 14
# RFC 9260 section 8.5.1: the sender had no association any more and reflects our own tag.
FLAG_TAG_REFLECTED: Final = 0x01


class ControlChunk(NamedTuple):
    """A chunk that is the shell's business, in the order received: type, flags and value (header cut off)."""

    type: int
    flags: int
    body: bytes


class Receiver:
    """`held_bytes` never passes twice `local_rwnd_bytes`, whatever the peer sends."""

    def __init__(
        self,
        *,
        local_tag: int,
        remote_tag: int,
        initial_tsn: int,
        local_rwnd_bytes: int,
        accept_zero_checksum: bool,
        ack_every_packets: int,
        max_message_bytes: int,
    ) -> None:
        self.tsns = ReceivedTsns(initial_tsn, ack_every_packets)
        self.reassembly = Reassembly(max_message_bytes)
        self.received_packets = 0
        self.dropped_packets = 0
        self._local_tag = local_tag
        self._remote_tag = remote_tag
        self._accept_zero = accept_zero_checksum
        self._joiner = PacketJoiner()
        self._rwnd_bytes = local_rwnd_bytes
        # The weight of objects counts here and not in the peer's books, so a peer that fills our window to the last
        # byte may pass it a little. Fillers of gaps get more room still: refusing them could never end.
        self._top_limit = local_rwnd_bytes * 5 // 4
        self._gap_limit = local_rwnd_bytes * 2

    @property
    def rwnd_bytes(self) -> int:
        """What to announce."""
        return max(0, self._rwnd_bytes - self.reassembly.held_bytes)

    def receive(self, now: float, packets: Sequence[bytes]) -> list[ControlChunk]:
        """Take a wake-up's packets, give back the chunks that are neither DATA nor FORWARD-TSN."""
        others: list[ControlChunk] = []
        self.received_packets += len(packets)
        tsns = self.tsns
        weight = sum(map(len, packets)) + FRAGMENT_WEIGHT * len(packets)
        if (
            self.reassembly.held_bytes + weight > self._top_limit
            or tsns.highest_end + len(packets) > tsns.cumulative_end + MAX_SPAN
        ):
            for packet in packets:
                self._receive_one(now, packet, others)
        else:
            self._receive_batch(now, packets, others)
        return others

    def _receive_batch(self, now: float, packets: Sequence[bytes], others: list[ControlChunk]) -> None:
        # The hot loop: 1 us a packet with all state in locals, 3 us as methods on small objects. Its plain version is
        # `_receive_one`, which the tests hold it against.
        unpack, tag, check_zero = DATA_PACKET.unpack_from, self._local_tag, not self._accept_zero
        begin = end = self.tsns.highest_end
        expected = end & TSN_MASK
        pieces: list[Piece] = []
        parts: list[bytes] = []
        first = size = seen = kept_flags = kept_stream = kept_ssn = kept_ppid = 0
        for packet in packets:
            try:
                _, _, vtag, crc, kind, flags, length, tsn, stream_id, ssn, ppid = unpack(packet)
            except struct.error:
                kind = -1
            if (
                kind
                or tsn != expected
                or vtag != tag
                or (length + 15) & -4 != len(packet)
                or length <= DATA_HEADER_BYTES
                or ((crc or check_zero) and not checksum_is_valid(packet, accept_zero=not check_zero))
            ):
                if parts:
                    pieces.append(
                        Piece(first, end, kept_flags, kept_stream, kept_ssn, kept_ppid, parts, size)
                    )
                    parts = []
                self._flush(now, begin, end, pieces)
                self._receive_one(now, packet, others)
                begin = end = self.tsns.highest_end
                expected = end & TSN_MASK
                continue
            if (
                flags & FLAG_BEGIN
                or not parts
                or stream_id != kept_stream
                or ssn != kept_ssn
                or (flags ^ kept_flags) & FLAG_UNORDERED
            ):
                if parts:
                    pieces.append(
                        Piece(first, end, kept_flags, kept_stream, kept_ssn, kept_ppid, parts, size)
                    )
                    parts = []
                first, size = end, 0
                kept_flags, kept_stream, kept_ssn, kept_ppid = flags, stream_id, ssn, ppid
            parts.append(packet[PACKET_OVERHEAD_BYTES : COMMON_HEADER_BYTES + length])
            size += length - DATA_HEADER_BYTES
            end += 1
            expected = (expected + 1) & TSN_MASK
            seen |= flags
            if flags & FLAG_END:
                kept_flags |= FLAG_END
                pieces.append(Piece(first, end, kept_flags, kept_stream, kept_ssn, kept_ppid, parts, size))
                parts = []
        if parts:
            pieces.append(Piece(first, end, kept_flags, kept_stream, kept_ssn, kept_ppid, parts, size))
        self._flush(now, begin, end, pieces)
        if seen & FLAG_IMMEDIATE:
            self.tsns.sack_soon(now)

    def _flush(self, now: float, begin: int, end: int, pieces: list[Piece]) -> None:
        if pieces:
            self.tsns.add(now, begin, end)
            cumulative_end = self.tsns.cumulative_end
            for piece in pieces:
                self.reassembly.add(piece, cumulative_end)
            pieces.clear()

    def _receive_one(
        self, now: float, packet: bytes, others: list[ControlChunk], *, was_joined: bool = False
    ) -> None:
        """The plain road: any packet, any chunks."""
        try:
            tag = verification_tag_untrusted(packet)
            chunks = chunks_untrusted(packet)
        except PeerProtocolError:
            self.dropped_packets += 1
            return
        is_init = tag == 0 and len(chunks) == 1 and chunks[0].type == INIT
        if not is_init and tag != self._local_tag:
            is_reflected = tag == self._remote_tag and chunks[0].flags & FLAG_TAG_REFLECTED
            if not (is_reflected and chunks[0].type in (ABORT, SHUTDOWN_COMPLETE)):
                self.dropped_packets += 1
                return
        # RFC 9653 section 5.3: a zero checksum is for packets of an established association.
        if not checksum_is_valid(packet, accept_zero=self._accept_zero and not is_init):
            self.dropped_packets += 1
            return
        for kind, flags, start, end in chunks:
            if kind == DATA:
                self._receive_data(now, packet, start - 4, end)
            elif kind == FORWARD_TSN:
                self._receive_forward_tsn(now, packet[start:end])
            elif kind == PART:
                self._receive_part(now, packet[start:end], others, is_nested=was_joined)
            elif kind != PAD:
                others.append(ControlChunk(kind, flags, packet[start:end]))

    def _receive_part(self, now: float, body: bytes, others: list[ControlChunk], *, is_nested: bool) -> None:
        try:
            if is_nested:
                raise PeerProtocolError("parts within parts of a packet")
            whole = self._joiner.add_untrusted(body)
        except PeerProtocolError:
            self.dropped_packets += 1
            return
        if whole is not None:
            self._receive_one(now, whole, others, was_joined=True)

    def _receive_data(self, now: float, packet: bytes, start: int, end: int) -> None:
        size = end - start - DATA_HEADER_BYTES
        if size <= 0:
            self.dropped_packets += 1  # RFC 9260 section 6.2: DATA without data
            return
        _, flags, _, wire_tsn, stream_id, ssn, ppid = DATA_CHUNK.unpack_from(packet, start)
        tsns = self.tsns
        tsn = unwrap_tsn(wire_tsn, tsns.cumulative_end)
        if tsn in tsns:
            tsns.add_duplicate(now, tsn)
            return
        limit = self._top_limit if tsn >= tsns.highest_end else self._gap_limit
        if (
            tsn - tsns.cumulative_end >= MAX_SPAN
            or self.reassembly.held_bytes + size + FRAGMENT_WEIGHT > limit
        ):
            self.dropped_packets += 1  # the peer ignores our window; it is told again where that ends
            tsns.sack_soon(now)
            return
        tsns.add(now, tsn, tsn + 1)
        if flags & FLAG_IMMEDIATE:
            tsns.sack_soon(now)
        data = packet[start + DATA_HEADER_BYTES : end]
        piece = Piece(tsn, tsn + 1, flags, stream_id, ssn, ppid, [data], size)
        self.reassembly.add(piece, tsns.cumulative_end)

    def _receive_forward_tsn(self, now: float, body: bytes) -> None:
        try:
            wire_tsn, skipped = parse_forward_tsn_untrusted(body)
        except PeerProtocolError:
            self.dropped_packets += 1
            return
        tsns = self.tsns
        tsns.sack_soon(now)  # also for an old one: our SACK was lost (RFC 3758 section 3.6)
        end = unwrap_tsn(wire_tsn, tsns.cumulative_end - 1) + 1
        if end > tsns.cumulative_end:
            tsns.forward(end)
            self.reassembly.forward(tsns.cumulative_end, skipped)
