"""`--engine turbo`: Tallow's data plane under aiortc's data channels."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from aiortc import RTCCertificate, RTCDataChannel, RTCDtlsTransport, RTCIceTransport, RTCSctpTransport

from tallow_cli.link.link import PathFigures
from tallow_cli.tracing import Trace
from tallow_cli.webrtc.dtls_batch import BatchDtlsTransport
from tallow_cli.webrtc.stock_engine import STOCK_PACKET_BYTES, StockChannel
from tallow_cli.webrtc.turbo_sctp import TURBO_MAX_MESSAGE_SIZE, TurboSctpTransport
from tallow_cli.wire.udp_buffers import receive_buffer_bytes

if TYPE_CHECKING:
    from tallow_cli.link.description import Description, DtlsRole

# For routes where GSO goes wrong without an error, and to measure what it brings.
NO_OFFLOAD_VARIABLE: Final = "TALLOW_NO_OFFLOAD"
# Announced by a side whose UDP socket may receive so much at once. Linux counts 2,304 bytes for a datagram of
# Ethernet's size: 2 MiB hold 900 of them.
LARGE_BUFFER_CAPABILITY: Final = "rcvbuf-2m"
LARGE_BUFFER_BYTES: Final = 2 * 1024 * 1024
# Announced by a side whose SCTP takes packets of up to 16 KiB and wants a SACK only every 16 packets.
CAPABILITY: Final = "turbo-1"


TURBO_WINDOW_BYTES: Final = 16 * 1024 * 1024  # what both ends announce: 1 Gbit/s at 130 ms


class TurboEngine:
    """See `engines.Engine`."""

    name = "turbo"
    max_message_size = TURBO_MAX_MESSAGE_SIZE
    window_bytes = TURBO_WINDOW_BYTES
    # docs/adr/0007: at 1 % loss messages of many packets then still arrive, and waste nothing.
    retransmissions = 2

    def __init__(
        self,
        *,
        offload: bool = True,
        trace: Trace | None = None,
        granted_bytes: Callable[[], int] = receive_buffer_bytes,
    ) -> None:
        """`granted_bytes`: how much a UDP socket may receive at once."""
        self._granted_bytes = granted_bytes
        self._trace = trace
        self._offload = offload and os.environ.get(NO_OFFLOAD_VARIABLE, "") in ("", "0")
        self._dtls: BatchDtlsTransport | None = None
        self._sctp: TurboSctpTransport | None = None

    @property
    def capabilities(self) -> tuple[str, ...]:
        if self._granted_bytes() >= LARGE_BUFFER_BYTES:
            return (CAPABILITY, LARGE_BUFFER_CAPABILITY)
        return (CAPABILITY,)

    @property
    def notes(self) -> tuple[str, ...]:
        if self._dtls is None or self._sctp is None:
            return ()
        used = self._dtls.run_transport
        if used is None or not used.in_datagrams:
            return ()
        missing = [name for name, has in (("GSO", used.has_gso), ("GRO", used.has_gro)) if not has]
        if missing and self._offload:
            return (f"This system or route has no UDP {' and '.join(missing)}; datagrams go one by one.",)
        return ()

    @property
    def network_packet_bytes(self) -> int:
        return STOCK_PACKET_BYTES if self._sctp is None else self._sctp.network_packet_bytes

    def dtls(self, ice: RTCIceTransport, certificate: RTCCertificate, role: DtlsRole) -> RTCDtlsTransport:
        self._dtls = BatchDtlsTransport(ice, certificate, role, offload=self._offload)
        return self._dtls

    def sctp(self, dtls: RTCDtlsTransport, port: int, peer: Description) -> RTCSctpTransport:
        self._sctp = TurboSctpTransport(
            cast(BatchDtlsTransport, dtls),
            port,
            peer_is_tallow=CAPABILITY in peer.capabilities,
            peer_buffers_much=LARGE_BUFFER_CAPABILITY in peer.capabilities,
            trace=self._trace,
        )
        return self._sctp

    def channel(self, rtc_channel: RTCDataChannel) -> TurboChannel:
        return TurboChannel(rtc_channel, cast(TurboSctpTransport, self._sctp))

    def path_figures(self) -> PathFigures | None:
        stats = None if self._sctp is None else self._sctp.dataplane_stats
        if stats is None:
            return None
        return PathFigures(
            stats.srtt_s,
            stats.jitter_s,
            stats.sent_packets,
            stats.lost_packets,
            stats.path_loss,
            stats.is_growing,
        )

    def all_acknowledged(self) -> bool:
        return self._sctp is None or self._sctp.is_flushed

    async def keep_only(self, stream_id: int) -> None:
        if self._sctp is not None:
            self._sctp.keep_only_stream(stream_id)

    def close(self) -> None:
        self._sctp = None
        self._dtls = None


class TurboChannel(StockChannel):
    """A data channel whose messages come without an event emitter in between."""

    def __init__(self, rtc_channel: RTCDataChannel, sctp: TurboSctpTransport) -> None:
        super().__init__(rtc_channel)
        if rtc_channel.id is not None:
            sctp.deliver_to(rtc_channel.id, self._received)
