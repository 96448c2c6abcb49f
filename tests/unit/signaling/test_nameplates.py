"""Nameplates are random, sparse and rested."""

from __future__ import annotations

from collections.abc import Callable

from signaling import nameplates
from signaling.nameplates import FIRST, LARGEST_SPACE, Nameplates
from signaling.protocol import is_nameplate
from tests.support.entropy import SeededEntropy


def drawing(*numbers: int) -> Callable[[int], bytes]:
    """Entropy that makes `draw` try these numbers in this order."""
    left = iter(numbers)
    return lambda size: (next(left) - FIRST).to_bytes(size, "big")


def test_a_retired_nameplate_is_not_drawn_again_for_ten_minutes() -> None:
    plates = Nameplates(drawing(4821, 5000, 4821, 6000, 4821), quarantine_s=600.0)
    assert plates.draw((), 0, now=0.0) == "4821"
    plates.retire("4821", "a network", now=1.0)
    assert plates.draw((), 0, now=2.0) == "5000"
    assert plates.draw((), 0, now=600.9) == "6000"
    assert plates.draw((), 0, now=601.0) == "4821"


def test_a_nameplate_in_use_is_not_drawn() -> None:
    assert Nameplates(drawing(4821, 4822), 600.0).draw({"4821"}, 1, now=0.0) == "4822"


def test_they_are_spread_over_ten_thousand_numbers() -> None:
    plates = Nameplates(SeededEntropy("spread"), 600.0)
    drawn = [int(plates.draw((), 0, now=0.0)) for _ in range(5_000)]
    assert 1_000 <= min(drawn) < 1_050
    assert 10_950 < max(drawn) < 11_000
    # 10^4 (1 - e^(-1/2)) = 3,935 different ones are expected, with a deviation of 31.
    assert abs(len(set(drawn)) - 3_935) < 200


def test_the_space_grows_so_that_a_guess_rarely_finds_anything() -> None:
    plates = Nameplates(SeededEntropy("growth"), 600.0)
    in_use: set[str] = set()
    for _ in range(2_000):
        in_use.add(plates.draw(in_use, len(in_use), now=0.0))
    assert len(in_use) == 2_000
    assert int(max(in_use, key=int)) > 100_000
    assert all(is_nameplate(nameplate) for nameplate in in_use)


def test_even_the_largest_number_is_a_nameplate() -> None:
    assert is_nameplate(str(FIRST + LARGEST_SPACE - 1))


def test_what_is_remembered_is_bounded() -> None:
    plates = Nameplates(drawing(1000), 600.0)
    for number in range(nameplates.MAX_QUARANTINED + 1):
        plates.retire(str(1000 + number), "a network", now=0.0)
    assert plates.draw((), 0, now=0.0) == "1000", "the oldest was released early"


def test_a_number_used_lately_is_kept_for_the_network_that_had_it() -> None:
    plates = Nameplates(drawing(), quarantine_s=600.0)
    plates.retire("4821", "theirs", now=0.0)
    assert plates.is_kept_from("a stranger's", "4821", now=599.9)
    assert not plates.is_kept_from("theirs", "4821", now=1.0)
    assert not plates.is_kept_from("a stranger's", "4822", now=1.0)
    assert not plates.is_kept_from("a stranger's", None, now=1.0)
    assert not plates.is_kept_from("a stranger's", "4821", now=600.0)
