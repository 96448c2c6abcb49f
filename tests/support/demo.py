"""`make demo`: make a file, send it between two real processes, compare, say how fast it was, and clean up."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tallow_cli.quantities import parse_size

BLOCK = 2**20
# On one machine nothing but the limit would leave time to look at the panel.
LIMIT = "400Mbit"


def main(size_text: str) -> int:
    """Run the demo in ./demo, which is gone afterwards. Returns the exit code."""
    directory = Path("demo").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    try:
        return _demonstrate(directory, parse_size(size_text))
    except KeyboardInterrupt:  # both processes had it too, and have said so
        return 130
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _demonstrate(directory: Path, size: int) -> int:
    received = directory / "received"
    received.mkdir(parents=True)
    source = directory / "demo.bin"
    print(f"Making demo/{source.name} ({size:,} random bytes) …", flush=True)
    with source.open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(os.urandom(min(BLOCK, size - start)))

    tallow = [sys.executable, "-m", "tallow_cli"]
    print(
        f"$ tallow send --limit {LIMIT} demo.bin     (another process runs `tallow recv CODE`)\n", flush=True
    )
    # Standard output of a sender that is not a terminal carries the code alone: that is how scripts read it.
    sender = subprocess.Popen(
        [*tallow, "send", "--limit", LIMIT, str(source)], stdout=subprocess.PIPE, text=True
    )
    with sender, tempfile.TemporaryFile() as said:
        code = re.match(r"\S+", sender.stdout.readline()) if sender.stdout else None
        if code is None:
            return sender.wait() or 1
        # One panel is enough: what the receiver says is shown if it fails.
        receiver = subprocess.Popen(
            [*tallow, "recv", "--yes", "--quiet", "--output", str(received)],
            env={**os.environ, "TALLOW_CODE": code.group()},
            stdin=subprocess.DEVNULL,
            stderr=said,
        )
        failed = sender.wait() or receiver.wait()
        if failed:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace"))
            print(f"The transfer failed with exit code {failed}.", file=sys.stderr)
            return failed
    if not filecmp.cmp(source, received / source.name, shallow=False):
        print("The received file differs from the one sent.", file=sys.stderr)
        return 9
    print(f"\nWhat was received is identical to demo/{source.name}; both are removed again.")
    print("`tallow bench` measures how fast this machine is without --limit.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "256MiB"))
