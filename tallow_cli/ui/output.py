"""Writing to a stream that may be a pipe somebody has closed, or one that cannot encode every letter."""

from __future__ import annotations

from typing import TextIO


class Output:
    """A text stream that never fails the transfer: a reader that went away is written to no more."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._gone = False
        self.is_terminal = stream.isatty()

    def write(self, text: str) -> None:
        """Write and flush. What the stream's encoding lacks is written as escapes."""
        if self._gone:
            return
        try:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                encoding = self.stream.encoding or "ascii"
                self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self.stream.flush()
        except (BrokenPipeError, ValueError):  # ValueError: closed
            self._gone = True

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    @property
    def is_utf8(self) -> bool:
        return (self.stream.encoding or "").lower().replace("-", "") in ("utf8", "utf8sig")
