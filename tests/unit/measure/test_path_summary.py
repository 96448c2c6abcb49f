from __future__ import annotations

import pytest

from tallow_cli.measure.path_summary import JITTER_GAIN, Jitter


def test_an_even_path_has_none_and_one_sample_says_nothing() -> None:
    jitter = Jitter()
    assert jitter.value_s == 0.0
    for _ in range(40):
        jitter.add(0.010)
    assert jitter.value_s == 0.0


def test_it_follows_rfc_3550_once_it_is_warm() -> None:
    jitter = Jitter()
    for _ in range(41):
        jitter.add(0.010)
    jitter.add(0.026)
    assert jitter.value_s == pytest.approx(0.016 / JITTER_GAIN)
    jitter.add(0.026)
    assert jitter.value_s == pytest.approx(0.001 - 0.001 / JITTER_GAIN)


def test_the_first_changes_are_averaged_plainly() -> None:
    jitter = Jitter()
    for rtt_s in (0.010, 0.030, 0.020):
        jitter.add(rtt_s)
    assert jitter.value_s == pytest.approx(0.015)
