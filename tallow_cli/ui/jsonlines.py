"""One JSON object per line on standard output: the interface for scripts (docs/reference/json.md).

Output is pure ASCII (everything else is escaped, as JSON allows), so no text of a peer can act on a terminal,
while a parser gets every path and message exactly as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tallow_cli.errors import TallowError, Unsendable
from tallow_cli.session.events import Failed, SessionEvent
from tallow_cli.ui.output import Output

FORMAT_VERSION: Final = 1


class JsonLinesRenderer:
    """Writes every event. `clock` gives the Unix time in seconds for the field `t`."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.time) -> None:
        self._output = output
        self._clock = clock

    def start(self) -> None:
        """Nothing to set up."""

    def handle(self, event: SessionEvent) -> None:
        fields = error_fields(event) if isinstance(event, Failed) else msgspec.to_builtins(event)
        self._output.write(json_line(event.event, fields, now=self._clock()))

    def close(self) -> None:
        """Nothing to tear down."""


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
        "items": _items(error),
    }


def _items(error: TallowError) -> list[dict[str, str]]:
    """What the sentence only counts."""
    if not isinstance(error, Unsendable):
        return []
    return [{"path": path, "reason": reason} for path, reason in error.items]
