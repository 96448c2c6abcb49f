"""What a machine of either side is made with."""

from __future__ import annotations

from dataclasses import dataclass

from tallow_cli.offer.manifest import MAX_MANIFEST_BYTES
from tallow_cli.offer.name_rules import POSIX, NameRules
from tallow_cli.transfer.assembly import MAX_BACKLOG_WRITES
from tallow_cli.transfer.buffer_marks import DEFAULT_BUFFER_HIGH, DEFAULT_BUFFER_LOW
from tallow_cli.transfer.messages import MAX_CLAIMED_RANGES
from tallow_cli.transfer.pieces import SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class SendOptions:
    sealed: bool = True  # payload is sealed by the shell: marks the header and counts the AEAD tag
    reliable: bool = False  # the data channels are ordered and reliable: nothing is retransmitted here
    retransmissions: int = (
        0  # how often unreliable channels send a packet again before they give its message up
    )
    max_message_bytes: int = 262_144  # the peer's negotiated maximum for one DataChannel message
    preferred_message_bytes: int = 131_072  # what the engine carries best
    memory_bytes: int = 24 * 1024 * 1024  # bound of data read and not yet acknowledged: a process of 150 MiB
    limit_bytes_per_s: float | None = None  # --limit
    buffer_high: int = DEFAULT_BUFFER_HIGH  # a channel with so much in its local buffer gets nothing new …
    buffer_low: int = DEFAULT_BUFFER_LOW  # … until it has drained to this
    idle_timeout_s: float = 60.0  # silence of the peer after which it is gone
    segment_bytes: int = SEGMENT_BYTES  # as in the spec; both ends have the same


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    sealed: bool = True  # payload is sealed by the shell: marks the header
    max_message_bytes: int = 262_144  # the peer's negotiated maximum for one DataChannel message
    window_bytes: int = 32 * 1024 * 1024  # bound of data received and not yet written
    max_manifest_bytes: int = MAX_MANIFEST_BYTES
    names: NameRules = POSIX  # what names have to keep where it goes; the sender is told
    idle_timeout_s: float = 60.0  # silence of the peer after which it is gone
    bye_timeout_s: float = 5.0  # how long to wait for the sender's goodbye once it has our report
    # How long nothing but digests of pieces may be missing, and none come. The slowest disk reads a piece of 4 MiB in
    # that time; who tells none for so long never will.
    pieces_timeout_s: float = 600.0
    max_claimed_ranges: int = MAX_CLAIMED_RANGES  # of what is claimed, the largest
    max_backlog_writes: int = MAX_BACKLOG_WRITES  # pieces that wait for the disk
    segment_bytes: int = SEGMENT_BYTES  # as in the spec; both ends have the same
