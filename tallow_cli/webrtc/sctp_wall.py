"""What both engines' SCTP transports keep from aiortc's: whatever nobody here asked for.

The bytes come from the other side of the DTLS connection, so from one who knows the code, and from before the link is
confirmed. `dataplane.chunk_checks` has looked at every length by then. Here is what only the association's state can
tell: an INIT that contradicts the first, chunks after the end, messages on streams that nobody opened.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final

from aiortc import RTCDtlsTransport, RTCSctpTransport
from aiortc.rtcsctptransport import (
    CHUNK_TYPES,
    DATA_CHANNEL_OPEN,
    WEBRTC_BINARY,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    Chunk,
    InitAckChunk,
    InitChunk,
)

from tallow_cli.dataplane.chunk_checks import UNREAD_CHUNKS, check_chunk_untrusted
from tallow_cli.errors import PeerProtocolError

# dcSCTP's 0.5 s, doubled each time, leave one association in fourteen without an answer after 7 s where 30 % is lost
# each way. An INIT has about 100 bytes.
INIT_REPEAT_S: Final = 0.3
INIT_LASTS_S: Final = 60.0  # whoever connects gives up before
# What handling a control chunk in a state aiortc does not foresee may raise. None is known that gets so far; each is
# counted in `stumbles`, which the fuzzer holds at 0.
HOSTILE: Final = (struct.error, ValueError, KeyError, IndexError, AssertionError, AttributeError, TypeError)


class WalledSctpTransport(RTCSctpTransport):
    """`takes_in_band_channels`: let the peer open channels (DCEP, RFC 8832) and send text, as between foreign stacks.

    Tallow's channels are negotiated, so for Tallow it is False: each OPEN would be a channel kept for good.
    """

    takes_in_band_channels = False

    def __init__(self, transport: RTCDtlsTransport, port: int = 5000) -> None:
        super().__init__(transport, port)
        self.dropped = 0
        self.stumbles = 0
        self._has_ended = False
        self._peer_identity: tuple[int, int] | None = None
        self._repeated = 0

    # RFC 9260 section 5.1: INIT and COOKIE ECHO are repeated. aiortc waits 3 s each time; after eight it closes.

    def _t1_start(self, chunk: Chunk) -> None:
        self._repeated = 0
        with self._init_timer(INIT_REPEAT_S):
            super()._t1_start(chunk)

    def _t1_expired(self) -> None:
        self._repeated += 1
        if self._repeated * INIT_REPEAT_S < INIT_LASTS_S:
            self._t1_failures = 0
        with self._init_timer(INIT_REPEAT_S):
            super()._t1_expired()

    @contextmanager
    def _init_timer(self, pause_s: float) -> Iterator[None]:
        """aiortc's timers of data, which the stock engine uses, take the same figure."""
        kept, self._rto = self._rto, pause_s
        try:
            yield
        finally:
            self._rto = kept

    def parsed_untrusted(self, kind: int, flags: int, body: bytes) -> Chunk | None:
        """The chunk as aiortc's object, or None if it is malformed or of a type without a meaning here."""
        try:
            check_chunk_untrusted(kind, body)
        except PeerProtocolError:
            self.dropped += 1
            return None
        return CHUNK_TYPES[kind](flags=flags, body=b"" if kind in UNREAD_CHUNKS else body)

    async def guarded(self, handling: Awaitable[None]) -> None:
        """Await one of aiortc's handlers of control chunks; what it stumbles over is the peer's fault, and dropped."""
        try:
            await handling
        except HOSTILE:
            self.stumbles += 1

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        super()._set_state(state)
        if state == self.State.CLOSED:
            self._has_ended = True

    async def _receive_chunk(self, chunk: Chunk) -> None:
        if self._has_ended:
            return  # a late COOKIE ECHO must not open what nothing is left to carry
        if not isinstance(chunk, InitChunk | InitAckChunk):
            await super()._receive_chunk(chunk)
            return
        # The association is not restarted (RFC 9260 section 5.2): DTLS would be as well. aiortc believes each INIT
        # anew, and goes back to the first TSN also for a mere repetition.
        identity = (chunk.initiate_tag, chunk.initial_tsn)
        if self._peer_identity is None:
            self._peer_identity = identity
            await super()._receive_chunk(chunk)
        elif self._peer_identity == identity:
            progress = self._last_received_tsn, self._reconfig_response_seq
            await super()._receive_chunk(chunk)
            self._last_received_tsn, self._reconfig_response_seq = progress
        else:
            self.dropped += 1

    async def _data_channel_receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        if not self._is_expected(stream_id, pp_id, data):
            self.dropped += 1
            return
        await super()._data_channel_receive(stream_id, pp_id, data)

    def _is_expected(self, stream_id: int, pp_id: int, data: bytes) -> bool:
        is_open = stream_id in self._data_channels
        if not self.takes_in_band_channels:
            return is_open and pp_id == WEBRTC_BINARY
        if pp_id == WEBRTC_DCEP:
            return bool(data) and is_open != (data[0] == DATA_CHANNEL_OPEN)
        return is_open and (pp_id != WEBRTC_STRING or _is_text(data))

    def _data_channel_closed(self, stream_id: int) -> None:
        # A peer that refuses a reset it has already granted makes aiortc close a channel twice.
        if stream_id in self._data_channels:
            super()._data_channel_closed(stream_id)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
