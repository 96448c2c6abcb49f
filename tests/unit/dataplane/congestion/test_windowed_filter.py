"""The two-bucket maximum."""

from __future__ import annotations

from tallow_cli.dataplane.congestion.windowed_filter import TwoBucketMax


def test_a_maximum_survives_one_bucket_and_dies_with_the_second() -> None:
    largest = TwoBucketMax()
    largest.update(10.0)
    largest.update(7.0)
    largest.advance()
    largest.update(5.0)
    assert largest.value == 10.0
    largest.advance()
    assert largest.value == 5.0


def test_a_bucket_without_values_does_not_age_what_is_known() -> None:
    largest = TwoBucketMax()
    largest.update(10.0)
    for _ in range(5):
        largest.advance()
    assert largest.value == 10.0


def test_reset_forgets_all_but_the_given_value() -> None:
    largest = TwoBucketMax()
    largest.update(10.0)
    largest.reset(3.0)
    assert largest.value == 3.0
    largest.advance()
    largest.update(1.0)
    largest.advance()
    assert largest.value == 1.0


def test_it_is_zero_before_the_first_value() -> None:
    assert TwoBucketMax().value == 0.0
