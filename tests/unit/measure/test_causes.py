from __future__ import annotations

from tallow_cli.measure.causes import BY_NUMBER, Cause


def test_every_cause_has_a_number_of_its_own_from_1_as_the_specification_lists_them() -> None:
    assert [cause.number for cause in Cause] == list(range(1, len(Cause) + 1))
    assert all(BY_NUMBER[cause.number] is cause for cause in Cause)
    assert (Cause.NETWORK_CAPACITY.number, Cause.NOTHING.number) == (1, 18)
