from __future__ import annotations

import pytest

from tallow_cli.measure.causes import Cause, Stop
from tallow_cli.measure.diagnosis import EndUse, PathState
from tallow_cli.session.verdicts import SenderVerdicts, UseTeller, silent

PATH = PathState(0.001, 0.0)


class Clockwork:
    """A sender whose scheduler was stopped for one reason since the last look."""

    def __init__(self) -> None:
        self.verdicts = SenderVerdicts(0.0, Cause.SENDER_DISK)
        self.stop = Stop.QUEUE
        self.taken_at = 0.0

    def take(self, now: float) -> dict[Stop, float]:
        seconds, self.taken_at = now - self.taken_at, now
        return {self.stop: seconds}

    def tick(self, now: float, silence_s: float = 0.0) -> None:
        self.verdicts.tick(
            now, self.take, EndUse(), None, PATH, silence_s=silence_s, is_in_doubt=silence_s >= 0.5
        )

    def run(self, begin: float, end: float, silent_since: float | None = None) -> None:
        for tick in range(round(begin * 5) + 1, round(end * 5) + 1):
            now = tick / 5
            self.tick(now, 0.0 if silent_since is None else now - silent_since)


def test_a_silence_is_told_from_two_seconds_on_and_all_of_it_is_counted_as_one() -> None:
    sender = Clockwork()
    sender.run(0, 4)
    sender.run(4, 5.8, silent_since=4)  # in doubt: nothing is counted yet
    before = sender.verdicts.now(5.8)
    assert before is not None
    assert before.cause is Cause.NETWORK_CAPACITY
    sender.run(5.8, 8, silent_since=4)
    during = sender.verdicts.now(8)
    assert during is not None
    assert (during.cause, during.share, during.window_s) == (Cause.PEER_SILENT, 1.0, pytest.approx(4))
    sender.run(8, 10)
    whole = sender.verdicts.whole
    assert whole is not None
    shares = dict(whole.shares)
    assert shares[Cause.PEER_SILENT] == pytest.approx(0.36)  # but for what came before the doubt
    assert whole.window_s == pytest.approx(10)


def test_a_doubt_that_was_none_counts_as_what_it_was() -> None:
    sender = Clockwork()
    sender.run(0, 4)
    sender.run(4, 5, silent_since=4)
    sender.run(5, 6)
    whole = sender.verdicts.whole
    assert whole is not None
    assert dict(whole.shares) == {Cause.NETWORK_CAPACITY: pytest.approx(1.0)}
    assert whole.window_s == pytest.approx(6)


def test_the_time_in_which_this_process_did_not_run_is_nobodys() -> None:
    sender = Clockwork()
    sender.run(0, 2)
    sender.tick(12)
    sender.stop = Stop.LIMIT
    sender.run(12, 16)
    whole = sender.verdicts.whole
    assert whole is not None
    assert whole.cause is Cause.SENDER_LIMIT
    assert whole.window_s == pytest.approx(6)


def test_a_receiver_says_by_itself_that_nothing_comes() -> None:
    assert silent(1.9) is None
    verdict = silent(6.0)
    assert verdict is not None
    assert (verdict.cause, verdict.window_s) == (Cause.PEER_SILENT, 6.0)


def test_what_a_receiver_is_at_is_told_when_it_changes_and_once_a_second() -> None:
    teller, use = UseTeller(), EndUse(0.1, 0.0, {Cause.RECEIVER_DISK: 0.9})
    told = [teller.is_due(use) for _ in range(11)]
    assert told == [True, False, False, False, False, True, False, False, False, False, True]
    assert teller.is_due(EndUse(0.1, 0.0, {Cause.VERIFYING: 0.9}))
    assert not teller.is_due(EndUse(0.15, 0.0, {Cause.VERIFYING: 0.8}))
