"""What would be left behind if the process ended now: for the way out that cannot wait for a sink.

A sink removes its own temporaries. But a second Ctrl-C, or a disk that does not answer, ends the process while
a sink is at work in another thread; then whoever ends it calls `remove_all`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading

_paths: set[str] = set()  # absolute; changed and copied in single steps, from any thread


_leaving = False  # the process ends: a temporary made now would stay


def note(path: str) -> None:
    """A temporary is about to stand at `path`, an absolute one whose last component nobody can guess.

    Raises OSError where the process is being left.
    """
    _paths.add(path)  # first: either it is in what `remove_all` copies, or this sees that it runs
    if _leaving:
        forget(path)
        raise OSError(errno.ECANCELED, "this process is being ended")


def forget(path: str) -> None:
    """It is gone, or has its final name."""
    _paths.discard(path)


def remove_all(timeout_s: float) -> None:
    """Remove every temporary of this process, which ends now, from any thread and without a lock. Never raises.

    Returns after `timeout_s` at most: a disk that hangs keeps what it has. What is removed here by its path
    cannot be anybody else's, wherever that path leads by now: its name is unguessable.
    """
    global _leaving
    _leaving = True
    paths = list(_paths)
    if not paths:
        return

    def remove() -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
            forget(path)

    thread = threading.Thread(target=remove, name="tallow-remove", daemon=True)
    thread.start()
    thread.join(timeout_s)
