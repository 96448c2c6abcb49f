"""`make demo`: make a file, send it between two real processes, compare, say how fast it was."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tallow_cli.core.quantities import parse_size

BLOCK = 2**20


def main(size_text: str) -> int:
    """Run the demo in ./demo. Returns the exit code."""
    directory = Path("demo").resolve()
    received = directory / "received"
    shutil.rmtree(directory, ignore_errors=True)
    received.mkdir(parents=True)
    source = directory / "demo.bin"
    size = parse_size(size_text)
    print(f"Making {source.relative_to(Path.cwd())} ({size:,} random bytes) …", flush=True)
    with source.open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(os.urandom(min(BLOCK, size - start)))

    tallow = [sys.executable, "-m", "tallow_cli"]
    print("$ tallow send demo.bin          (this shell; the other one runs `tallow recv CODE`)\n", flush=True)
    # Standard output of a sender that is not a terminal carries the code alone: that is how scripts read it.
    sender = subprocess.Popen([*tallow, "send", str(source)], stdout=subprocess.PIPE, text=True)
    if sender.stdout is None:
        return 1
    found = re.match(r"\S+", sender.stdout.readline())
    if found is None:
        return sender.wait() or 1
    receiver = subprocess.Popen(
        [*tallow, "recv", "--yes", "--quiet", "--output", str(received)],
        env={**os.environ, "TALLOW_CODE": found.group()},
    )
    failed = sender.wait() or receiver.wait()
    if failed:
        print(f"The transfer failed with exit code {failed}.", file=sys.stderr)
        return failed
    if not filecmp.cmp(source, received / source.name, shallow=False):
        print("The received file differs from the one sent.", file=sys.stderr)
        return 9
    print(f"\ndemo/received/{source.name} is identical to demo/{source.name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "256MiB"))
