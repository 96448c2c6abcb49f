"""Where the bytes of a transfer land: the `Sink` protocol, which every kind of sink keeps.

a directory             store.directory_sink.DirectorySink
one file (-o FILE)      store.directory_sink.FileSink
standard output (-o -)  store.sequential_sink.StdoutSink
--text                  store.sequential_sink.TextSink
benchmarks              store.sequential_sink.NullSink
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from tallow_cli.offer.manifest import Manifest
from tallow_cli.ranges import RangeSet


class OnConflict(StrEnum):
    """What to do where a name of the offer is already taken."""

    REFUSE = "refuse"  # raise TargetExists before anything is received
    RENAME = "rename"  # receive it as "name (1).ext"; a directory becomes "name (1)"
    SKIP = "skip"  # merge; keep files of the offered size and time, refuse if others are there
    UPDATE = (
        "update"  # as overwrite, but files of the same content stay, and of others only what differs is sent
    )
    OVERWRITE = "overwrite"  # replace files once they are verified; merge into directories; never cross kinds


@dataclass(frozen=True, slots=True)
class Conflict:
    """A name of the offer that is already taken at the destination. Both texts came from the peer:
    untrusted.
    """

    path: str  # as offered
    existing_kind: str  # "file", "directory", "symlink" or "special"
    renamed_to: str | None = None  # under OnConflict.RENAME: what it would be called


@dataclass(frozen=True, slots=True)
class Published:
    """A file is verified, synced, and stands complete under its final name."""

    file_index: int
    path: str  # as offered: untrusted text
    size: int
    saved_as: str | None  # where it is now, for people; None where nothing was kept


@dataclass(frozen=True, slots=True)
class Holding:
    """What of an offer a sink has, and need not be sent. The sets are the caller's to keep."""

    held: RangeSet = field(default_factory=RangeSet)  # of the stream: taken in, and known to be what was sent
    kept: RangeSet = field(default_factory=RangeSet)  # of file indexes: neither bytes nor digests are wanted
    claims: RangeSet = field(default_factory=RangeSet)  # of the stream: said to be there; to be proven first


@dataclass(frozen=True, slots=True)
class AtHand:
    """What of an offer lies at the destination, by what a journal and the file system say. Nothing of it was read, so
    it may turn out to be less.
    """

    resumed_bytes: int = 0  # that an earlier receive left
    kept_files: int = 0  # that stay as they are, and are not sent
    kept_bytes: int = 0
    compared_files: int = 0  # that stand there: of them what differs is sent
    compared_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Suspended:
    """What a transfer that did not come to its end has left at its destination."""

    published: tuple[Published, ...] = ()  # just then; see Sink.abort
    files: int = 0  # unfinished ones, kept to be gone on with
    bytes: int = 0  # of theirs
    path: str | None = None  # where they are, for people; None where nothing is kept


