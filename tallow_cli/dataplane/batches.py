"""Packets gathered into send calls: one GSO buffer takes packets of equal size, only its last may be shorter."""

from __future__ import annotations


class BatchBuilder:
    """Appends runs of packets to batches, opening a new one when the size changes or the limits are reached."""

    __slots__ = ("_batch", "_max_bytes", "_max_packets", "_overhead", "_room", "_size", "batches")

    def __init__(self, max_packets: int, max_bytes: int, record_overhead_bytes: int) -> None:
        self.batches: list[list[bytes]] = []
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._overhead = record_overhead_bytes
        self._batch: list[bytes] = []
        self._size = 0  # of every packet but the last
        self._room = 0  # packets that may still join

    def add(self, packets: list[bytes]) -> None:
        """Packets of one run: all of one size, only the last may be shorter."""
        size = len(packets[0])
        fits_as_last = len(packets) == 1 and size < self._size
        if not self._room or (size != self._size and not fits_as_last):
            self._open(size)
        last_size = len(packets[-1])
        start, total = 0, len(packets)
        while start < total:
            if not self._room:
                self._open(size)
            end = min(start + self._room, total)
            self._batch.extend(packets[start:end])
            self._room -= end - start
            start = end
        if last_size < self._size:
            self._room = 0  # a short packet ends its batch

    def add_alone(self, packet: bytes) -> None:
        """A control packet: a send call of its own."""
        self.batches.append([packet])
        self._room = 0

    def _open(self, size: int) -> None:
        self._batch = []
        self.batches.append(self._batch)
        self._size = size
        self._room = max(1, min(self._max_packets, self._max_bytes // (size + self._overhead)))
