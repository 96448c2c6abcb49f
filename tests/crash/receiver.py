"""A receiver that is killed at a chosen point: run as a program by test_kill.py.

    python receiver.py TARGET POLICY REPORT

Forks once per point: before and after each operation that changes the disk. Each child receives OFFER into
TARGET/<number> and dies there by SIGKILL; a line "number operation status" per child goes to REPORT. The last
child is not killed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from blake3 import blake3

from tallow_cli.offer.manifest import Manifest
from tallow_cli.store.directory_sink import DirectorySink
from tallow_cli.store.limits import ReceiveLimits
from tallow_cli.store.sink import OnConflict
from tests.support.disk import TraceFilesystem, directory_entry, file_entry, files, kill_myself, link_entry

OFFER = files(
    directory_entry("site"),
    file_entry("site/large", 300_000),
    file_entry("site/small", 5),
    directory_entry("site/sub"),
    file_entry("site/sub/empty", 0),
    file_entry("site/sub/more", 70_000),
    link_entry("site/link", "small"),
)
CONTENTS = {
    "site/large": b"L" * 300_000,
    "site/small": b"small",
    "site/sub/empty": b"",
    "site/sub/more": b"M" * 70_000,
}
OLD = b"what stood there before"


def prepare(root: Path, policy: OnConflict) -> None:
    root.mkdir()
    if policy is not OnConflict.REFUSE:
        (root / "site").mkdir()
        (root / "site" / "small").write_bytes(OLD)


class Point:
    """Counts operations, and kills the process ahead of or behind the one with the wanted number."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.passed = 0
        self.operation = "end"

    def __call__(self, operation: str) -> None:
        if self.passed == self.wanted:
            kill_myself()
        self.passed += 1


LIMITS = ReceiveLimits(batch_files=2)  # publish in the middle of the transfer, too


def receive(root: Path, policy: OnConflict, point: Point) -> None:
    sink = DirectorySink(root, policy, filesystem=TraceFilesystem(point, point), limits=LIMITS)
    manifest: Manifest = OFFER
    sink.open(manifest)
    stream = b"".join(CONTENTS[span.entry.path] for span in manifest.file_spans)
    spans = iter(manifest.file_spans)
    span = next(spans)
    for offset in range(0, len(stream) + 1, 65_536):
        sink.write(offset, stream[offset : offset + 65_536])
        while span is not None and span.end <= offset + 65_536:
            sink.finish(span.index, blake3(CONTENTS[span.entry.path]).digest())
            span = next(spans, None)  # type: ignore[assignment]  # None ends it
    sink.complete()
    sink.close()


def main(target: Path, policy: OnConflict, report: Path) -> None:
    with report.open("w") as lines:
        for number in range(1000):
            root = target / str(number)
            prepare(root, policy)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    receive(root, policy, Point(number))
                    status = 0
                finally:
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            print(number, status, file=lines, flush=True)
            if status == 0:
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]), OnConflict(sys.argv[2]), Path(sys.argv[3]))
