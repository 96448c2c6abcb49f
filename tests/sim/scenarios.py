"""Seeded random transfers: everything a network, a disk and a user may do to one, in all combinations."""

from __future__ import annotations

from random import Random

from tallow_cli.transfer.options import ReceiveOptions, SendOptions
from tests.sim.channels import Profile
from tests.sim.transfer import Scenario

MiB = 1024 * 1024


def random_profile(rng: Random) -> Profile:
    delay = rng.choice([0.0002, 0.005, 0.02, 0.1])
    return Profile(
        rate=rng.choice([125e3, 1e6, 12.5e6, 125e6]),
        delay=delay,
        loss=rng.choice([0, 0, 0.001, 0.01, 0.05, 0.1, 0.2]),
        burst=rng.choice([0, 0, 0, 0.002]),
        reorder=rng.choice([0, 0, 0.05]),
        reorder_by=2 * delay,
        duplicate=rng.choice([0, 0, 0.02]),
        jitter=rng.choice([0, 0, delay / 2]),
        outages=rng.choice([(), (), (), ((0.3, 2.3),)]),
    )


def random_scenario(seed: int) -> Scenario:
    rng = Random(seed)
    channels = rng.choice([1, 2, 3, 4])
    files = rng.choice(
        [(0,), (1,), (200_000,), (1000,) * 20, (0, 70_000, 0, 1, 130_000), (65_536,), (400_000,), ()]
    )
    unknown_length = bool(files) and rng.random() < 0.2
    if unknown_length:
        files = (sum(files),)
    total = sum(files)
    held: tuple[tuple[int, int], ...] = ()
    if total > 1000 and not unknown_length and rng.random() < 0.15:
        held = ((total // 10, total // 3), (total // 2, total - rng.choice([0, 100])))
    deaths: tuple[tuple[float, int], ...] = ()
    if rng.random() < 0.15:
        deaths = tuple((rng.uniform(0, 1), channel) for channel in range(1, channels))
    pauses: tuple[tuple[float, float, int], ...] = ()
    if rng.random() < 0.15:
        pauses = tuple((rng.uniform(0, 0.5), rng.uniform(0.5, 2), rng.randint(1, channels)) for _ in range(2))
    # Of its own, so that the other choices of a seed stay what they were.
    more = Random(seed + 1_000_003)
    withdrawn = {}
    if not unknown_length and more.random() < 0.25:
        withdrawn = {i: more.randint(0, size) for i, size in enumerate(files) if more.random() < 0.4}
    marks = {"buffer_high": 65_536, "buffer_low": 16_384} if more.random() < 0.5 else {}
    return Scenario(
        files=files,
        withdrawn=withdrawn,
        seed=seed,
        there=random_profile(rng),
        back=random_profile(rng),
        channels=channels,
        chunk_bytes=rng.choice([16_384, 65_536, 262_144, MiB]),
        unknown_length=unknown_length,
        held=held,
        deaths=deaths,
        pauses=pauses,
        disk_rate=rng.choice([1e9, 1e9, 50e3, 1e6]),
        reports_late=rng.random() < 0.5,
        wakes_at_departures=rng.random() < 0.5,
        send=SendOptions(
            memory_bytes=rng.choice([256 * 1024, MiB, 32 * MiB]),
            limit_bytes_per_s=rng.choice([None, None, None, 200e3]),
            **marks,
        ),
        receive=ReceiveOptions(window_bytes=rng.choice([65_536, MiB, 32 * MiB])),
    )
