"""Standard streams a test can look into."""

from __future__ import annotations

import io


class Stream(io.StringIO):
    """A text stream that says whether it is a terminal, and in which encoding."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # io.StringIO says None
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


class BrokenPipe(Stream):
    """Its reader has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError
