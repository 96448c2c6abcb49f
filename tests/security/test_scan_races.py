"""A neighbour who may write in the directory that is sent swaps parts of it for links to what is not: nothing leaks.

The neighbour races in a process of its own, against the scan and against the reading.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallow_cli.errors import TallowError
from tallow_cli.offer.name_rules import POSIX
from tallow_cli.store.file_source import FileSource
from tests.support.disk import read_all

RACE_S = 4.0
SECRET = b"the private key"
# Swaps a directory and a file for links to the secret ones and back, as fast as it can; prints how often.
RACER = """
import os, select, sys
root, secret = sys.argv[1:]
turns = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for name, lure in (("zz", secret), ("yy/id", secret + "/id")):
        path, aside = os.path.join(root, name), os.path.join(root, "aside")
        os.rename(path, aside)
        os.symlink(lure, path)
        for _ in range(turns % 16 * 200):
            pass
        os.unlink(path)
        os.rename(aside, path)
    turns += 1
print(turns)
"""


@contextmanager
def racing(root: Path, secret: Path) -> Iterator[list[int]]:
    swaps: list[int] = []
    racer = subprocess.Popen(
        [sys.executable, "-c", RACER, root, secret], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield swaps
    finally:
        out, _ = racer.communicate("\n", timeout=10)
        swaps.append(int(out))


def test_nothing_from_outside_is_sent_whatever_is_swapped_meanwhile(tmp_path: Path) -> None:
    root, secret = tmp_path / "tree", tmp_path / "private"
    secret.mkdir()
    (secret / "id").write_bytes(SECRET)
    for name in ("aa", "yy", "zz"):
        (root / name).mkdir(parents=True)
        (root / name / "id").write_bytes(b"x" * len(SECRET))
    for number in range(30):
        (root / "aa" / f"{number}").write_bytes(b"filler")
    rounds = read = 0
    with racing(root, secret) as swaps:
        until = time.monotonic() + RACE_S
        while time.monotonic() < until:
            rounds += 1
            source = FileSource([root], skip_unsendable=True)
            try:
                source.prepare(POSIX)
                data = read_all(source, 64)
                read += len(source.manifest.file_spans) - len(source.withdrawn)
                assert SECRET not in data
                assert all(entry.target is None for entry in source.manifest.entries), "they lead outside"
            except TallowError:
                pass  # it may end; it may not leak
            finally:
                source.close()
    assert swaps[0] > 100, "the neighbour did not race"
    assert read > rounds, "hardly anything was sent, so nothing was tried"