@runtime_checkable
class Sink(Protocol):
    """One transfer's destination. It outlives connections.

    Caller's duties, in order: `conflicts` and perhaps `at_hand` (before consent), `open` (after consent), any number of
    `write`, `prove` and `finish`, then `complete`; on any failure `suspend` or `abort` instead; `close` in the end,
    whatever happened. One thread at a time (a worker thread: every call may block on the disk); they need not be the
    same thread.

    What `open` claims is proven in pieces, each within one file: `prove` it, compare with what the sender says of its
    bytes, and tell by `proved` or `refuted`. A refuted piece is written like any other.
    """

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what was done differently (a link that could not be made). Show them; nothing
        failed.
        """

    def conflicts(self, manifest: Manifest) -> list[Conflict]:
        """Which names of the offer are taken, without creating anything.

        Under any policy: the caller decides whom to ask. Raises TargetNotDirectory, TargetUnwritable.
        """

    def at_hand(self, manifest: Manifest) -> AtHand:
        """What of the offer is there already; after `conflicts`. Reads no file, and creates nothing.

        Nothing where the policy refuses the offer, or a look at it fails: `open` says so.
        """

    def open(self, manifest: Manifest) -> Holding:
        """Validate all names, check the policy and the free space, and make ready. Creates directories.

        Returns what is there already, left by an earlier attempt or matched by the policy.
        Raises PeerProtocolError, TargetExists, TargetNotDirectory, TargetUnwritable, DiskFull, UsageError.
        """

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> int:
        """Take bytes of the stream at `offset`; ranges may come in any order, each byte once.

        Returns how many bytes left our memory through this call, which is what credit may be granted for: for
        a file it is len(data); standard output holds back what is out of order and may report 0, or more than
        len(data), later. Raises DiskFull, TargetUnwritable.
        """

    def holding(self) -> Holding:
        """What it has now, for the next connection of the same transfer: what was written or proven, what is still to
        be proven, and as `kept` the files that were returned as Published (and those that `open` said to be kept).

        A file that is finished and waits to be published is held: `finish` will be called for it again.
        """

    def prove(self, start: int, end: int) -> bytes:
        """The BLAKE3 of what lies on the disk for [start, end) of the stream, which was claimed and lies in one file.

        Reads at most what is asked for. What cannot be read, or is not there any more, gives a digest that no data has.
        Raises ValueError if it was not claimed, or is settled already.
        """

    def proved(self, start: int, end: int) -> None:
        """What `prove` was asked about is what was sent: it counts as written. Raises DiskFull, TargetUnwritable."""

    def refuted(self, start: int, end: int) -> None:
        """It is not: it will be written. Also without `prove`, for what shall be sent after all."""

    def catch_up(self, file_index: int, budget_bytes: int) -> bool:
        """Hash about `budget_bytes` at most of what was written or proven out of order, so that `finish` need not.

        True when nothing is left to be done for this file. Raises as `write`.
        """

    def forget_waiting(self) -> None:
        """Drop what `write` took and has not counted yet, for it will come again: the connection was lost.

        Does nothing for a sink that writes in any order. Does not block.
        """

    def finish(self, file_index: int, digest: bytes) -> tuple[Published, ...]:
        """All bytes of this file have been written and the sender says its BLAKE3 is `digest`: verify it. For a file
        that is verified already this does no more than `publish_due`.

        Files are synced and published in batches, for speed: returns those published by this call, often
        none. For a stream the length is what was written. Raises DigestMismatch (the temporary is gone then),
        TargetExists (someone took the name meanwhile), TargetChanged, DiskFull, TargetUnwritable; ValueError if
        bytes are missing.
        """

    def skip(self, file_index: int) -> int:
        """The sender has withdrawn this file, and all is written that will ever come of it: drop it. May be called
        again for one that is dropped already.

        Returns by how many bytes of the stream a sink that keeps order stands further on, as `write` does; else 0.
        Raises as `write`; ValueError if the file is finished already.
        """

    def publish_due(self) -> tuple[Published, ...]:
        """Publish what is verified and has waited for others long enough; to be called every second or so.

        Returns what was published. Raises as `finish`.
        """

    def complete(self) -> tuple[Published, ...]:
        """Every file is finished or skipped: publish what is left, make links, set directories' modes and times, sync
        all.

        After it returns, everything is durable and the receiver may report completion. Returns the remaining
        Published. Raises as `finish`; ValueError if a file is not finished.
        """

    def suspend(self) -> Suspended:
        """Stop here, to be gone on with by the next receive of the same things: publish what is verified, and keep
        what is unfinished. A sink that cannot, or shall not, does what `abort` does.

        Never raises, as `abort`. Does nothing after `complete`, `suspend` or `abort`.
        """

    def abort(self) -> tuple[Published, ...]:
        """Give up: publish what is verified, remove our temporaries and the directories we made that are still
        empty. Published files stay.

        Returns what was published and not yet returned, also by a call that raised. Never raises: what cannot be
        published is removed, what cannot be removed stays. Does nothing after `complete`.
        """

    def close(self) -> None:
        """Release descriptors; suspends first unless it is completed or aborted. May be called twice."""
