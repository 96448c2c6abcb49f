"""What a benchmark runs: a profile, a size, how often, over which engines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallow_cli.bench.emulated_link import LinkSpec
from tallow_cli.bench.process import EventLoopName
from tallow_cli.errors import BadOption
from tallow_cli.quantities import parse_size
from tallow_cli.session.settings import LinkSettings

MIB: Final = 1024 * 1024

# A subject of measurement that is no engine: the script in `bench.bare`.
BARE: Final = "bare"

MOST_RUNS: Final = 1000


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of network, the rate a good transfer reaches on it, and a size that takes a few seconds there."""

    name: str
    target_mbps: float
    size_bytes: int


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("lan-ethernet", 500.0, 256 * MIB),
        Profile("lan-wifi", 200.0, 128 * MIB),
        Profile("internet", 50.0, 32 * MIB),
    )
}

DEFAULT_SIZE_BYTES: Final = 64 * MIB
DEFAULT_RUNS: Final = 3
DEFAULT_RUN_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One invocation of the benchmark. `compare` names the engine (or `bare`) to alternate with, run by run.

    With `emulated`, all they say to each other goes over such a link.
    With `trace`, each end of each run writes one into that directory.
    With `disk`, a file is read and written below that directory; without, bytes are made and dropped in memory.
    Raises BadOption for numbers out of range.
    """

    link: LinkSettings = field(default_factory=LinkSettings)
    size_bytes: int = DEFAULT_SIZE_BYTES
    runs: int = DEFAULT_RUNS
    profile: Profile | None = None
    compare: str | None = None
    emulated: LinkSpec | None = None
    disk: Path | None = None
    trace: Path | None = None
    loop: EventLoopName = "uvloop"
    run_timeout_s: float = DEFAULT_RUN_TIMEOUT_S

    def __post_init__(self) -> None:
        if self.size_bytes < 1:
            raise BadOption("--size", "it must be at least 1 byte")
        if not 1 <= self.runs <= MOST_RUNS:
            raise BadOption("--runs", f"it must be between 1 and {MOST_RUNS}")
        if self.compare == self.link.engine:
            raise BadOption("--compare", f"{self.compare!r} is what is measured already")

    @property
    def subjects(self) -> tuple[str, ...]:
        """What is measured, in the order of each round: the engine, then what it is compared with."""
        return (self.link.engine,) if self.compare is None else (self.link.engine, self.compare)


def parse_profile(name: str | None) -> Profile | None:
    """Return the profile of that name. Raises BadOption."""
    if name is None:
        return None
    name = name.strip().casefold()
    if name not in PROFILES:
        raise BadOption("--profile", f"{name!r} is not one of {', '.join(PROFILES)}")
    return PROFILES[name]


def parse_bench_size(text: str | None, profile: Profile | None) -> int:
    """Return `--size` in bytes (`256M`, `1GiB`, `4096`), by default the profile's. Raises BadOption."""
    if text is None:
        return profile.size_bytes if profile else DEFAULT_SIZE_BYTES
    try:
        return parse_size(text)
    except ValueError as error:
        raise BadOption("--size", str(error)) from error
