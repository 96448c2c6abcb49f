"""From the user's `--output` and an offer to the Sink that fits both."""

from __future__ import annotations

import os

from tallow_cli.core.manifest import EntryKind, Manifest
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.sequential_sink import StdoutSink, TextSink
from tallow_cli.store.sink import OnConflict, Sink


def sink_for(
    output: str | None, manifest: Manifest, on_conflict: OnConflict = OnConflict.REFUSE, *, stdout_fd: int = 1
) -> Sink:
    """Choose; creates nothing.

    No output: a text is kept for the screen (TextSink), all else goes into the current directory.
    "-": standard output. An existing directory, or a name that ends in a separator: into it.
    Any other name: the one offered file under it; if more is offered, a directory of that name, made if need
    be.
    """
    if output is None:
        return TextSink() if manifest.kind == "text" else DirectorySink(os.curdir, on_conflict)
    if output == "-":
        return StdoutSink(stdout_fd)
    separators = (os.sep, os.altsep) if os.altsep else (os.sep,)
    if output.endswith(separators) or os.path.isdir(output):
        return DirectorySink(output, on_conflict, make=True)
    if len(manifest.entries) == 1 and manifest.entries[0].kind is EntryKind.FILE:
        return FileSink(output, on_conflict)
    return DirectorySink(output, on_conflict, make=True)
