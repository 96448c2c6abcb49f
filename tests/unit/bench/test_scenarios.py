from __future__ import annotations

import pytest

from tallow_cli.bench.scenarios import (
    BARE,
    DEFAULT_SIZE_BYTES,
    MIB,
    PROFILES,
    Scenario,
    parse_bench_size,
    parse_profile,
)
from tallow_cli.cli import bench
from tallow_cli.errors import BadOption
from tallow_cli.session.settings import LinkSettings


def test_the_profiles_ask_for_what_is_specified() -> None:
    assert {name: profile.target_mbps for name, profile in PROFILES.items()} == {
        "lan-ethernet": 500,
        "lan-wifi": 200,
        "internet": 50,
    }
    assert parse_profile("lan-wifi") is PROFILES["lan-wifi"]
    assert parse_profile(None) is None


def test_an_unknown_profile_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(BadOption, match="lan-ethernet, lan-wifi, internet"):
        parse_profile("moon")


@pytest.mark.parametrize(
    ("text", "size"), [("256M", 256 * MIB), ("1GiB", 1024 * MIB), ("4096", 4096), ("1MB", 1_000_000)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bench_size(text, None) == size


def test_without_a_size_the_profile_decides() -> None:
    assert parse_bench_size(None, None) == DEFAULT_SIZE_BYTES
    assert parse_bench_size(None, PROFILES["internet"]) == PROFILES["internet"].size_bytes


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(BadOption, match="--size"):
        parse_bench_size("big", None)
    with pytest.raises(BadOption, match="--size"):
        Scenario(size_bytes=0)


@pytest.mark.parametrize("runs", [0, -1, 1001])
def test_a_number_of_runs_out_of_range_is_refused(runs: int) -> None:
    with pytest.raises(BadOption, match="--runs"):
        Scenario(runs=runs)


def test_a_comparison_alternates_the_two_and_needs_two() -> None:
    assert Scenario(link=LinkSettings(engine="aiortc")).subjects == ("aiortc",)
    assert Scenario(link=LinkSettings(engine="aiortc"), compare=BARE).subjects == ("aiortc", BARE)
    with pytest.raises(BadOption, match="--compare"):
        Scenario(link=LinkSettings(engine="aiortc"), compare="aiortc")


def test_the_options_repeat_the_names() -> None:
    assert tuple(PROFILES) == bench._PROFILES
    assert BARE in bench._SUBJECTS
