"""How much of a tree that is being received is open, gathered or read at once.

Nobody's options: who needs others (a test, another system) hands them to the DirectorySink.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallow_cli.store.journal import MOST_BYTES

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    open_files: int = 64
    open_directories: int = 64  # beside as many files; the usual descriptor limit is 1024, on macOS 256
    batch_bytes: int = (
        64 * MIB
    )  # of verified files, to be published together: about half a second of a disk's time
    batch_files: int = 4096
    publish_tries: int = 100  # numbers to go through when others take names as fast as we find them free
    note_bytes: int = MIB  # what a kill may have sent twice, beside what was under way
    journal_bytes: int = MOST_BYTES
    reread_bytes: int = MIB  # in one go
    # What several channels may be apart, from the page cache: some 15 ms.
    catch_up_bytes: int = 16 * MIB
