"""The SCTP packet codec: common header, DATA, SACK, FORWARD-TSN, HEARTBEAT with PAD, and both checksums.

RFC 9260 section 3, RFC 3758 section 3.2, RFC 4820 (PAD), RFC 9653 (zero checksum). Parsing functions are named
`…_untrusted`, raise `PeerProtocolError` and nothing else, and never read outside the packet. TSNs here are as on the
wire, 32 bits; see serial.py.

Hot path: a DATA packet is read by one `DATA_PACKET.unpack_from` (the association does that itself) and written by one
`bytes.join`: 0.4 us each for 1400 bytes, where a chunk object each way costs 1.5 us.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from google_crc32c import extend as _crc32c_extend
from google_crc32c import value as _crc32c

from tallow_cli.dataplane.serial import SSN_MASK, TSN_MASK
from tallow_cli.errors import PeerProtocolError

DATA: Final = 0
INIT: Final = 1
SACK: Final = 3
HEARTBEAT: Final = 4
HEARTBEAT_ACK: Final = 5
PAD: Final = 0x84
# Not registered: between Tallow peers only, see packet_parts.py. Whoever does not know it passes over it (bits 10).
PART: Final = 0xA7
FORWARD_TSN: Final = 192

FLAG_END: Final = 0x01
FLAG_BEGIN: Final = 0x02
FLAG_UNORDERED: Final = 0x04
FLAG_IMMEDIATE: Final = 0x08  # RFC 7053: please SACK at once

COMMON_HEADER_BYTES: Final = 12
CHUNK_HEADER_BYTES: Final = 4
DATA_HEADER_BYTES: Final = 16
# What one DATA chunk alone in its packet costs beside the user data.
PACKET_OVERHEAD_BYTES: Final = COMMON_HEADER_BYTES + DATA_HEADER_BYTES

# Ports, tag, checksum, then type, flags, length, TSN, stream, SSN, PPID of a first chunk that is DATA.
DATA_PACKET: Final = struct.Struct("!HHLLBBHLHHL")
DATA_CHUNK: Final = struct.Struct("!BBHLHHL")
_COMMON: Final = struct.Struct("!HHLL")
_CHUNK: Final = struct.Struct("!BBH")
_SACK: Final = struct.Struct("!LLHH")
_U32: Final = struct.Struct("!L")
_CHECKSUM: Final = struct.Struct("<L")  # RFC 9260 appendix A: the CRC32c travels little-endian
_STREAM_SSN: Final = struct.Struct("!HH")
_DATA_TAIL: Final = struct.Struct("!HHL")
_ZERO4: Final = b"\0\0\0\0"
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")

# RFC 9260 section 3.3.5: the one parameter of a HEARTBEAT. The rest of the value is ours alone to read.
_HEARTBEAT_INFO: Final = 1
_PROBE_INFO: Final = struct.Struct("!HH8sL")


class Sack(NamedTuple):
    """`gaps` is flat: first and last offset from `cumulative_tsn` of each block, in the order sent."""

    cumulative_tsn: int
    rwnd_bytes: int
    gaps: tuple[int, ...]
    duplicates: tuple[int, ...]


class ChunkSpan(NamedTuple):
    """Where a chunk lies in its packet: `packet[start:end]` is its value, the 4-byte header cut off."""

    type: int
    flags: int
    start: int
    end: int


def checksum(packet: bytes) -> int:
    """The CRC32c of a packet whose checksum field counts as zero."""
    return int(_crc32c_extend(_crc32c(packet[:8] + _ZERO4), packet[12:]))


def checksum_is_valid(packet: bytes, *, accept_zero: bool) -> bool:
    """Whether the field holds the right CRC32c, or zero where we announced to accept that (RFC 9653 section 5.3)."""
    given = int(_CHECKSUM.unpack_from(packet, 8)[0])
    return (accept_zero and given == 0) or given == checksum(packet)


def verification_tag_untrusted(packet: bytes) -> int:
    if len(packet) < COMMON_HEADER_BYTES + CHUNK_HEADER_BYTES:
        raise PeerProtocolError("an SCTP packet shorter than its headers")
    return int(_U32.unpack_from(packet, 4)[0])


def chunks_untrusted(packet: bytes) -> list[ChunkSpan]:
    """The packet's chunks. A chunk with an impossible length spoils the whole packet, as in other stacks."""
    chunks = []
    position, total = COMMON_HEADER_BYTES, len(packet)
    while position + CHUNK_HEADER_BYTES <= total:
        kind, flags, length = _CHUNK.unpack_from(packet, position)
        if length < CHUNK_HEADER_BYTES or position + length > total:
            raise PeerProtocolError(f"an SCTP chunk claims {length} bytes")
        chunks.append(ChunkSpan(kind, flags, position + CHUNK_HEADER_BYTES, position + length))
        position += (length + 3) & ~3
    if not chunks:
        raise PeerProtocolError("an SCTP packet without a chunk")
    return chunks


def parse_sack_untrusted(body: bytes) -> Sack:
    """A SACK's value. Offsets and TSNs are not checked against anything: that is the send window's part."""
    if len(body) < _SACK.size:
        raise PeerProtocolError("a SACK shorter than its fixed part")
    cumulative_tsn, rwnd_bytes, gap_count, duplicate_count = _SACK.unpack_from(body)
    if len(body) < _SACK.size + 4 * (gap_count + duplicate_count):
        raise PeerProtocolError("a SACK shorter than its counts")
    gaps = struct.unpack_from(f"!{2 * gap_count}H", body, 12) if gap_count else ()
    duplicates = (
        struct.unpack_from(f"!{duplicate_count}L", body, 12 + 4 * gap_count) if duplicate_count else ()
    )
    return Sack(cumulative_tsn, rwnd_bytes, gaps, duplicates)


