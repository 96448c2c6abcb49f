"""What a running session tells the world: one frozen dataclass per event.

Every text that came from the peer or the server (paths, messages, error sentences) is untrusted: renderers
pass it through `ui.sanitize` before it reaches a terminal. `event` is the name in the JSON output, which
docs/reference/json.md documents field by field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Final, Literal

from tallow_cli.errors import TallowError
from tallow_cli.link.link import Way
from tallow_cli.measure.account import Verdict
from tallow_cli.measure.benchmark import BenchmarkSnapshot
from tallow_cli.offer.manifest import WhyLeftOut
from tallow_cli.store.sink import AtHand
from tallow_cli.transfer.channel import Channel
from tallow_cli.transfer.driving import ChannelState
from tallow_cli.transfer.messages import Why


@dataclass(frozen=True, slots=True)
class CodeReady:
    """The code to tell the receiver. `attempt` counts fresh codes after wrong guesses, from 1; `given`: it was not made
    here, so nobody need be told, and whoever gave it may keep it secret."""

    event: ClassVar[str] = "code"
    code: str
    server: str | None  # the signaling URL the receiver needs; None where discovery finds it
    reachable_as: str | None = None  # ws:// URL of the embedded server, for networks without multicast
    attempt: int = 1
    given: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    event: ClassVar[str] = "waiting"
    what: str  # "for the receiver", "for the sender to offer", …
    timeout_s: float | None  # None: as long as it takes

    @classmethod
    def of(cls, what: str, timeout_s: float) -> Waiting:
        """`timeout_s` may be infinite."""
        return cls(what, None if math.isinf(timeout_s) else timeout_s)


@dataclass(frozen=True, slots=True)
class PeerAuthenticated:
    """The other side proved that it knows the code."""

    event: ClassVar[str] = "peer"
    version: str


@dataclass(frozen=True, slots=True)
class Connected:
    event: ClassVar[str] = "connected"
    engine: str
    path: Literal["direct", "relayed"]
    local_address: str
    remote_address: str
    is_lan: bool
    channels: int
    reliable: bool  # ordered and reliable channels, which either side may have asked for
    max_retransmits: int | None  # of this side's packets; None where reliable
    encrypted: bool  # whether payload is sealed under the code's key, above DTLS
    notes: tuple[str, ...] = ()  # fall-backs taken, for --verbose
    way: Way = "direct"
    local_port: int = 0
    remote_port: int = 0
    relay: str | None = None  # the URL of this side's, if the way begins there
    is_peer_relayed: bool = False  # it ends at a relay of the other side's, whose address is the remote one


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection is lost, and both sides look for another one. What has arrived stays."""

    event: ClassVar[str] = "reconnecting"
    reason: str  # why it was lost
    for_s: float | None  # how long it is tried; None: as long as it takes


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The transfer goes on where it was, over a new connection. `attempt` counts connections, so it is 2 or more."""

    event: ClassVar[str] = "reconnected"
    attempt: int
    after_s: float  # since `reconnecting`
    engine: str
    path: Literal["direct", "relayed"]
    local_address: str
    remote_address: str
    is_lan: bool
    way: Way = "direct"
    local_port: int = 0
    remote_port: int = 0
    relay: str | None = None
    is_peer_relayed: bool = False

    @classmethod
    def of(cls, attempt: int, after_s: float, how: Connected) -> Reconnected:
        alike = [each.name for each in fields(cls) if each.name not in ("attempt", "after_s")]
        return cls(attempt, after_s, **{name: getattr(how, name) for name in alike})


# What of `LeftOutItem.why` a user may miss.
MISSED: Final = frozenset({why.value for why in WhyLeftOut if why.is_missed} | {why.value for why in Why})


@dataclass(frozen=True, slots=True)
class LeftOutItem:
    """`why` is a name for scripts: excluded, special, link, unreadable, name, vanished, changed."""

    path: str
    why: str
    reason: str  # in words, to stand behind "because"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Things that do not arrive. On the sender, all that was named and is not offered (before the code and, what is
    new, when the receiver is there); on both sides, files that were offered and are withdrawn. Those that are
    not left out by intention are missed: see `Done.missed`."""

    event: ClassVar[str] = "left-out"
    items: tuple[LeftOutItem, ...]


@dataclass(frozen=True, slots=True)
class OfferedEntry:
    path: str
    kind: Literal["file", "directory", "symlink"]
    size: int
    target: str | None = None  # of a symlink: what it says


@dataclass(frozen=True, slots=True)
class Offered:
    """What the sender offers; on the receiver it precedes consent."""

    event: ClassVar[str] = "offer"
    kind: Literal["files", "text", "stream"]
    entries: tuple[OfferedEntry, ...]
    total_bytes: int | None  # None: a stream of unknown length
    hole_bytes: int = 0  # what the files hold beside that: empty space
    left_out: dict[str, int] = field(
        default_factory=dict
    )  # how many the sender left out, by `LeftOutItem.why`
    here: AtHand | None = None  # on a receiver: what of it is there already; None where that is not known yet


