"""One JSON object per line on standard output: the interface for scripts (docs/reference/json.md).

Output is pure ASCII (everything else is escaped, as JSON allows), so no text of a peer can act on a terminal,
while a parser gets every path and message exactly as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from tallow_cli.session.events import Failed, Offered, OfferedEntry, Progress, SessionEvent, Stats
from tallow_cli.ui.output import Output
from tallow_cli.ui.sink import EventSink

FORMAT_VERSION: Final = 1
_ENTRIES_AT_ONCE: Final = 500  # of an offer: encoding them takes about a millisecond
_NO_ENTRIES: Final = '"entries": []'  # no text of a peer can hold this: its quotes would be escaped


class JsonLinesRenderer(EventSink):
    """Writes every event; while the reader is behind, of `progress` and `stats` only the newest that fits.

    `clock` gives the Unix time in seconds for the field `t`.
    """

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.time) -> None:
        self._output = output
        self._clock = clock

    def handle(self, event: SessionEvent) -> None:
        now = self._clock()
        match event:
            case Failed():
                self._output.put(json_line(event.event, error_fields(event), now=now))
            case Offered():
                self._output.put(_offer(event, now))
            case Progress() | Stats():
                line = json_line(event.event, msgspec.to_builtins(event), now=now)
                self._output.put(line, replaces=event.event)
            case _:
                self._output.put(json_line(event.event, msgspec.to_builtins(event), now=now))


def _offer(event: Offered, now: float) -> Iterator[str]:
    """The line in parts, made when they are wanted: an offer may have a million entries."""
    bare = json_line(event.event, msgspec.to_builtins(replace(event, entries=())), now=now)
    before, after = bare.split(_NO_ENTRIES)
    yield before + '"entries": ['
    for start in range(0, len(event.entries), _ENTRIES_AT_ONCE):
        yield (", " if start else "") + _entries(event.entries[start : start + _ENTRIES_AT_ONCE])
    yield "]" + after


def _entries(entries: tuple[OfferedEntry, ...]) -> str:
    return json.dumps(msgspec.to_builtins(entries))[1:-1]


def json_line(event: str, fields: Mapping[str, Any], *, now: float) -> str:
    """Return one line, its break included. `fields` holds what JSON can: numbers, texts, lists, mappings."""
    return json.dumps({"v": FORMAT_VERSION, "t": round(now, 3), "event": event, **fields}) + "\n"


def error_fields(event: Failed) -> dict[str, Any]:
    """Return the fields of an `error` event."""
    error, kept = event.error, event.kept
    return {
        "kind": error.kind,
        "message": error.sentence,
        "exit_code": int(error.exit_code),
        "retryable": error.retryable,
        "kept_files": None if kept is None else kept.files,
        "kept_bytes": None if kept is None else kept.bytes,
        "kept_in": None if kept is None else kept.place,
        "unfinished_files": None if kept is None else kept.unfinished_files,
        "unfinished_bytes": None if kept is None else kept.unfinished_bytes,
        "detail": error.findings,
        "go_on": None if kept is None else kept.go_on,
        "items": [{"path": path, "reason": reason} for path, reason in error.items],
    }
