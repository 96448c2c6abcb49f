"""tracing: times as they stand in a trace."""

from __future__ import annotations

import pytest

from tallow_cli.tracing import milliseconds


@pytest.mark.parametrize(("seconds", "ms"), [(0.0, 0.0), (1.5, 1500.0), (0.0000014, 0.001), (-0.25, -250.0)])
def test_times_are_milliseconds_to_the_microsecond(seconds: float, ms: float) -> None:
    assert milliseconds(seconds) == ms
