"""How long a session pauses between two tries, and how long it works before it tells: its pace, not its patience.

What people wait for and can choose is in `settings.Waits`. These are nobody's options; who needs another pace (a test,
another event loop) hands it in with the settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# A sender's own server that refuses connections for so long has gone, and the sender with it.
GONE_S: Final = 10.0
# A connection that was silent for so long is said to be: of checks a second apart two answers are missing.
SILENT_S: Final = 2.0
TICK_S: Final = 0.2  # between two samples of the figures that people see


@dataclass(frozen=True, slots=True)
class DiskPace:
    """How what arrives goes to the disk."""

    # A hop between threads costs as much as writing and hashing half a megabyte: data gathers first, but not for long.
    batch_bytes: int = 1024 * 1024
    gather_s: float = 0.005
    publish_s: float = 0.1  # between two looks at whether the sink has published what it verified
    # Files that become whole meanwhile are verified by the next batch, so a slow disk gets its writes in several.
    most_s: float = 0.25
    # Proving what was there before, and hashing what was not in order, reads the disk again: the network's writes go
    # first.
    prove_s: float = 0.05
    room_wait_s: float = 300.0  # for a person to free some space on a disk that is full
    room_look_s: float = 0.5
    # How long a disk may take to publish what is verified when the transfer failed, and when people are told that it
    # does. After a signal the process ends sooner (cli.drive).
    keep_s: float = 30.0
    say_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    disk: DiskPace = field(default_factory=DiskPace)
    tick_s: float = TICK_S
    first_pause_s: float = 0.25  # before the next try at a server or a room; then twice as long each time
    # A server that ends waits sooner than that is asked again only after this pause.
    shortest_wait_s: float = 1.0
    gone_s: float = GONE_S
    silent_s: float = SILENT_S  # then another connection is searched for beside it
    # Before what was found takes its place, the old path gets so long, and a round trip, to answer: one that is back
    # answers the next check, which a silent one gets every 0.4 to 0.6 s.
    answer_s: float = 0.65
    look_s: float = 0.1  # between two looks at whether it is silent
