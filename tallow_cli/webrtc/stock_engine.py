"""`--engine aiortc`: aiortc's own DTLS and SCTP behind checks. The fall-back, and every benchmark's baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from aiortc import RTCCertificate, RTCDataChannel, RTCDtlsTransport, RTCIceTransport, RTCSctpTransport
from aiortc.exceptions import InvalidStateError

from tallow_cli.errors import PeerVanished
from tallow_cli.link.channels import ChannelState
from tallow_cli.webrtc.aiortc_internals import all_acknowledged, keep_only_stream
from tallow_cli.webrtc.dtls_transport import DtlsTransport
from tallow_cli.webrtc.stock_sctp import STOCK_RWND_BYTES, StockSctpTransport

if TYPE_CHECKING:
    from tallow_cli.link.description import Description, DtlsRole

# What aiortc announces. Its reassembly is quadratic in message size, so a larger figure only slows it.
STOCK_MAX_MESSAGE_SIZE: Final = 262144

# aiortc announces a window of 1 MiB, and walks through everything in flight for each SACK: with 16 MiB it moves
# 0.73 of what a bare script does, with this 0.90.
STOCK_WINDOW_BYTES: Final = STOCK_RWND_BYTES
STOCK_PACKET_BYTES: Final = 1160  # aiortc 1.16: USERDATA_MAX_LENGTH
# A peer whose side is open first may talk at once. A Tallow peer says one message before it is answered.
MAX_EARLY_MESSAGES: Final = 64
MAX_EARLY_BYTES: Final = 8 * 1024 * 1024


class StockEngine:
    """See `engines.Engine`."""

    name = "aiortc"
    capabilities: tuple[str, ...] = ()
    network_packet_bytes = STOCK_PACKET_BYTES
    window_bytes = STOCK_WINDOW_BYTES
    retransmissions = 0
    max_message_size = STOCK_MAX_MESSAGE_SIZE

    def __init__(self, *, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        self._sctp: RTCSctpTransport | None = None

    def dtls(self, ice: RTCIceTransport, certificate: RTCCertificate, role: DtlsRole) -> RTCDtlsTransport:
        return DtlsTransport(ice, certificate, role)

    def sctp(self, dtls: RTCDtlsTransport, port: int, peer: Description) -> RTCSctpTransport:
        self._sctp = StockSctpTransport(dtls, port)
        return self._sctp

    def channel(self, rtc_channel: RTCDataChannel) -> StockChannel:
        return StockChannel(rtc_channel)

    def path_figures(self) -> None:
        """aiortc keeps no account of packets, and its round trips are of SACKs in a queue."""

    def all_acknowledged(self) -> bool:
        return self._sctp is None or all_acknowledged(self._sctp)

    async def keep_only(self, stream_id: int) -> None:
        if self._sctp is not None:
            await keep_only_stream(self._sctp, stream_id)

    def close(self) -> None:
        self._sctp = None


class StockChannel:
    """An RTCDataChannel as a `channels.Channel`."""

    def __init__(self, rtc_channel: RTCDataChannel) -> None:
        self._on_message: Callable[[bytes], None] | None = None
        self._early: list[bytes] = []
        self.on_low: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self._rtc = rtc_channel
        self._gone = False
        self._early_bytes = 0
        rtc_channel.on("message", self._received)
        rtc_channel.on("bufferedamountlow", self._drained)
        rtc_channel.on("close", self.lost)

    @property
    def on_message(self) -> Callable[[bytes], None] | None:
        return self._on_message

    @on_message.setter
    def on_message(self, listener: Callable[[bytes], None] | None) -> None:
        """What came before anyone listened is delivered first: the peer may be a moment ahead of us."""
        self._on_message = listener
        if listener is not None:
            early, self._early, self._early_bytes = self._early, [], 0
            for message in early:
                listener(message)

    @property
    def label(self) -> str:
        return self._rtc.label

    @property
    def state(self) -> ChannelState:
        return "closed" if self._gone else cast(ChannelState, self._rtc.readyState)

    @property
    def buffered_amount(self) -> int:
        return self._rtc.bufferedAmount

    @property
    def low_threshold(self) -> int:
        return self._rtc.bufferedAmountLowThreshold

    @low_threshold.setter
    def low_threshold(self, size_bytes: int) -> None:
        self._rtc.bufferedAmountLowThreshold = size_bytes

    def send(self, message: bytes) -> None:
        if self._gone:
            raise PeerVanished("the channel is closed")
        try:
            self._rtc.send(message)
        except InvalidStateError as error:
            raise PeerVanished("the channel is closed") from error

    def close(self) -> None:
        if not self._gone:
            self._rtc.close()

    def lost(self) -> None:
        """The channel is closed, or what carried it is."""
        if self._gone:
            return
        self._gone = True
        if self.on_close is not None:
            self.on_close()

    def _received(self, message: bytes | str) -> None:
        # Tallow sends bytes only; text is handed on as it came, to fail the checks on its content.
        data = message if isinstance(message, bytes) else message.encode()
        if self._on_message is not None:
            self._on_message(data)
        elif len(self._early) < MAX_EARLY_MESSAGES and self._early_bytes + len(data) <= MAX_EARLY_BYTES:
            self._early.append(data)
            self._early_bytes += len(data)

    def _drained(self) -> None:
        if self.on_low is not None and not self._gone:
            self.on_low()
