"""session.pace: what holds between the pauses, whatever they are."""

from __future__ import annotations

from tallow_cli.session.pace import GONE_S, TICK_S, Pace
from tallow_cli.session.settings import SendSettings


def test_a_session_that_is_told_nothing_has_the_pace_that_people_are_promised() -> None:
    pace = SendSettings().pace
    assert pace == Pace()
    assert (pace.tick_s, pace.gone_s) == (TICK_S, GONE_S)


def test_what_is_told_of_a_disk_is_told_before_it_is_given_up() -> None:
    disk = Pace().disk
    assert disk.say_after_s < disk.keep_s
    assert disk.room_look_s < disk.room_wait_s
    assert disk.gather_s < disk.prove_s < disk.most_s, "the network's writes wait least"
