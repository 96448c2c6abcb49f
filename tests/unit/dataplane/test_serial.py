import pytest

from tallow_cli.dataplane.serial import unwrap_ssn, unwrap_tsn


@pytest.mark.parametrize("near", [0, 5, 2**31, 2**32 - 1, 2**32, 2**40 + 7])
@pytest.mark.parametrize("step", [-(2**31) + 1, -1, 0, 1, 65_535, 2**31 - 1])
def test_a_tsn_unwraps_to_the_integer_nearest(near: int, step: int) -> None:
    assert unwrap_tsn((near + step) % 2**32, near) == near + step


@pytest.mark.parametrize("near", [0, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("step", [-32_767, -1, 0, 1, 32_767])
def test_an_ssn_unwraps_to_the_integer_nearest(near: int, step: int) -> None:
    assert unwrap_ssn((near + step) % 2**16, near) == near + step
