"""`python -m tallow_cli` and the `tallow` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    _speak_utf8_to_the_file_system()
    from tallow_cli.cli.app import run

    sys.exit(run(sys.argv[1:]))


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
