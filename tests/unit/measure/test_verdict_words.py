from __future__ import annotations

import pytest

from tallow_cli.measure.account import Verdict
from tallow_cli.measure.causes import Cause
from tallow_cli.measure.verdict_words import advice, headline, sentence


def verdict(cause: Cause) -> Verdict:
    return Verdict(cause, 0.62, 10.0, ((cause, 0.62),))


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("sending", [True, False])
def test_every_cause_has_words_at_both_ends(cause: Cause, sending: bool) -> None:
    words = sentence(verdict(cause), sending=sending)
    assert "62 % of the last 10 s." in words
    assert words.endswith(".")
    assert "{" not in words


def test_each_end_reads_whose_disk_it_is() -> None:
    disk = verdict(Cause.RECEIVER_DISK)
    assert headline(disk, sending=True) == "Waiting for the receiver's disk to write"
    assert headline(disk, sending=False) == "Waiting for this machine's disk to write"


def test_nobody_is_told_to_do_what_only_the_other_side_can() -> None:
    for cause in (Cause.SENDER_DISK, Cause.SENDER_CPU, Cause.SENDER_LIMIT):
        assert advice(verdict(cause), sending=False).startswith("Only the sender")
    for cause in (Cause.RECEIVER_DISK, Cause.RECEIVER_CPU, Cause.RECEIVER_LIMIT):
        assert advice(verdict(cause), sending=True).startswith("Only the receiver")


@pytest.mark.parametrize("cause", [Cause.NETWORK_LOSS, Cause.NETWORK_CAPACITY, Cause.NETWORK_DELAY])
def test_nobody_is_told_to_send_more_slowly_to_go_faster(cause: Cause) -> None:
    assert "--limit" not in sentence(verdict(cause), sending=True)
