"""The named paths."""

from __future__ import annotations

import pytest

from tallow_cli.netem.presets import PRESETS, path


def test_presets_are_what_their_names_say() -> None:
    inet1 = PRESETS["inet1"]
    assert inet1.rtt_s == pytest.approx(0.05)
    assert (inet1.forward.rate_bps, inet1.forward.loss) == (100e6, 0.01)
    assert inet1.forward.queue_bytes == 625_000
    assert PRESETS["thin-acks"].back.rate_bps == 1e6
    assert path("tiny", 1, 1).forward.queue_bytes == 65_536
