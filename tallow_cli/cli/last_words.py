"""The last line of a process that could not begin: before there is a renderer, or in place of it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from tallow_cli.errors import ExitCode, Interrupted, Stopped, TallowError, Terminated

# A closed terminal ends a session as SIGTERM does.
EXIT_CODES = {getattr(signal, "SIGHUP", 1): int(ExitCode.TERMINATED)}


def cause(number: int, *, connected: bool = False) -> Stopped:
    """The error that a signal is."""
    kind = Interrupted if number == signal.SIGINT else Terminated
    return kind(connected=connected)


def unexpected(error: Exception) -> TallowError:
    """What to say of an error nobody foresaw."""
    if isinstance(error, ExceptionGroup):
        return unexpected(error.exceptions[0])
    if isinstance(error, TallowError):
        return error
    return TallowError(
        f"Something unexpected happened ({type(error).__name__}: {error}). "
        "Run the command again with TALLOW_DEBUG=1 and report what it prints."
    )


def error_line(error: TallowError) -> str:
    """The `error` event, a line of JSON with its break (docs/reference/json.md)."""
    event = {
        "v": 1,
        "t": round(time.time(), 3),
        "event": "error",
        "kind": error.kind,
        "message": error.sentence,
        "exit_code": int(error.exit_code),
        "retryable": error.retryable,
        "kept_files": None,
        "kept_bytes": None,
        "kept_in": None,
        "unfinished_files": None,
        "unfinished_bytes": None,
        "go_on": None,
        "items": [{"path": path, "reason": reason} for path, reason in error.items],
    }
    return json.dumps(event) + "\n"


def say_at_once(error: TallowError, arguments: Sequence[str]) -> None:
    """Write it to the descriptors themselves: whatever else there may be has not been imported, or hangs."""
    if "--json" in arguments:
        with suppress(OSError):
            os.write(1, error_line(error).encode())
    with suppress(OSError):
        os.write(2, f"tallow: {error.sentence}\n".encode())
