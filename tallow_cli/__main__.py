"""`python -m tallow_cli` and the `tallow` command."""

from __future__ import annotations

import os
import sys

from signaling.starting import QuietInterrupts

_INTERRUPTED = 130  # `errors.ExitCode.INTERRUPTED`, which is not imported yet

with QuietInterrupts(_INTERRUPTED):
    from signaling.process import Ending, SignalHeard, open_standard_streams
    from tallow_cli.cli.last_words import EXIT_CODES, cause, say_at_once


def main() -> None:
    """Run the command line and exit with its code. From here to the end, a signal ends the process within 5 s."""
    with QuietInterrupts(_INTERRUPTED):
        _speak_utf8_to_the_file_system()
        closed = open_standard_streams()  # first: whatever else is opened must not get their descriptors
        arguments = sys.argv[1:]
        ending = Ending(codes=EXIT_CODES, fuse=True)
        ending.speaker = lambda number: say_at_once(cause(number), arguments)
        ending.__enter__()  # for good: what is left of the process ends by it too
    try:
        from tallow_cli.cli.app import run
        from tallow_cli.cli.environment import Environment

        code = run(arguments, Environment(closed=closed, ending=ending))
    except SignalHeard as stopped:  # while this was imported
        ending.speaker = None
        error = cause(stopped.signum)
        say_at_once(error, arguments)
        code = error.exit_code
    ending.rest()
    sys.exit(code)


def _speak_utf8_to_the_file_system() -> None:
    """Start again in Python's UTF-8 mode (PEP 540) where the locale has another encoding.

    Names travel as UTF-8 and are bytes on the disk; the locale must not decide what they mean, or whether they can be
    created at all. The streams keep the encoding the terminal has.
    """
    if os.name != "posix" or sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    streams = f"{sys.stdout.encoding}:{sys.stdout.errors}" if sys.stdout else ""
    os.environ.setdefault("PYTHONIOENCODING", streams)
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the very command that runs


if __name__ == "__main__":
    main()
