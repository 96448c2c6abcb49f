"""quantities: what people write for sizes, rates and times."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallow_cli.quantities import MAX_BYTES, parse_rate, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("4096 bytes", 4096),
        ("1 byte", 1),
        ("16MiB", 16 * 2**20),
        ("16 MiB", 16 * 2**20),
        ("16M", 16 * 2**20),
        ("16m", 16 * 2**20),
        ("16MIB", 16 * 2**20),
        ("16MB", 16_000_000),
        ("16mb", 16_000_000),  # nobody counts files in bits, so the case of a lazy hand does not matter
        ("16 megabytes", 16_000_000),
        ("1.5 GiB", 1_610_612_736),
        (".5K", 512),
        ("1kb", 1000),
        ("1kB", 1000),
        ("2T", 2 * 2**40),
        ("9007199254740993", 9007199254740993),  # 2^53 + 1, which no float holds
        ("\uff11\uff16\uff2d\uff29\uff22", 16 * 2**20),
        (" 7\u00a0kB ", 7000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1e9", "16 M i B", "16XB", "1,5G", "nan", "inf", "16MB/s", "1 2", "٣K"]
)
def test_other_sizes_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_size(text)


@pytest.mark.parametrize("text", ["16Mb", "16Gb", "16Kb", "16Mbit", "16 megabits", "16bit"])
def test_a_size_in_bits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="counts bits"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0.5", "1.5B", "9" * 60, "8388608T", "9" * 60 + "GB"])
def test_a_size_that_no_file_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|any file"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [
        ("20Mbit", 2_500_000),
        ("20mbit", 2_500_000),
        ("20MBIT", 2_500_000),
        ("20Mbit/s", 2_500_000),
        ("20 Mbit/sec", 2_500_000),
        ("20 Mbits per second", 2_500_000),
        ("20 megabits", 2_500_000),
        ("20Mb", 2_500_000),
        ("20Mb/s", 2_500_000),
        ("20Mbps", 2_500_000),
        ("20mbps", 2_500_000),
        ("20 Mb / s", 2_500_000),
        ("2.5Gbit", 312_500_000),
        ("2.5Gb/s", 312_500_000),
        ("800kbit", 100_000),
        ("800kbps", 100_000),
        ("800Kbps", 100_000),
        ("800Kb/s", 100_000),
        ("8Mibit", 2**20),
        ("8Mib/s", 2**20),
        ("20MBps", 20_000_000),
        ("20MB", 20_000_000),
        ("20MB/s", 20_000_000),
        ("20 megabytes/s", 20_000_000),
        ("5kB/s", 5_000),
        ("5KB", 5_000),
        ("5MB", 5_000_000),
        ("800KiB", 819_200),
        ("800KiB/s", 819_200),
        ("5MiBps", 5 * 2**20),
        ("4096B/s", 4096),
        ("4096 B", 4096),
        ("9600bps", 1200),
        ("9600 bit/s", 1200),
    ],
)
def test_rates_are_bytes_per_second_and_a_small_b_is_a_bit(text: str, bytes_per_s: float) -> None:
    assert parse_rate(text) == bytes_per_s


@pytest.mark.parametrize(
    "text",
    [
        "20",
        "20M",
        "2.5G",
        "20M/s",
        "20mb",
        "20mb/s",
        "20 kb/s",
        "20mB",
        "20gB/s",
        "20MBPS",
        "20MB/S",
        "20KBPS",
        "20b",
        "5mib",
    ],
)
def test_a_rate_that_may_be_bits_or_bytes_is_refused_with_both_spellings(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"may be bits or bytes; write it like [\d.]+[KMG]bit or [\d.]+[KMG]B"
    ):
        parse_rate(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0Mbit",
        "-5MB",
        "fast",
        "1e400Mbit",
        "nan",
        "20Mbit/h",
        "20XB",
        "1,5MB",
        "9" * 400 + "Mbit",
        "0.0kB",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("600.0", 600),
        ("90s", 90),
        ("90 sec", 90),
        ("1 second", 1),
        ("10m", 600),
        ("10M", 600),
        ("10min", 600),
        ("10 minutes", 600),
        ("1h", 3600),
        ("1 hr", 3600),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("2 Days", 172_800),
        ("0", 0),
    ],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "10x", "1h30", "10:30", "1e3", "never", "inf", "nan", "10 m s", "1,5h", "9" * 99]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like|longer than"):
        parse_seconds(text)


spelled = st.lists(
    st.sampled_from(
        [
            "1",
            "20",
            "9",
            ".",
            "k",
            "M",
            "G",
            "i",
            "b",
            "B",
            "it",
            "bit",
            "yte",
            "ps",
            "/s",
            " ",
            "m",
            "h",
            "s",
            "-",
            "e",
        ]
    )
    | st.text(max_size=3),
    max_size=9,
).map("".join)


@given(spelled)
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_rate, parse_seconds):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@given(st.integers(0, MAX_BYTES))
def test_a_number_of_bytes_is_read_back_exactly(size: int) -> None:
    assert parse_size(str(size)) == parse_size(f"{size}B") == size


@given(st.integers(1, 10_000), st.sampled_from("kMG"))
def test_a_byte_is_eight_bits_however_the_rate_is_spelled(number: int, prefix: str) -> None:
    in_bytes = parse_rate(f"{number}{prefix}B")
    for bits in ("bit", "bit/s", "bps"):
        assert parse_rate(f"{number}{prefix}{bits}") * 8 == in_bytes
    for form in ("B/s", "Bps", "byte/s"):
        assert parse_rate(f"{number}{prefix}{form}") == in_bytes
