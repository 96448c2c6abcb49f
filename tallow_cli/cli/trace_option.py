"""`--trace FILE`: opened before anything is asked, found out or spent; said to be incomplete where it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, time
from typing import TYPE_CHECKING

from tallow_cli.cli.environment import Environment
from tallow_cli.cli.options import path_option
from tallow_cli.errors import BadOption

if TYPE_CHECKING:
    from tallow_cli.tracing import Trace


def refuse_trace_within(paths: Iterable[str], trace: str | None) -> None:
    """Raises BadOption for a trace in a directory that is sent: it would be sent, half written."""
    if trace is None:
        return
    place = os.path.realpath(path_option("--trace", trace))
    for path in paths:
        directory = os.path.realpath(path)
        if os.path.isdir(directory) and os.path.commonpath((directory, place)) == directory:
            raise BadOption("--trace", f"it would be sent itself, with {path}; put it elsewhere")


@contextmanager
def tracing(path: str | None, environment: Environment, role: str) -> Iterator[Trace | None]:
    """The trace that `--trace` asks for, None without. A file in which nothing came to stand is removed.

    Raises BadOption, ReportExists, TargetUnwritable.
    """
    path = path_option("--trace", path)
    if path is None:
        yield None
        return
    from tallow_cli.session.trace_file import open_trace
    from tallow_cli.ui.sanitize import one_line

    trace = open_trace(path, role=role, now=monotonic(), unix_time=time())
    try:
        yield trace
    finally:
        shortfall = trace.close()
        if shortfall is not None:
            environment.people.line(one_line(shortfall))
        if not trace.events and os.path.isfile(path):
            with suppress(OSError):
                os.unlink(path)
