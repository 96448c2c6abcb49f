from __future__ import annotations

import pytest

from tallow_cli.errors import BadOption
from tallow_cli.link.channels import check_channel_count, check_max_retransmits


@pytest.mark.parametrize("count", [0, 1, 5])
def test_fewer_than_two_or_more_than_four_channels_are_refused(count: int) -> None:
    with pytest.raises(BadOption, match="--channels"):
        check_channel_count(count)


def test_reliable_channels_and_a_number_of_retransmissions_contradict_each_other() -> None:
    check_max_retransmits(None, reliable=True)
    check_max_retransmits(3, reliable=False)
    with pytest.raises(BadOption, match="--reliable"):
        check_max_retransmits(3, reliable=True)
    with pytest.raises(BadOption, match="not between"):
        check_max_retransmits(9, reliable=False)
