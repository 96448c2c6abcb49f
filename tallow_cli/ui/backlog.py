"""What is to be written to a stream and has not been: in order, with the droppable thinned. Knows no stream, no clock.

    backlog.put("code …\\n")                        # never dropped
    backlog.put("12 %\\n", replaces="progress")     # gives way to the next of its kind, if it still waits then
    while (piece := backlog.next_piece()) is not None:
        backlog.written(os.write(descriptor, piece))

Bounded by what it is given: of each droppable kind one piece waits at most, and everything else comes once a session
or once a file. A piece that was begun is finished: half a line would be no line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

# What is handed to one write(2): a reader that reads slowly is seen to do so, and a terminal takes no more at once.
PIECE_BYTES: Final = 4096

# A text, or what makes one in parts: a long one is not made before its turn, nor all at once.
Text = str | Iterable[str]


class _Entry:
    __slots__ = ("kind", "text")

    def __init__(self, text: Text, kind: str | None) -> None:
        self.text: Text | None = text
        self.kind = kind


class Backlog:
    """`encode` turns text into the stream's bytes. Not thread-safe: the caller holds a lock."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        self._encode = encode
        self._entries: deque[_Entry] = deque()
        self._latest: dict[str, _Entry] = {}
        self._parts: Iterator[str] | None = None  # of the entry that is being written
        self._bytes = memoryview(b"")  # encoded and not written
        self.is_closed = False

    @property
    def is_empty(self) -> bool:
        return not self._entries and self._parts is None and not self._bytes

    def put(self, text: Text, replaces: str | None = None) -> None:
        """Append a text. With `replaces`, an earlier one of that kind which still waits is dropped."""
        if self.is_closed:
            return
        entry = _Entry(text, replaces)
        if replaces is not None:
            before = self._latest.pop(replaces, None)
            if before is not None:
                before.text = None
            self._latest[replaces] = entry
        self._entries.append(entry)
        while self._entries and self._entries[0].text is None:
            self._entries.popleft()

    def next_piece(self) -> memoryview | None:
        """What to write now, at most PIECE_BYTES; None if nothing waits."""
        while not self._bytes:
            if self._parts is None:
                entry = self._next_entry()
                if entry is None or entry.text is None:
                    return None
                self._parts = iter((entry.text,) if isinstance(entry.text, str) else entry.text)
            part = next(self._parts, None)
            if part is None:
                self._parts = None
            else:
                self._bytes = memoryview(self._encode(part))
        return self._bytes[:PIECE_BYTES]

    def written(self, count: int) -> None:
        """So many bytes of `next_piece` are out."""
        self._bytes = self._bytes[count:]

    def drop_droppable(self) -> None:
        """Nobody waits for progress any more."""
        for entry in self._latest.values():
            entry.text = None
        self._latest.clear()

    def close(self) -> None:
        """Nothing more can be written: forget what waits, and take nothing more."""
        self.is_closed = True
        self._entries.clear()
        self._latest.clear()
        self._parts = None
        self._bytes = memoryview(b"")

    def _next_entry(self) -> _Entry | None:
        while self._entries:
            entry = self._entries.popleft()
            if entry.kind is not None and self._latest.get(entry.kind) is entry:
                del self._latest[entry.kind]
            if entry.text is not None:
                return entry
        return None
