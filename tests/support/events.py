"""One example of every session event, with text no terminal should ever see raw."""

from __future__ import annotations

from dataclasses import replace

from tallow_cli.errors import PeerFailed
from tallow_cli.measure.account import Verdict
from tallow_cli.measure.benchmark import BenchmarkSnapshot, Bottleneck
from tallow_cli.measure.causes import Cause
from tallow_cli.session.events import (
    ChannelStats,
    CodeReady,
    Connected,
    Done,
    Failed,
    FileFinished,
    LeftOut,
    LeftOutItem,
    Notice,
    Offered,
    OfferedEntry,
    PeerAuthenticated,
    Progress,
    Reconnected,
    Reconnecting,
    Resuming,
    SessionEvent,
    Stats,
    TextReceived,
    Waiting,
)
from tallow_cli.store.sink import AtHand

HOSTILE = "evil\x1b[2J\u202efdp.exe[bold]x[/bold]\r\n"
CODE = "4821-acorn-blend-crisp"

SNAPSHOT = BenchmarkSnapshot(
    avg_mbps=200.0,
    peak_mbps=240.0,
    min_mbps=120.0,
    current_mbps=212.0,
    avg_rtt_ms=8.5,
    min_rtt_ms=7.1,
    max_rtt_ms=14.2,
    current_rtt_ms=8.2,
    jitter_ms=2.3,
    avg_loss=0.002,
    max_loss=0.011,
    total_bytes=781_189_120,
    seconds=31.2,
    sample_count=156,
    quality_score=95,
    bottleneck=Bottleneck.NONE,
    recommendation="Nothing measured here holds the transfer back.",
)


def channel(index: int, *, paused: bool = False) -> ChannelStats:
    return ChannelStats(
        label="tallow-group-transfer",
        index=index,
        state="open",
        paused=paused,
        buffered_amount=1_200_000,
        bytes_sent=260_000_000,
        bytes_received=0,
        chunks_sent=1984,
        chunks_received=0,
    )


CODE_READY = CodeReady(CODE, server=None, reachable_as="ws://192.168.1.5:41234")
WAITING = Waiting("for the receiver", 600.0)
PEER = PeerAuthenticated("0.1.0" + HOSTILE)
CONNECTED = Connected(
    "aiortc",
    "direct",
    "192.168.1.5",
    "192.168.1.7",
    True,
    3,
    False,
    0,
    True,
    ("no GSO here" + HOSTILE,),
    "local-network",
    40_000,
    50_000,
)
RECONNECTING = Reconnecting("the other side no longer answers", 120.0)
RECONNECTED = Reconnected(2, 41.6, "turbo", "direct", "192.168.1.5", "10.1.2.3", False)
OFFER = Offered(
    "files",
    (
        OfferedEntry("photos", "directory", 0),
        OfferedEntry("photos/" + HOSTILE, "file", 1_000_000),
        OfferedEntry("big.iso", "file", 1_257_242_880),
    ),
    1_258_242_880,
)
RESUMING = Resuming(500_000_000, 1_258_242_880)
VERDICT = Verdict(
    Cause.RECEIVER_DISK, 0.62, 10.0, ((Cause.RECEIVER_DISK, 0.62), (Cause.NETWORK_CAPACITY, 0.38)), 4.0
)
PROGRESS = Progress(781_189_120, 1_258_242_880, eta_s=18.4, files_done=1, files_total=2, verdict=VERDICT)
STATS = Stats(
    SNAPSHOT, (channel(1), channel(2, paused=True), channel(3)), chunk_bytes=262_144, message_bytes=65_536
)
FILE = FileFinished("photos/" + HOSTILE, 1_000_000, saved_as=None)
TEXT = TextReceived("two\nlines\x1b[2J")
NOTICE = Notice("A wrong code was tried: " + HOSTILE)
DONE = Done(1_258_242_880, 2, 50.3, 200.1, SNAPSHOT, verdict=VERDICT)
FAILED = Failed(PeerFailed(HOSTILE, "broken-off"))

EVERY_EVENT: tuple[SessionEvent, ...] = (
    LeftOut(
        (
            LeftOutItem(HOSTILE, "special", "it is a pipe"),
            LeftOutItem("a.o", "excluded", "--exclude names it"),
        )
    ),
    CODE_READY,
    WAITING,
    PEER,
    CONNECTED,
    RECONNECTING,
    RECONNECTED,
    replace(OFFER, here=AtHand(resumed_bytes=500_000_000)),
    RESUMING,
    PROGRESS,
    STATS,
    FILE,
    TEXT,
    NOTICE,
    DONE,
    FAILED,
)
