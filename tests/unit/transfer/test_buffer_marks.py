"""The marks at which a channel is paused, and goes on."""

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.transfer.buffer_marks import MAX_BUFFER_HIGH, MIB, buffer_marks, check_buffer_marks


@pytest.mark.parametrize(
    ("high", "low"), [(100, 100), (100, 200), (100, 0), (100, -1), (1, 1), (MAX_BUFFER_HIGH + 1, 1)]
)
def test_marks_out_of_order_are_refused(high, low):
    with pytest.raises(BadOption, match="--buffer"):
        check_buffer_marks(high, low)


@pytest.mark.parametrize(
    ("given", "marks"),
    [
        ((None, None), (16 * MIB, 4 * MIB)),
        ((MIB, None), (MIB, MIB // 4)),
        ((None, 8 * MIB), (32 * MIB, 8 * MIB)),
        ((2, None), (2, 1)),
    ],
)
def test_where_one_mark_is_given_the_other_keeps_the_ratio(given, marks):
    assert buffer_marks(*given) == marks
    check_buffer_marks(*marks)
