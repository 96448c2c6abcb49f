"""Finding the holes of a sparse file, which are neither read nor sent."""

from __future__ import annotations

import errno
import os
from typing import Final

Hole = tuple[int, int]  # half-open

# Below, a hole costs as much to say as to send: and file systems keep holes in units of blocks anyway.
LEAST_HOLE_BYTES: Final = 64 * 1024
_BLOCK_BYTES: Final = 512  # st_blocks counts these everywhere


def looks_sparse(status: os.stat_result) -> bool:
    """Whether less is on the disk than the size says. A compressed file may look so, too."""
    blocks: int | None = getattr(status, "st_blocks", None)
    return (
        blocks is not None
        and status.st_size >= LEAST_HOLE_BYTES
        and blocks * _BLOCK_BYTES + LEAST_HOLE_BYTES <= status.st_size
    )


def find_holes(fd: int, size: int, most: int) -> tuple[Hole, ...]:
    """The holes of a file of `size` bytes, ascending; the `most` largest of them. () where the system cannot tell.

    Raises OSError.
    """
    if not hasattr(os, "SEEK_DATA"):
        return ()
    holes: list[Hole] = []
    position = 0
    while position < size:
        data = _seek(fd, position, os.SEEK_DATA)
        if data is None:
            return ()
        end = min(data, size)
        if end - position >= LEAST_HOLE_BYTES:
            holes.append((position, end))
        if data >= size:
            break
        hole = _seek(fd, data, os.SEEK_HOLE)
        if hole is None or hole <= data:
            return ()
        position = hole
    if len(holes) > most:
        largest = sorted(holes, key=lambda hole: hole[0] - hole[1])[:most]
        holes = sorted(largest)
    return tuple(holes)


def _seek(fd: int, position: int, whence: int) -> int | None:
    """None where holes cannot be told; the end of all for data that is none."""
    try:
        return os.lseek(fd, position, whence)
    except OSError as problem:
        if problem.errno == errno.ENXIO:  # no data behind this position
            return 2**63 - 1
        if problem.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS):
            return None
        raise