@dataclass(frozen=True, slots=True)
class Resuming:
    """The receiver has a part of what is offered already, from an earlier transfer: what proves to be the same is not
    sent again."""

    event: ClassVar[str] = "resuming"
    held_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`bytes` counts what the receiver has written, `files_done` the files that have arrived whole there."""

    event: ClassVar[str] = "progress"
    bytes: int
    total: int | None
    eta_s: float | None = None
    files_done: int = 0
    files_total: int = 0
    unproven: int = 0  # of `bytes`: was there before, and is still being compared with what the sender has
    # Where the time of the last ten seconds went; the same at both ends, but where the other one is silent.
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One data channel at one moment. `index` is the number its packets carry, from 1; bytes are of whole messages."""

    label: str
    index: int
    state: Literal["open", "closed"]
    paused: bool  # sender: its buffer is full
    buffered_amount: int
    bytes_sent: int
    bytes_received: int
    chunks_sent: int = 0
    chunks_received: int = 0

    @classmethod
    def of(cls, label: str, channel: Channel) -> ChannelStats:
        counters = channel.counters
        return cls(
            label=label,
            index=channel.index,
            state="closed" if channel.state is ChannelState.CLOSED else "open",
            paused=channel.state is ChannelState.PAUSED,
            buffered_amount=channel.buffered_bytes,
            bytes_sent=counters.bytes_sent,
            bytes_received=counters.bytes_received,
            chunks_sent=counters.chunks_sent,
            chunks_received=counters.chunks_received,
        )

    def after(self, before: ChannelStats | None) -> ChannelStats:
        """With what was counted before: by the channel of the same number, over connections that are no more."""
        if before is None:
            return self
        return replace(
            self,
            bytes_sent=self.bytes_sent + before.bytes_sent,
            bytes_received=self.bytes_received + before.bytes_received,
            chunks_sent=self.chunks_sent + before.chunks_sent,
            chunks_received=self.chunks_received + before.chunks_received,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    event: ClassVar[str] = "stats"
    benchmark: BenchmarkSnapshot
    channels: tuple[ChannelStats, ...]
    chunk_bytes: int
    message_bytes: int
    # For how long the other side has not answered, if that is long enough to say so; 0.0: it does. What is measured
    # meanwhile is left out of `benchmark`.
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FileFinished:
    """A file is verified and under its final name (receiver), or reported so (sender)."""

    event: ClassVar[str] = "file"
    path: str
    size: int
    saved_as: str | None = None  # receiver: where it is now


@dataclass(frozen=True, slots=True)
class TextReceived:
    event: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know that ends nothing: a wrong guess was made, a fall-back was taken."""

    event: ClassVar[str] = "notice"
    message: str
    detail: bool = False  # only worth showing with --verbose


@dataclass(frozen=True, slots=True)
class LastWords:
    """This side was stopped and said so; `heard` if the other side's transport acknowledged it. `all_arrived`: that
    came when it had everything, which it then keeps. For whoever drives the session, to tell the truth about it;
    nobody shows it."""

    event: ClassVar[str] = "last-words"
    heard: bool
    all_arrived: bool = False
    can_go_on: bool = False  # another transfer of the same goes on with what the receiver has kept
    is_stream: bool = False  # nobody can read again what was sent: another transfer begins anew


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a receiver leaves of files that did not arrive whole, for another transfer to go on with. For whoever says
    how it ended; nobody shows it by itself."""

    event: ClassVar[str] = "unfinished"
    files: int
    bytes: int
    place: str | None


@dataclass(frozen=True, slots=True)
class Done:
    event: ClassVar[str] = "done"
    bytes: int
    files: int
    seconds: float  # from the first byte of the payload to the receiver's confirmation
    mbps: float  # without the outages
    benchmark: BenchmarkSnapshot | None = field(default=None)
    outage_s: float = 0.0  # of `seconds`: without a connection, or with a silent one
    left_out: int = 0  # things that were named and were not sent, for whatever reason
    missed: int = 0  # of these, those that nobody left out by intention; if any, the exit code is 12
    hole_bytes: int = 0  # what the files hold beside `bytes`: empty space, which need not be sent
    verdict: Verdict | None = None  # where all of its time went


@dataclass(frozen=True, slots=True)
class Kept:
    """What a receiver keeps of a transfer that failed: files that are verified and under their final names."""

    files: int
    bytes: int
    of_files: int  # as many were offered; 0 before data moved
    place: (
        str | None
    )  # an absolute path: of the file, or of the directory that holds them all; untrusted text
    unfinished_files: int = 0  # left for another transfer to go on with
    unfinished_bytes: int = 0
    go_on: str | None = None  # the command that goes on with them, once the same is sent again


@dataclass(frozen=True, slots=True)
class Failed:
    event: ClassVar[str] = "error"
    error: TallowError
    kept: Kept | None = None  # None: this side receives nothing


SessionEvent = (
    CodeReady
    | Waiting
    | PeerAuthenticated
    | Connected
    | Reconnecting
    | Reconnected
    | LeftOut
    | Offered
    | Resuming
    | Progress
    | Stats
    | FileFinished
    | TextReceived
    | Notice
    | LastWords
    | Unfinished
    | Done
    | Failed
)
