"""A receiver that is killed at a chosen point and leaves what can be gone on with: run as a program by test_resume.py.

    python -m tests.crash.resuming TARGET SHAPE KILLED REPORT

Forks once per point: before and after each operation that changes the disk. Each child receives into TARGET/<number>,
goes on with what is there, and dies by SIGKILL; a line "number status written" per child goes to REPORT, where
`written` is how much of the stream it had written or proven by then. The last child is not killed. With KILLED above 0,
each TARGET/<number> was received into before by one that was killed at that point.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import sys
from pathlib import Path

from blake3 import blake3

from tallow_cli.errors import LocalFileError
from tallow_cli.offer.manifest import Entry, EntryKind, Manifest, pack_holes
from tallow_cli.ranges import RangeSet
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.filesystem import Filesystem
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.transfer.pieces import Pieces
from tests.crash.receiver import Point
from tests.support.disk import TraceFilesystem, directory_entry, file_entry, files, link_entry

NOTE_BYTES = 128 * 1024
LIMITS = ReceiveLimits(batch_files=2, note_bytes=NOTE_BYTES)  # publish in the middle of the transfer, too
STEP_BYTES = 64 * 1024
_RNG = random.Random(88)

SHAPES: dict[str, tuple[Manifest, dict[str, bytes]]] = {}


def _shape(name: str, manifest: Manifest) -> None:
    contents = {span.entry.path: _RNG.randbytes(span.size) for span in manifest.file_spans}
    SHAPES[name] = (manifest, contents)


_shape("large", files(file_entry("large", 1_000_000)))
_shape("many", files(directory_entry("many"), *(file_entry(f"many/{n}", 7_000 * n) for n in range(9))))
_shape(
    "sparse",
    files(
        directory_entry("tree", 0o750),
        Entry(
            "tree/sparse",
            EntryKind.FILE,
            3_000_000,
            0o640,
            1_700_000_000_000_000_000,
            None,
            pack_holes([(100_000, 2_000_000), (2_500_000, 3_000_000)]),
        ),
        directory_entry("tree/deep"),
        file_entry("tree/deep/small", 5),
        link_entry("tree/deep/link", "small"),
        file_entry("top", 70_000),
    ),
)


def stream_of(shape: str) -> bytes:
    manifest, contents = SHAPES[shape]
    return b"".join(contents[span.entry.path] for span in manifest.file_spans)


class Count:
    """How far a child came, seen by its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def bytes(self) -> int:
        return int(struct.unpack("=q", self._memory[:])[0])

    @bytes.setter
    def bytes(self, value: int) -> None:
        self._memory[:] = struct.pack("=q", value)


def receive(root: Path, shape: str, filesystem: Filesystem | None, count: Count) -> int:
    """Go on with what is there to the end; what was proven to be there."""
    manifest, contents = SHAPES[shape]
    stream = stream_of(shape)
    sink = DirectorySink(root, resume=True, filesystem=filesystem, limits=LIMITS)
    try:
        return _receive(sink, manifest, contents, stream, count)
    except LocalFileError:
        sink.close()
        raise


def _receive(
    sink: DirectorySink, manifest: Manifest, contents: dict[str, bytes], stream: bytes, count: Count
) -> int:
    sink.conflicts(manifest)
    holding = sink.open(manifest)
    there = RangeSet(holding.held)
    for start, end in Pieces([span.end for span in manifest.file_spans], holding.claims):
        if sink.prove(start, end) == blake3(stream[start:end]).digest():
            sink.proved(start, end)
            there.add(start, end)
            count.bytes = there.total
        else:
            sink.refuted(start, end)
    proven = there.total
    for start, end in there.gaps(0, len(stream)):
        for at in range(start, end, STEP_BYTES):
            data = stream[at : min(at + STEP_BYTES, end)]
            sink.write(at, data)
            there.add(at, at + len(data))
            count.bytes = there.total
            for span in manifest.file_spans:
                if there.covers(span.start, span.end):
                    sink.finish(span.index, blake3(contents[span.entry.path]).digest())
    for span in manifest.file_spans:
        sink.finish(span.index, blake3(contents[span.entry.path]).digest())
    sink.complete()
    sink.close()
    return proven


def killed_at(root: Path, shape: str, number: int, count: Count) -> int:
    """Receive in a child that is killed at a point, if it comes there; its wait status."""
    count.bytes = 0
    child = os.fork()
    if child == 0:
        status = 1
        try:
            point = Point(number)
            receive(root, shape, TraceFilesystem(point, point), count)
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def main(target: Path, shape: str, killed: int, report: Path) -> None:
    count = Count()
    with report.open("w") as lines:
        for number in range(2000):
            root = target / str(number)
            root.mkdir()
            if killed:
                killed_at(root, shape, killed, count)
            status = killed_at(root, shape, number, count)
            print(number, status, count.bytes, file=lines, flush=True)
            if status == 0:
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
