"""core.quantities: what people write for sizes and rates."""

from __future__ import annotations

import pytest

from tallow_cli.core.quantities import parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("16MiB", 16 * 2**20),
        ("16M", 16 * 2**20),
        ("16m", 16 * 2**20),
        ("16MB", 16_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("1kb", 1000),
        ("2T", 2 * 2**40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e9", "16 M i B", "16XB", "1,5G", "nan"])
def test_other_sizes_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [
        ("20Mbit", 2_500_000),
        ("20Mbit/s", 2_500_000),
        ("20mbps", 2_500_000),
        ("5MB", 5_000_000),
        ("5MB/s", 5_000_000),
        ("800KiB", 819_200),
    ],
)
def test_rates_are_bytes_per_second(text: str, bytes_per_s: float) -> None:
    assert parse_rate(text) == bytes_per_s


@pytest.mark.parametrize("text", ["", "20", "0Mbit", "-5MB", "fast", "20M"])
def test_rates_without_a_unit_or_above_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_rate(text)
