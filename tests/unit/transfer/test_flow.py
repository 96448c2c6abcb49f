"""Credit, the delivery rate, the bound of the local queue and the user's limit."""

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer.flow import (
    INITIAL_QUEUE_BYTES,
    MIN_QUEUE_BYTES,
    DeliveryRate,
    ReceiveWindow,
    SendCredit,
    TokenBucket,
    queue_bound,
)


def test_a_sender_that_exceeds_its_credit_breaks_the_protocol():
    window = ReceiveWindow(1000)
    window.take(1000)
    with pytest.raises(PeerProtocolError):
        window.take(1)


def test_what_was_written_but_not_yet_announced_gives_no_right_to_send():
    window = ReceiveWindow(1000)
    window.take(1000)
    window.written += 1000
    with pytest.raises(PeerProtocolError):
        window.take(1)


def test_writing_frees_the_window():
    window = ReceiveWindow(1000)
    window.take(600)
    window.written += 600
    assert window.advertise(0.0, reliably=False) == 1600
    window.take(1000)
    assert window.backlog_bytes == 1000


def test_the_reliable_channel_hears_of_every_quarter_of_the_window():
    window = ReceiveWindow(1000)
    window.advertise(0.0, reliably=True)
    window.take(500)
    window.written += 249
    assert not window.is_update_due(0.1)
    window.written += 1
    window.advertise(0.0, reliably=False)
    assert window.is_update_due(0.1), "an ACK with the limit may be lost"
    window.advertise(0.0, reliably=True)
    assert not window.is_update_due(0.1)


def test_a_slow_disk_is_told_of_by_time():
    window = ReceiveWindow(1_000_000)
    window.advertise(0.0, reliably=True)
    window.take(500)
    window.written += 1
    assert not window.is_update_due(0.24)
    assert window.is_update_due(0.25)
    window.advertise(0.25, reliably=False)
    assert not window.is_update_due(9.0), "nothing new was written"


def test_what_the_credit_has_risen_by_is_what_was_written():
    credit = SendCredit()
    assert credit.regained == 0
    credit.granted(1000)
    assert credit.regained == 0
    credit.granted(1300)
    credit.granted(1200)
    assert credit.regained == 300


def test_credit_never_shrinks():
    credit = SendCredit()
    credit.granted(1000)
    credit.granted(10)
    credit.used += 300
    assert credit.left == 700


def test_the_rate_is_the_best_of_recent_intervals():
    rate = DeliveryRate()
    rate.started(0.0)
    for step in range(1, 11):
        rate.delivered(step * 0.1, 100_000, 0.01)
    assert rate.bytes_per_s == pytest.approx(1_000_000)
    rate.delivered(2.0, 1000, 0.01)
    assert rate.bytes_per_s == pytest.approx(1_000_000), "one hiccup does not count"
    for step in range(1, 20):
        rate.delivered(2.0 + step * 0.1, 1000, 0.01)
    assert rate.bytes_per_s == pytest.approx(10_000)


def test_a_pause_of_the_source_does_not_count_as_a_slow_path():
    rate = DeliveryRate()
    rate.started(0.0)
    rate.delivered(0.1, 100_000, 0.01)
    rate.started(10.0)
    rate.delivered(10.1, 100_000, 0.01)
    assert list(rate._samples) == pytest.approx([1_000_000, 1_000_000])


def test_the_rate_is_not_sampled_within_a_round_trip():
    rate = DeliveryRate()
    rate.started(0.0)
    rate.delivered(0.2, 50_000, 0.5)
    assert rate.bytes_per_s == 0
    rate.delivered(0.5, 50_000, 0.5)
    assert rate.bytes_per_s == pytest.approx(200_000)


def steady(bytes_per_s):
    rate = DeliveryRate()
    rate.started(0.0)
    for step in range(1, 8):
        rate.delivered(step * 0.5, bytes_per_s // 2, 0.01)
    return rate


def test_the_local_queue_is_bounded_by_a_tenth_of_a_second_whatever_the_round_trip():
    assert queue_bound(steady(10_000_000), 65_536) == 1_000_000
    assert queue_bound(steady(1_000), 1160) == MIN_QUEUE_BYTES
    assert queue_bound(steady(1_000), 131_072) == 262_144


def test_at_first_every_delivered_byte_lets_two_more_wait():
    rate = DeliveryRate()
    assert queue_bound(rate, 1160) == INITIAL_QUEUE_BYTES
    rate.started(0.0)
    rate.delivered(0.001, 100_000, 0.05)
    assert queue_bound(rate, 1160) == INITIAL_QUEUE_BYTES + 200_000
    assert queue_bound(rate, 1_000_000) == 2_000_000


@pytest.mark.parametrize("rate", [51_200, 125_000, 625_000, 10e6, 1e9])
@pytest.mark.parametrize("late_s", [0.0, 0.004, 0.02])
def test_the_users_limit_holds_in_every_second_from_the_first(rate: float, late_s: float):
    bucket = TokenBucket(rate)
    begin = now = 600.0  # the code waited that long
    sent: list[tuple[float, int]] = []
    while now < begin + 4.0:
        ready_at = bucket.ready_at(now)
        now = now if ready_at <= now else ready_at + late_s
        bucket.spend(now, bucket.most_message_bytes)
        sent.append((now, bucket.most_message_bytes))
    for start in (begin, begin + 0.5, begin + 1.0, begin + 2.7):
        second = sum(size for at, size in sent if start <= at < start + 1.0)
        assert 0.95 * rate <= second <= 1.05 * rate


def test_after_a_pause_the_limit_makes_up_for_little():
    bucket = TokenBucket(100_000)
    bucket.spend(0.0, 1_000)
    now, sent = 60.0, 0
    while (now := bucket.ready_at(now)) < 61.0:
        bucket.spend(now, 1_000)
        sent += 1_000
    assert sent <= 105_000


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(ValueError):
        TokenBucket(0)
