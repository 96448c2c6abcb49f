from tallow_cli.dataplane.rack import REORDER_PERSISTENCE, RTO_MIN_S, Rack, RttEstimator


def estimator(*samples_s: float) -> RttEstimator:
    rtt = RttEstimator()
    for number, sample_s in enumerate(samples_s):
        rtt.add(float(number), sample_s)
    return rtt


def test_srtt_and_rto_follow_rfc_6298_with_a_floor_below_one_second() -> None:
    rtt = estimator(0.1)
    assert (rtt.srtt_s, rtt.rttvar_s) == (0.1, 0.05)
    rtt.add(1.0, 0.9)
    assert abs(rtt.srtt_s - 0.2) < 1e-9
    assert abs(rtt.rto_s - (0.2 + 4 * 0.2375)) < 1e-9
    assert estimator(0.001).rto_s == RTO_MIN_S


def test_the_least_rtt_is_forgotten_after_its_window() -> None:
    rtt = estimator(0.01)
    for second in range(1, 40):
        rtt.add(float(second), 0.05)
    assert rtt.min_rtt_s == 0.05
    assert RttEstimator().min_rtt_s == 0.0


def test_a_guess_from_the_handshake_is_no_least_rtt() -> None:
    rtt = RttEstimator(0.1)
    assert (rtt.srtt_s, rtt.min_rtt_s) == (0.1, 0.0)


def test_what_was_sent_before_something_delivered_is_known_by_time_then_tsn() -> None:
    rack = Rack(estimator(0.1))
    rack.on_delivered(1.0, 0.9, 20, retransmitted=False)
    assert rack.was_sent_before(0.8, 50)
    assert rack.was_sent_before(0.9, 19)
    assert not rack.was_sent_before(0.9, 20)
    assert not rack.was_sent_before(0.95, 1)
    rack.on_delivered(1.1, 0.5, 99, retransmitted=False)
    assert rack.was_sent_before(0.9, 19), "an older delivery takes nothing back"


def test_an_ack_too_fast_for_its_retransmission_is_of_the_original() -> None:
    rack = Rack(estimator(0.1))
    rack.on_delivered(1.0, 0.99, 20, retransmitted=True)
    assert not rack.was_sent_before(0.5, 1)


def test_without_reordering_three_packets_above_a_hole_are_enough() -> None:
    rack = Rack(estimator(0.1))
    assert rack.reorder_window_s(duplicate_threshold=True) == 0.0
    assert rack.reorder_window_s(duplicate_threshold=False) == 0.1 / 4
    rack.set_recovery(True)
    assert rack.reorder_window_s(duplicate_threshold=False) == 0.0


def test_once_reordering_was_seen_the_window_stays_and_duplicates_widen_it() -> None:
    rack = Rack(estimator(0.1))
    rack.reordering_seen = True
    assert rack.reorder_window_s(duplicate_threshold=True) == 0.1 / 4
    rack.on_duplicates(1.0)
    rack.on_duplicates(1.01)  # the same round trip
    assert rack.reorder_window_s(duplicate_threshold=True) == 0.1 / 2
    for number in range(20):
        rack.on_duplicates(2.0 + number)
    assert rack.reorder_window_s(duplicate_threshold=True) == 0.1, "never more than a round trip"
    for _ in range(REORDER_PERSISTENCE):
        rack.set_recovery(True)
        rack.set_recovery(False)
    assert rack.reorder_window_s(duplicate_threshold=True) == 0.1 / 4
