"""Ends that are late: a core taken by somebody else for milliseconds, at either end, at any time.

Schedulers make round trips longer and rates uneven without any queue on the path; a controller that took that for
congestion, or for company, would crawl on every busy machine.
"""

from __future__ import annotations

from typing import Any

import pytest

from tallow_cli.netem.link import Link
from tallow_cli.netem.presets import PRESETS
from tests.sim.associations import MIB, End, SimulatedPath, keep_queue_full
from tests.sim.profiles import MAX_PACKET_BYTES

pytestmark = pytest.mark.sim


class BusyPath(SimulatedPath):
    """Each end is away for `share` of the time, for 1 to `longest_s` at a time."""

    def __init__(self, *args: Any, share: float, longest_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._chance = share * self.wake_s / ((0.001 + longest_s) / 2)
        self._longest_s = longest_s
        self._away_until: dict[int, float] = {}

    def _turn(self, end: End, incoming: Link, outgoing: Link) -> None:
        if self.now < self._away_until.get(id(end), 0.0):
            return
        if self.rng.random() < self._chance:
            self._away_until[id(end)] = self.now + self.rng.uniform(0.001, self._longest_s)
            return
        super()._turn(end, incoming, outgoing)


@pytest.mark.parametrize(
    ("name", "share", "longest_s", "least_mbps"),
    [
        ("inet1", 0.1, 0.01, 82.0),
        ("inet1", 0.2, 0.03, 72.0),
        ("inet", 0.2, 0.03, 72.0),
        ("wifi", 0.1, 0.01, 230.0),
        ("wifi", 0.2, 0.03, 180.0),
        ("lan1g", 0.1, 0.01, 700.0),
    ],
)
def test_a_transfer_between_busy_machines_loses_little_more_than_the_time_they_are_away(
    name: str, share: float, longest_s: float, least_mbps: float
) -> None:
    seconds = 3.0 if name == "lan1g" else 10.0
    path = BusyPath(
        PRESETS[name], 1, share=share, longest_s=longest_s, wake_s=0.0005, max_packet_bytes=MAX_PACKET_BYTES
    )
    path.right.keep_messages = False
    keep_queue_full(path.left, path.rng.randbytes(65_536), 4 * MIB, ordered=False)
    path.run(lambda: False, seconds)
    assert path.right.received_bytes * 8 / seconds / 1e6 >= least_mbps
