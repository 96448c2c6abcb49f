"""From the user's `--output` and an offer to the Sink that fits both, and a look at the place before the offer."""

from __future__ import annotations

import os

from tallow_cli.errors import BadOption, TargetExists, TargetMissing, TargetNotDirectory, TargetUnwritable
from tallow_cli.offer.manifest import EntryKind, Manifest
from tallow_cli.offer.names import ForbiddenName, local_name
from tallow_cli.store.directory_sink import DirectorySink, FileSink
from tallow_cli.store.failures import displayable, target_error
from tallow_cli.store.receive_root import kind_of
from tallow_cli.store.sequential_sink import StdoutSink, TextSink
from tallow_cli.store.sink import OnConflict, Sink


def sink_for(
    output: str | None,
    manifest: Manifest,
    on_conflict: OnConflict = OnConflict.REFUSE,
    *,
    resume: bool = True,
    stdout_fd: int = 1,
) -> Sink:
    """Choose; creates nothing.

    No output: a text is kept for the screen (TextSink), all else goes into the current directory.
    "-": standard output. An existing directory, or a name that ends in a separator: into it.
    Any other name: the one offered file under it; if more is offered, a directory of that name. Directories that are
    missing are made. `resume`: go on with what an earlier receive of the same things left.
    """
    if output is None:
        return TextSink() if manifest.kind == "text" else DirectorySink(os.curdir, on_conflict, resume=resume)
    if output == "-":
        return StdoutSink(stdout_fd)
    if _names_directory(output):
        return DirectorySink(output, on_conflict, make=True, resume=resume)
    if len(manifest.entries) == 1 and manifest.entries[0].kind is EntryKind.FILE:
        return FileSink(output, on_conflict, resume=resume)
    return DirectorySink(output, on_conflict, make=True, resume=resume)


def check_destination(output: str, *, replaces_or_renames: bool) -> None:
    """Look whether `output`, a path, can take anything at all. Creates nothing, and promises nothing: it may change.

    Under the same rules as `sink_for`, as far as they can be known before the offer. `replaces_or_renames`: a name that
    is taken is no hindrance.
    Raises BadOption, TargetMissing, TargetNotDirectory, TargetExists, TargetUnwritable.
    """
    shown = displayable(output)
    try:
        if _names_directory(output):
            _check_directory(output)
            return
        directory, name = os.path.split(output)
        local_name(name)
        _check_directory(directory or os.curdir)
        if _existing(directory or os.curdir) is None:
            raise TargetMissing(displayable(directory))
        if _existing(output) is not None and not replaces_or_renames:
            raise TargetExists(shown)
    except (ForbiddenName, ValueError):  # ValueError: a NUL, which no path holds
        raise BadOption("--output", f"{shown!r} is not the name of a file or a directory") from None
    except OSError as problem:
        raise target_error(problem, shown) from problem


def _names_directory(output: str) -> bool:
    separators = (os.sep, os.altsep) if os.altsep else (os.sep,)
    return output.endswith(separators) or os.path.isdir(output)


def _check_directory(path: str) -> None:
    """Whether files can be made in it, or in what is to be made: then the nearest that is there counts."""
    path = path.rstrip(os.sep) or os.sep
    while _existing(path) is None and path != os.curdir:
        path = os.path.dirname(path) or os.curdir
    shown = _named(path)
    status = os.stat(path)
    if kind_of(status) != "directory":
        raise TargetNotDirectory(shown)
    if not status.st_nlink and os.name == "posix":  # one that we are in, or have open
        raise TargetUnwritable(shown, "it has been removed")
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=effective):
        raise TargetUnwritable(shown, "no permission, or its file system is read-only")


def _named(path: str) -> str:
    """A path as a sentence begins with it: a dot alone says nothing."""
    if path != os.curdir:
        return displayable(path)
    try:
        return displayable(os.getcwd())
    except OSError:
        return "The current directory"


def _existing(path: str) -> os.stat_result | None:
    """What stands there. Raises OSError where one cannot look: that is not missing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
