"""webrtc.ice_consent in virtual time: outages, late answers, pauses of this process, closed ports and forged ICMP."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tallow_cli.errors import Loss
from tallow_cli.webrtc.ice_consent import LIFETIME_S, Consent

LATE_S = 1.0


class Path:
    """Runs a Consent as its driver does. `answer(sent_at)` says when the answer to a check comes, None: never."""

    def __init__(self, answer: Callable[[float], float | None], draw: float = 0.5) -> None:
        self.now = 0.0
        self.consent = Consent(0.0, lambda: draw)
        self.checks: list[float] = []
        self.over: list[bytes] = []
        self.icmp: Callable[[float], bool] = lambda _at: False
        self._answer = answer
        self._coming: list[tuple[float, bytes]] = []

    def run(self, until: float, pauses: tuple[tuple[float, float], ...] = ()) -> str | None:
        """Why it was lost, at `now`; None if it was not by `until`. `pauses`: (begin, end) in which nothing runs."""
        while self.now < until:
            why = self.consent.lost(self.now)
            if why is not None:
                return why
            if self.now >= self.consent.next_check_at:
                self._check()
            due = self.consent.next_timeout()
            arrival = min(self._coming, default=None)
            wake = due if arrival is None else min(due, arrival[0])
            for begin, end in pauses:
                if begin <= wake < end or self.now < begin < end < wake:
                    wake = end
            self.now = max(self.now, wake)
            if (
                self.now - due > LATE_S
            ):  # libuv runs timers before it reads: the driver learns of the lateness first
                self.consent.missed(self.now - due)
            for each in [each for each in self._coming if each[0] <= self.now]:
                self._coming.remove(each)
                self.over += self.consent.answered(self.now, each[1])
        return None

    def _check(self) -> None:
        transaction = len(self.checks).to_bytes(12, "big")
        self.checks.append(self.now)
        self.consent.check_sent(self.now, transaction)
        comes = self._answer(self.now)
        if comes is not None:
            self._coming.append((comes, transaction))
        if self.icmp(self.now):
            self.consent.refused(self.now)


def outage(begin: float, end: float, rtt_s: float = 0.05) -> Callable[[float], float | None]:
    return lambda at: None if begin <= at + rtt_s / 2 < end else at + rtt_s


def test_a_peer_that_answers_keeps_its_consent_and_is_asked_once_a_second() -> None:
    path = Path(lambda at: at + 0.05)
    assert path.run(1000.0) is None
    assert 1150 < len(path.checks) < 1350
    assert len(path.over) >= len(path.checks) - 1


@pytest.mark.parametrize("draw", [0.0, 0.999])
@pytest.mark.parametrize("outage_s", [2.0, 10.0, 15.0, 25.0, 28.0, 29.0])
@pytest.mark.parametrize("begin", [10.0, 10.33, 10.9])
def test_an_outage_of_up_to_30_s_is_survived(outage_s: float, begin: float, draw: float) -> None:
    path = Path(outage(begin, begin + outage_s), draw)
    assert path.run(100.0) is None, f"lost at {path.now}"


@pytest.mark.parametrize("draw", [0.0, 0.999])
def test_a_longer_one_ends_it_within_a_check_of_30_s(draw: float) -> None:
    path = Path(outage(10.0, 1e9), draw)
    assert path.run(100.0) == Loss.SILENT
    assert path.now >= 10.0 + LIFETIME_S - 0.05
    assert path.now <= 10.0 + LIFETIME_S + 1.3


def test_answers_that_come_after_later_checks_were_sent_count() -> None:
    path = Path(lambda at: at + 5.0)
    assert path.run(200.0) is None


def test_a_round_trip_longer_than_consent_is_none() -> None:
    assert Path(lambda at: at + LIFETIME_S + 1).run(200.0) == Loss.SILENT


def test_half_of_all_answers_are_enough() -> None:
    path = Path(lambda at: at + 0.1 if int(at * 7) % 2 else None)
    assert path.run(500.0) is None


def test_what_is_remembered_of_unanswered_checks_is_bounded() -> None:
    path = Path(lambda _at: None)
    path.run(100.0)
    assert len(path.consent._unanswered) <= 80


@pytest.mark.parametrize("pause_s", [5.0, 35.0, 3600.0])
def test_a_pause_of_this_process_is_no_silence(pause_s: float) -> None:
    path = Path(outage(10.0, 10.0 + pause_s))
    assert path.run(pause_s + 60.0, ((10.0, 10.0 + pause_s),)) is None


def test_a_pause_in_the_middle_of_an_outage_does_not_hide_the_outage() -> None:
    path = Path(outage(10.0, 1e9))
    assert path.run(200.0, ((20.0, 60.0),)) == Loss.SILENT
    assert 75.0 < path.now < 90.0


def test_a_closed_port_is_believed_within_two_seconds() -> None:
    path = Path(outage(10.0, 1e9))
    path.icmp = lambda at: at >= 10.0
    assert path.run(100.0) == Loss.PEER_GONE
    assert path.now < 12.0


def test_a_closed_port_at_the_end_of_a_long_path_takes_its_round_trips() -> None:
    path = Path(outage(10.0, 1e9, rtt_s=0.6))
    path.icmp = lambda at: at >= 10.0
    assert path.run(100.0) == Loss.PEER_GONE
    assert path.now < 13.0


@pytest.mark.parametrize("rtt_s", [0.001, 0.1, 0.6, 1.5])
def test_forged_icmp_harms_no_peer_that_answers(rtt_s: float) -> None:
    path = Path(lambda at: at + rtt_s)
    path.run(5.0)
    path.icmp = lambda _at: True
    assert path.run(100.0) is None
    assert len(path.checks) < 1000, "each forgery would be answered with a check"


def test_a_stray_icmp_changes_nothing() -> None:
    path = Path(outage(10.0, 25.0))
    path.icmp = lambda at: 11.0 <= at < 11.2
    assert path.run(100.0) is None


def test_data_from_the_peer_contradicts_icmp() -> None:
    path = Path(outage(10.0, 25.0))
    path.icmp = lambda at: at >= 10.0 and not path.consent.heard()  # type: ignore[func-returns-value]
    assert path.run(39.0) is None


def test_an_answer_to_no_check_of_ours_is_nothing() -> None:
    consent = Consent(0.0, lambda: 0.5)
    consent.check_sent(0.0, b"a")
    assert consent.answered(1.0, b"b") == []
    assert consent.silent_since == 0.0
    assert consent.answered(1.0, b"a") == [b"a"]
    assert consent.answered(1.1, b"a") == []
    assert consent.silent_since is None