def encode_sack(
    cumulative_tsn: int, rwnd_bytes: int, gaps: Sequence[int], duplicates: Sequence[int]
) -> bytes:
    """The chunk. `gaps` as in `Sack`; all numbers already wrapped."""
    length = 16 + 2 * len(gaps) + 4 * len(duplicates)
    return struct.pack(
        f"!BBHLLHH{len(gaps)}H{len(duplicates)}L",
        SACK,
        0,
        length,
        cumulative_tsn,
        rwnd_bytes,
        len(gaps) // 2,
        len(duplicates),
        *gaps,
        *duplicates,
    )


def parse_forward_tsn_untrusted(body: bytes) -> tuple[int, list[tuple[int, int]]]:
    """The new cumulative TSN, and (stream, SSN) of each ordered stream skipped (RFC 3758 section 3.2)."""
    if len(body) < 4 or len(body) % 4:
        raise PeerProtocolError("a FORWARD-TSN of an impossible length")
    return int(_U32.unpack_from(body)[0]), list(_STREAM_SSN.iter_unpack(body[4:]))


def encode_forward_tsn(cumulative_tsn: int, streams: Sequence[tuple[int, int]]) -> bytes:
    value = b"".join([_STREAM_SSN.pack(stream_id, ssn & SSN_MASK) for stream_id, ssn in streams])
    return _CHUNK.pack(FORWARD_TSN, 0, 8 + len(value)) + _U32.pack(cumulative_tsn & TSN_MASK) + value


def encode_path_probe(nonce: bytes, size_bytes: int) -> bytes:
    """HEARTBEAT and PAD that fill a packet to exactly `size_bytes`, a multiple of 4 (RFC 8899 section 6.2.1.2).

    `nonce`: 8 bytes that a blind attacker cannot guess. Needs `size_bytes` >= 40.
    """
    heartbeat = _CHUNK.pack(HEARTBEAT, 0, 4 + _PROBE_INFO.size) + _PROBE_INFO.pack(
        _HEARTBEAT_INFO, _PROBE_INFO.size, nonce, size_bytes
    )
    room = size_bytes - COMMON_HEADER_BYTES - len(heartbeat)
    return heartbeat + _CHUNK.pack(PAD, 0, room) + bytes(room - CHUNK_HEADER_BYTES)


def parse_path_probe_ack(body: bytes) -> tuple[bytes, int] | None:
    """Nonce and size of one of our probes; None if the HEARTBEAT ACK answers somebody else's HEARTBEAT."""
    if len(body) < _PROBE_INFO.size:
        return None
    kind, length, nonce, size_bytes = _PROBE_INFO.unpack_from(body)
    if kind != _HEARTBEAT_INFO or length != _PROBE_INFO.size:
        return None
    return nonce, size_bytes


class PacketWriter:
    """Builds the packets of one association."""

    __slots__ = ("_head", "_zero_checksum")

    def __init__(self, local_port: int, remote_port: int, remote_tag: int, *, zero_checksum: bool) -> None:
        self._head = _COMMON.pack(local_port, remote_port, remote_tag, 0)
        self._zero_checksum = zero_checksum

    def control(self, chunks: bytes) -> bytes:
        """One packet around encoded chunks."""
        return self._finish(self._head + chunks)

    def data(
        self,
        first_tsn: int,
        stream_id: int,
        ssn: int,
        ppid: int,
        flags: int,
        view: memoryview,
        offset: int,
        fragment_bytes: int,
        count: int,
    ) -> list[bytes]:
        """`count` packets with one DATA chunk each: consecutive fragments of the message in `view` from `offset`.

        `fragment_bytes` is a multiple of 4; only the message's last fragment may be shorter. `flags`: FLAG_UNORDERED
        for all, FLAG_IMMEDIATE for the last; B and E are added where they belong. `first_tsn` need not be wrapped.
        """
        join, tsn_bytes = b"".join, _U32.pack
        common_flags = flags & FLAG_UNORDERED
        suffix = _DATA_TAIL.pack(stream_id, ssn & SSN_MASK, ppid)
        last_offset = offset + (count - 1) * fragment_bytes
        packets: list[bytes] = []
        if count > 1:
            prefix = self._head + _CHUNK.pack(DATA, common_flags, DATA_HEADER_BYTES + fragment_bytes)
            packets = [
                join((prefix, tsn_bytes(tsn & TSN_MASK), suffix, view[at : at + fragment_bytes]))
                for tsn, at in zip(
                    range(first_tsn, first_tsn + count - 1),
                    range(offset, last_offset, fragment_bytes),
                    strict=True,
                )
            ]
            if offset == 0:
                packets[0] = self._flagged(packets[0], common_flags | FLAG_BEGIN)
        last = view[last_offset : last_offset + fragment_bytes]
        last_flags = flags | (FLAG_END if last_offset + fragment_bytes >= len(view) else 0)
        if last_offset == 0:
            last_flags |= FLAG_BEGIN
        header = _CHUNK.pack(DATA, last_flags, DATA_HEADER_BYTES + len(last))
        tsn = tsn_bytes((first_tsn + count - 1) & TSN_MASK)
        packets.append(join((self._head, header, tsn, suffix, last, _PADDING[len(last) & 3])))
        if self._zero_checksum:
            return packets
        return [self._finish(packet) for packet in packets]

    @staticmethod
    def _flagged(packet: bytes, flags: int) -> bytes:
        at = COMMON_HEADER_BYTES + 1
        return packet[:at] + bytes((flags,)) + packet[at + 1 :]

    def _finish(self, packet: bytes) -> bytes:
        if self._zero_checksum:
            return packet
        return packet[:8] + _CHECKSUM.pack(_crc32c(packet)) + packet[12:]
