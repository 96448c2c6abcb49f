"""The sender of a transfer, as a state machine. The driver contract stands in driving.py.

OFFERING ──Accept──▶ SENDING ──all acknowledged, all digests sent──▶ COMPLETING ──Complete──▶ DONE
    │ Refuse            └──────────────────── Complete ─────────────────────────────────────────▲
    └──▶ FAILED ◀── Cancel, Failed, broken protocol, silence, no channel left (from any but DONE)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tallow_cli.core.driving import (
    ChannelCounters,
    ChannelState,
    ChunkSizer,
    OutgoingPacket,
    ReadRequest,
    SendEvent,
    SendFigures,
)


class SendState(Enum):
    OFFERING = "offering"
    SENDING = "sending"
    COMPLETING = "completing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SendOptions:
    sealed: bool = True  # payload is sealed by the shell: marks the header and counts the AEAD tag
    reliable: bool = False  # the data channels are ordered and reliable: nothing is retransmitted here
    max_message_bytes: int = 262_144  # the peer's negotiated maximum for one DataChannel message
    preferred_message_bytes: int = 131_072  # what the engine carries best
    memory_bytes: int = 32 * 1024 * 1024  # bound of data read and not yet acknowledged
    limit_bytes_per_s: float | None = None  # --limit
    idle_timeout_s: float = 30.0  # silence of the peer after which it is gone


class SendMachine:
    """Sends one manifest and one byte stream over `channels` data channels and a control channel.

    `manifest` is opaque; `total_bytes` is None for a stream of unknown length; `file_count` digests will be
    given by `digests`, in order. `chunk_sizer` is asked for the size of each next chunk.
    """

    def __init__(
        self,
        manifest: bytes,
        *,
        total_bytes: int | None,
        file_count: int,
        channels: int,
        chunk_sizer: ChunkSizer,
        now: float,
        options: SendOptions | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def state(self) -> SendState:
        raise NotImplementedError

    @property
    def figures(self) -> SendFigures:
        """Numbers for people and for `AdaptiveBitrateController.report_metrics`; cheap, ask ten times a second."""
        raise NotImplementedError

    @property
    def counters(self) -> Mapping[int, ChannelCounters]:
        """Per data channel, by its index."""
        raise NotImplementedError

    def channel_state(self, now: float, channel: int, state: ChannelState) -> None:
        raise NotImplementedError

    def receive(self, now: float, channel: int, number: int, payload: bytes | memoryview) -> None:
        raise NotImplementedError

    def buffered(self, now: float, channel: int, size_bytes: int) -> None:
        """Of the bytes handed to `channel` (header, payload and tag) the last `size_bytes` have not left yet."""
        raise NotImplementedError

    def next_read(self, now: float) -> ReadRequest | None:
        """The next range to read, or None for now. Ranges come in stream order and are never asked for twice.

        With `total_bytes` None only one is outstanding at a time.
        """
        raise NotImplementedError

    def chunk_read(self, now: float, offset: int, data: bytes) -> None:
        """The bytes of a range `next_read` gave. The machine keeps `data` until it is acknowledged.

        With a known total `data` has exactly the size asked for (else ValueError: a source that shrank is the
        shell's to report, `abort`). With an unknown total it may be shorter, and b"" means the stream has ended.
        """
        raise NotImplementedError

    def digests(self, now: float, first: int, digests: Sequence[bytes]) -> None:
        """BLAKE3 digests (32 bytes each) of the files `first`, `first + 1`, …; in order, each file once."""
        raise NotImplementedError

    def cancel(self, now: float) -> None:
        """The user stops the transfer. State becomes FAILED; no event follows, the shell knows."""
        raise NotImplementedError

    def abort(self, now: float, kind: str, sentence: str) -> None:
        """This side cannot go on (a file vanished). `sentence` is shown to the peer's user."""
        raise NotImplementedError

    def events(self) -> list[SendEvent]:
        raise NotImplementedError

    def packets(self, now: float) -> list[OutgoingPacket]:
        raise NotImplementedError

    def next_timeout(self) -> float | None:
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        raise NotImplementedError
