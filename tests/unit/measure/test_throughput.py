from __future__ import annotations

import pytest

from tallow_cli.measure.throughput import format_throughput, mbps


@pytest.mark.parametrize(
    ("rate_mbps", "text"),
    [
        (0.0, "0 kbit/s"),
        (0.85, "850 kbit/s"),
        (0.9994, "999 kbit/s"),
        (0.9995, "1.00 Mbit/s"),
        (1.0, "1.00 Mbit/s"),
        (9.994, "9.99 Mbit/s"),
        (9.996, "10.0 Mbit/s"),
        (94.3, "94.3 Mbit/s"),
        (99.96, "100 Mbit/s"),
        (940.0, "940 Mbit/s"),
        (999.6, "1.00 Gbit/s"),
        (1062.0, "1.06 Gbit/s"),
        (123_456.0, "123 Gbit/s"),
    ],
)
def test_a_rate_reads_with_three_figures_in_its_own_unit(rate_mbps: float, text: str) -> None:
    assert format_throughput(rate_mbps) == text


def test_a_megabit_is_a_million_bits() -> None:
    assert mbps(125_000, 1.0) == 1.0


def test_no_time_is_no_rate() -> None:
    assert mbps(1, 0.0) == 0.0
