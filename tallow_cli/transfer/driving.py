"""The words in which a shell and the transfer machines talk.

Driver contract of `SendMachine` and `ReceiveMachine`
-----------------------------------------------------
The machines know no clock, socket, thread or disk. A shell (session/ over real DataChannels, tests/sim/ over
virtual ones) owns those and runs this loop, from ONE thread or task:

1. Feed one input, with the present time `now` (seconds, any monotonic origin, the same clock always):

   * `channel_state(now, channel, state)`  a channel opened or closed. Channel 0 is control.
     A machine takes every channel as CLOSED until told otherwise.
   * `receive(now, channel, number, payload)`  a packet arrived on `channel`; `payload` is the plaintext after
     the packet header, already opened. The shell has checked that the header's channel is the one it came on.
     `protocol_broken(now, error)`  in its place, if that or the opening failed.
   * `buffered(now, channel, size_bytes)`  how many bytes of what was handed to this channel still wait in the local
     stack (`bufferedAmount`). Call it for every data channel after handing packets over, whenever the shell wakes, a
     timeout included, and when a channel has drained to the sender's `buffer_low`: round-trip and loss timers then
     start when a message leaves, not when it is queued, what waits is held to a tenth of a second, and a channel at
     `buffer_high` gets nothing new until it has drained. A shell that cannot know says 0.
   * sender: `offer` after `PeerReady`, `chunk_read(now, offset, data)` for every range `next_read` gave,
     `digests(now, first, digests)` as files have been read and `withdraw` for a file that cannot be, and
     `piece_digests(now, first, digests)` for every piece that `Accepted` names; receiver: `accept`/`refuse` after
     `OfferArrived`, `written(now, offset, size)` for every range `writes` gave, `piece_proved(now, index)` or
     `piece_refuted(now, index)` for every `PieceDigested`, `file_verified(now, index)` for every `FileReady` and
     `file_dropped(now, index)` for every `FileWithdrawn`; after `Reported`, and if it can tell, `report_delivered(now)`
     once the peer's transport has acknowledged all of the control channel.
   * `connection_lost(now, error)`  what carries the channels has ended, as the PeerVanished says.
   * `handle_timeout(now)`  the time `next_timeout()` named has come. Early or late calls are harmless: where a call
     comes late because the process did not run, the peer gets the time back.
   * `cancel(now)` / `abort(now, kind, sentence)`  this side stops; the machine tells the peer.

2. Drain every output:

   * `events()`  what happened, oldest first. After `Failed` or `Finished` no more events come.
   * `packets(now)`  what to send, in order. Seal each (or not) and hand it to its channel at once.
     Call again until it returns nothing: one call gives at most about 256 KiB of control and as much of data.
   * sender: `next_read(now)` until it returns None: ranges to read (in threads if liked);
     receiver: `writes()`, and after the end, if what has come is to be kept, `remains()`.

3. Sleep until an input comes or until `next_timeout()` (absolute, on the clock of `now`; None: no deadline).

No input raises because of what the peer did: a broken protocol, a refusal, a silent peer arrive as the event
`Failed`. Misuse by the shell itself (a read never asked for, an unknown channel) raises ValueError.

Closing: after its last event a machine may still have packets (Bye, Failed, Cancel): drain `packets` once
more and keep the connection until the control channel's buffer is empty. The receiver tells its user at `Reported`
and closes first, after `Finished`; the sender, after its `Finished`, waits for that close, a few seconds at most.

Numbers: each machine numbers the packets of every channel from 0. A shell that seals anything else under the
same key must take a channel index no machine uses (above MAX_CHANNEL_INDEX of frames.py), or nonces would repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from tallow_cli.errors import TallowError
from tallow_cli.measure.account import Verdict
from tallow_cli.measure.diagnosis import EndUse
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.offer.name_rules import NameRules
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.messages import Why
from tallow_cli.transfer.pieces import Pieces

CONTROL_CHANNEL = 0  # data channels are 1, 2, …


class ChannelState(Enum):
    OPEN = "open"
    PAUSED = "paused"  # open, but its local buffer was at the high mark and is above the low one: nothing new for it
    CLOSED = "closed"  # for good: what was outstanding on it goes over the others


class OutgoingPacket(NamedTuple):
    """One DataChannel message to be. On the wire: `header`, then `payload` as it is or sealed.

    `header` is the packet header (frames.py) and the associated data when sealing; `channel` and `number`
    make the nonce and repeat what it says.
    """

    channel: int
    number: int
    header: bytes
    payload: bytes


class ReadRequest(NamedTuple):
    """A range of the byte stream the shell shall read and give to `chunk_read`."""

    offset: int
    size: int


class ChunkSizer(Protocol):
    """What the machine asks of `AdaptiveBitrateController`."""

    @property
    def chunk_size(self) -> int:
        """Bytes the next chunk should have."""
        ...


# Events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfferArrived:
    """Receiver: the sender offers this. Decode and judge it (untrusted), then `accept` or `refuse`."""

    manifest: bytes


@dataclass(frozen=True, slots=True)
class PeerReady:
    """Sender: the peer waits for the offer, whose names have to keep `names` (untrusted): `offer` it."""

    names: NameRules


@dataclass(frozen=True, slots=True)
class Accepted:
    """Sender: the peer agreed; reading begins.

    `held_bytes` of the stream it has already, or claims to have. It waits for a digest of each of the pieces of what it
    claims (`piece_digests`), and for none of the files in `kept` (indexes).
    """

    held_bytes: int
    claims: Pieces = field(default_factory=Pieces)
    kept: RangeSet = field(default_factory=RangeSet)


@dataclass(frozen=True, slots=True)
class PieceDigested:
    """Receiver: this is what the sender has of the claimed bytes [start, end) of the stream. Hash what is there:
    `piece_proved` if it is the same, `piece_refuted` if not, in any order."""

    index: int  # among the pieces of the claims, from 0
    start: int
    end: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class FileReady:
    """Receiver: all of this file is written (or held, or proven) and its digest is here. Verify, publish,
    `file_verified`."""

    index: int  # among the FILE entries of the manifest, from 0
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reported:
    """Receiver: every file is verified and published, so the transfer has succeeded whatever comes. The sender is
    being told: keep the connection until `Finished`."""


@dataclass(frozen=True, slots=True)
class FileWithdrawn:
    """Receiver: this file does not come, and all that will ever come of it is written. Drop it, `file_dropped`."""

    index: int
    why: Why


@dataclass(frozen=True, slots=True)
class Finished:
    """The transfer is complete and both sides know it, or (receiver) all is done that the sender may know."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The transfer ended without success: PeerRefused, PeerCancelled, PeerFailed, PeerVanished,
    TransferStalled or PeerProtocolError."""

    error: TallowError


# Figures ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ChannelCounters:
    """What went over one channel. Bytes are those of whole messages: header, frames and seal."""

    messages_sent: int = 0
    messages_received: int = 0
    messages_lost: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    chunks_sent: int = 0
    chunks_received: int = 0


@dataclass(frozen=True, slots=True)
class SendFigures:
    """The sender's view of the transfer at one moment. Times are seconds, None before the first sample."""

    bytes_acked: int  # distinct bytes the receiver has reported, what it held or claimed beforehand included
    bytes_written: int  # of them, what is on its disk or was passed on, as far as its credit tells
    unproven_bytes: int  # of them, claimed, and the receiver was not told yet what it is to be compared with
    bytes_in_flight: int
    bytes_sent: int  # retransmissions included
    retained_bytes: int  # memory held by unacknowledged or unsent data
    total_bytes: int | None
    rate_bytes_per_s: float  # recent delivery rate
    smoothed_rtt_s: float | None
    latest_rtt_s: float | None
    min_rtt_s: float | None
    jitter_s: float
    message_loss: float  # fraction of messages, recent
    packet_loss: float  # estimated fraction of network packets, recent
    message_bytes: int  # present message size
    credit_bytes: int  # new bytes the receiver will still take
    read_bytes: int
    first_data_at: float | None
    receiver_use: EndUse | None = None  # as it reported last


@dataclass(frozen=True, slots=True)
class ReceiveFigures:
    bytes_received: int  # distinct, what was held or claimed beforehand included
    bytes_written: int  # distinct, what was held or claimed beforehand included
    unproven_bytes: int  # of them, claimed, and nobody knows yet
    duplicate_bytes: int
    backlog_bytes: int  # received and not yet written
    total_bytes: int | None
    files_verified: int
    missing_packets: int  # gaps seen in the packet numbers, not yet filled
    first_data_at: float | None
    path: PathSummary | None = None  # as the sender reported it last; it alone can measure
    verdict: Verdict | None = None  # … of the last seconds, and of the whole
    whole_verdict: Verdict | None = None
