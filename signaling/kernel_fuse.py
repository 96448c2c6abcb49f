"""A fuse that the kernel lights: where C code keeps the interpreter's lock for ever, no line of Python runs any more.

Python's signal handler is C and writes a byte into the pipe of `signal.set_wakeup_fd`, lock or no lock. The pipe is
told (F_SETSIG, fcntl(2)) to send this process signal 4 when a byte comes, and the handler of signal 4 is libc's
`alarm`, which takes the number for seconds: 4 s later SIGALRM ends the process, unless Python comes so far as to set
the timer anew, which it does within milliseconds where it is alive. No compiled code, no process, nothing to do while
nobody signals.

Signal 4 is SIGILL. One thread alone hears it, everywhere else it is blocked: a real illegal instruction is fatal there
as ever, for the kernel does not hold back a blocked signal that it must force. Linux only.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

FUSE_SIGNAL: Final = 4  # SIGILL on every architecture of Linux; 5 (SIGTRAP) would be too late for 5 s
SECONDS: Final = float(FUSE_SIGNAL)


def lay(ear: int) -> bool:
    """From now on a byte that is written into the pipe that `ear` reads ends the process in `SECONDS`, unless the timer
    ITIMER_REAL is set anew. SIGALRM must have its default action. False where the system cannot.

    For the main thread, before it starts others; the thread that will hear the byte then calls `hear`.
    """
    if sys.platform != "linux":
        return False
    try:
        import ctypes
        import fcntl

        libc = ctypes.CDLL(None)
        libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        libc.signal.restype = ctypes.c_void_p
        signal.pthread_sigmask(signal.SIG_BLOCK, {FUSE_SIGNAL})
        libc.signal(FUSE_SIGNAL, ctypes.cast(libc.alarm, ctypes.c_void_p))
        fcntl.fcntl(ear, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(ear, fcntl.F_SETSIG, FUSE_SIGNAL)
        fcntl.fcntl(ear, fcntl.F_SETFL, fcntl.fcntl(ear, fcntl.F_GETFL) | fcntl.FASYNC)
    except (ImportError, OSError, AttributeError):  # no ctypes, a sandbox, no shared libc
        return False
    return True


def hear() -> None:
    """Let this thread be the one that lights the fuse."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {FUSE_SIGNAL})


def take_up(ear: int) -> None:
    """Undo `lay` (the pipe is about to be closed)."""
    if sys.platform != "linux":
        return
    import fcntl

    fcntl.fcntl(ear, fcntl.F_SETFL, fcntl.fcntl(ear, fcntl.F_GETFL) & ~fcntl.FASYNC)
    signal.signal(FUSE_SIGNAL, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {FUSE_SIGNAL})
