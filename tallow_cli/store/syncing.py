"""Making files and directories durable, in batches: the cheapest way that keeps the promise."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tallow_cli.offer.names import SafePath
from tallow_cli.store.partial import PartialFile
from tallow_cli.store.receive_root import ReceiveRoot

# Measured on ext4 with files of 1 KiB: fsync takes 0.2 ms each, on 16 threads 0.08 ms, one syncfs for all
# 0.025 ms. But syncfs waits for everybody's data, so a few files are synced one by one.
SYNC_SINGLY_UP_TO: Final = 16
SYNC_THREADS: Final = 16


def sync_files(root: ReceiveRoot, files: Sequence[PartialFile]) -> None:
    """The contents and attributes of all `files` are on the disk when this returns. Raises OSError."""
    if len(files) <= SYNC_SINGLY_UP_TO:
        for file in files:
            file.sync()
        return
    if root.filesystem.sync_all(root.directory):
        return
    with ThreadPoolExecutor(SYNC_THREADS, "tallow-sync") as pool:
        for start in range(0, len(files), SYNC_THREADS):  # no more descriptors than threads
            some = files[start : start + SYNC_THREADS]
            for file in some:
                file.open()  # here, not on the pool: the receive root is for one thread
            list(pool.map(PartialFile.sync, some))
            for file in some:
                file.close()


def sync_directories(root: ReceiveRoot, paths: Sequence[SafePath]) -> None:
    """The names in all these directories, and in the root, are on the disk when this returns. Raises
    OSError.
    """
    if len(paths) > SYNC_SINGLY_UP_TO and root.filesystem.sync_all(root.directory):
        return
    for path in paths:
        root.filesystem.sync_directory(root.itself(path))
    root.filesystem.sync_directory(root.directory)
