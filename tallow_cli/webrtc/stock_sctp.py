"""aiortc's SCTP with the bounds it lacks: what reaches its parsers is checked, what it keeps is limited.

The data path is aiortc's own, so this stays the baseline of every benchmark; the checks cost 2 us a packet of its 85.
"""

from __future__ import annotations

from typing import Final

from aiortc.rtcsctptransport import (
    CHUNK_TYPES,
    SCTP_TSN_MODULO,
    Chunk,
    DataChunk,
    ForwardTsnChunk,
    SackChunk,
)

from tallow_cli.dataplane.chunk_checks import LIFE_CHUNKS, UNREAD_CHUNKS, packet_chunks_untrusted
from tallow_cli.dataplane.packets import INIT, checksum_is_valid, verification_tag_untrusted
from tallow_cli.dataplane.received_tsns import MAX_SPAN
from tallow_cli.errors import PeerProtocolError
from tallow_cli.webrtc.sctp_wall import WalledSctpTransport

# What aiortc announces, and does not enforce.
STOCK_RWND_BYTES: Final = 1024 * 1024
# A peer that fills the window to the last byte may pass it a little, and the packet that fills the first gap is
# taken even then: refusing it could never end (as in dataplane.receiver).
_TOP_LIMIT: Final = STOCK_RWND_BYTES * 5 // 4
_GAP_LIMIT: Final = STOCK_RWND_BYTES * 2
# The window holds 904 packets of a peer that behaves. aiortc walks through all fragments and all TSNs above a gap for
# each packet: at 2,048 that costs 0.4 ms.
MAX_FRAGMENTS: Final = 2048
# aiortc reads 1,500 bytes of its DTLS output at a time and cuts a larger SACK in two. So many fit.
MAX_GAP_BLOCKS: Final = 240
MAX_DUPLICATES: Final = 32

_HALF: Final = SCTP_TSN_MODULO // 2


class StockSctpTransport(WalledSctpTransport):
    """See the module. At most `max_fragments` of messages that are not whole are kept."""

    max_fragments = MAX_FRAGMENTS

    async def _handle_data(self, data: bytes) -> None:
        """One decrypted packet; replaces aiortc's reading of it, which raises, or never returns, on bad lengths."""
        try:
            tag = verification_tag_untrusted(data)
            spans = packet_chunks_untrusted(data)
        except PeerProtocolError:
            self.dropped += 1
            return
        is_init = bool(spans) and spans[0].type == INIT
        if tag != (0 if is_init else self._local_verification_tag) or not checksum_is_valid(
            data, accept_zero=False
        ):
            self.dropped += 1
            return
        for kind, flags, start, end in spans:
            chunk = CHUNK_TYPES[kind](flags=flags, body=b"" if kind in UNREAD_CHUNKS else data[start:end])
            if kind in LIFE_CHUNKS:
                await self.guarded(self._receive_chunk(chunk))
            else:
                await self._receive_chunk(chunk)
        if self._sack_needed:
            await self._send_sack()

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        if self._last_received_tsn is None:
            self.dropped += 1  # before the peer's INIT
            return
        if not self._has_room_for(chunk):
            self.dropped += 1
            self._sack_needed = True  # the peer ignores our window; it is told again where that ends
        elif chunk.stream_id in self._data_channels or self.takes_in_band_channels:
            await super()._receive_data_chunk(chunk)
        else:
            # A stream nobody reads, or reads no more: acknowledged and forgotten.
            self.dropped += 1
            self._sack_needed = True
            self._mark_received(chunk.tsn)
            await self._reset_deferred_streams()

    def _has_room_for(self, chunk: DataChunk) -> bool:
        distance = (chunk.tsn - (self._last_received_tsn or 0)) % SCTP_TSN_MODULO
        if not 0 < distance < _HALF:
            return True  # a duplicate: only counted
        if distance > MAX_SPAN:
            return False
        fragments = sum(len(stream.reassembly) for stream in self._inbound_streams.values())
        kept = max(fragments, len(self._sack_misordered))
        held = STOCK_RWND_BYTES - self._advertised_rwnd + len(chunk.user_data)
        if distance == 1:
            return held <= _GAP_LIMIT and kept < 2 * self.max_fragments
        return held <= _TOP_LIMIT and kept < self.max_fragments

    async def _receive_forward_tsn_chunk(self, chunk: ForwardTsnChunk) -> None:
        if self._last_received_tsn is None:
            self.dropped += 1
            return
        if not self.takes_in_band_channels:
            chunk.streams = [each for each in chunk.streams if each[0] in self._data_channels]
        await super()._receive_forward_tsn_chunk(chunk)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        highest = chunk.cumulative_tsn + (chunk.gaps[-1][1] if chunk.gaps else 0)
        if (self._local_tsn - 1 - highest) % SCTP_TSN_MODULO >= _HALF:
            self.dropped += 1  # it acknowledges what was never sent
            return
        await super()._receive_sack_chunk(chunk)

    async def _send_chunk(self, chunk: Chunk) -> None:
        if isinstance(chunk, SackChunk):
            chunk.gaps = chunk.gaps[:MAX_GAP_BLOCKS]
            chunk.duplicates = chunk.duplicates[:MAX_DUPLICATES]
        await super()._send_chunk(chunk)
