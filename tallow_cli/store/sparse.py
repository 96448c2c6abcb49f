"""Where the data of a file with holes lies: what is sent of it is one run of bytes, on the disk it is in pieces."""

from __future__ import annotations

from bisect import bisect_right

from tallow_cli.offer.manifest import Entry
from tallow_cli.store.filesystem import NOT_SUPPORTED, Filesystem


class SparseLayout:
    """From offsets in the data to places in the file, which is `length` bytes long."""

    def __init__(self, entry: Entry) -> None:
        self.length = entry.size
        self._starts: list[int] = []  # of each piece, in the data
        self._places: list[int] = []  # and in the file
        data = position = 0
        for start, end in (*entry.holes, (entry.size, entry.size)):
            if position < start:
                self._starts.append(data)
                self._places.append(position)
                data += start - position
            position = end
        self._starts.append(data)  # the end of the data

    def places(self, offset: int, size: int) -> list[tuple[int, int]]:
        """(place in the file, bytes) for each piece of a range of the data."""
        found = []
        index = bisect_right(self._starts, offset) - 1
        while size > 0:
            within = offset - self._starts[index]
            length = min(size, self._starts[index + 1] - offset)
            found.append((self._places[index] + within, length))
            offset += length
            size -= length
            index += 1
        return found


def layout_of(entry: Entry) -> SparseLayout | None:
    """None for a file without holes."""
    return SparseLayout(entry) if entry.holes else None


def set_whole_length(filesystem: Filesystem, fd: int, length: int) -> None:
    """Give a file its whole length, holes and all. Raises OSError.

    Where no file can be lengthened without writing (FAT, some network mounts), its last byte is written: what lies
    before that reads as zeros (POSIX, write()), and a file system without holes fills it in.
    """
    try:
        filesystem.set_length(fd, length)
    except OSError as problem:
        if problem.errno not in NOT_SUPPORTED:
            raise
        there = filesystem.status(fd).st_size
        if there > length:
            raise
        if there < length and filesystem.write(fd, length - 1, b"\0") != 1:
            raise
