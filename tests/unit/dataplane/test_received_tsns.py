from tallow_cli.dataplane.packets import Sack, parse_sack_untrusted
from tallow_cli.dataplane.received_tsns import MAX_DUPLICATES, SACK_DELAY_S, ReceivedTsns


def sack_of(tsns: ReceivedTsns, max_bytes: int = 1_176) -> Sack:
    return parse_sack_untrusted(tsns.take_sack(1_000, max_bytes)[4:])


def test_gaps_are_reported_as_offsets_from_the_cumulative_tsn_across_the_wrap() -> None:
    tsns = ReceivedTsns(2**32 - 2, 16)
    tsns.add(0.0, 2**32 - 2, 2**32 - 1)
    tsns.add(0.0, 2**32, 2**32 + 3)
    tsns.add(0.0, 2**32 + 5, 2**32 + 6)
    assert sack_of(tsns) == Sack(2**32 - 2, 1_000, (2, 4, 7, 7), ())


def test_a_filled_gap_moves_the_cumulative_tsn_over_all_that_waited() -> None:
    tsns = ReceivedTsns(10, 16)
    tsns.add(0.0, 12, 15)
    tsns.add(0.0, 16, 18)
    tsns.add(0.0, 10, 12)
    assert tsns.cumulative_end == 15
    tsns.add(0.0, 15, 16)
    assert (tsns.cumulative_end, tsns.has_gaps) == (18, False)


def test_ranges_join_left_right_and_both() -> None:
    tsns = ReceivedTsns(0, 16)
    for first, end in ((10, 12), (20, 22), (12, 13), (19, 20), (30, 31), (13, 19)):
        tsns.add(0.0, first, end)
    assert sack_of(tsns).gaps == (11, 22, 31, 31)
    assert [tsn in tsns for tsn in (-5, 9, 10, 21, 22, 30)] == [True, False, True, True, False, True]


def test_a_sack_is_due_after_so_many_packets_or_after_its_delay() -> None:
    tsns = ReceivedTsns(0, 4)
    tsns.add(1.0, 0, 1)
    assert tsns.sack_at == 1.0 + SACK_DELAY_S
    tsns.add(1.001, 1, 3)
    assert tsns.sack_at == 1.0 + SACK_DELAY_S
    tsns.add(1.001, 3, 4)
    assert tsns.sack_at == 1.001
    sack_of(tsns)
    assert tsns.sack_at is None


def test_a_new_gap_and_a_filled_one_are_told_at_once_but_an_old_gap_is_not() -> None:
    tsns = ReceivedTsns(0, 100)
    tsns.add(1.0, 5, 6)
    assert tsns.sack_at == 1.0
    sack_of(tsns)
    tsns.add(2.0, 6, 7)
    assert tsns.sack_at == 2.0 + SACK_DELAY_S
    tsns.add(3.0, 3, 4)
    assert tsns.sack_at == 3.0
    sack_of(tsns)
    tsns.add(4.0, 0, 3)
    assert tsns.sack_at == 4.0


def test_duplicates_are_reported_once_and_only_so_many() -> None:
    tsns = ReceivedTsns(0, 16)
    tsns.add(0.0, 0, 200)
    for tsn in range(200):
        tsns.add_duplicate(0.0, tsn)
    assert sack_of(tsns).duplicates == tuple(range(MAX_DUPLICATES))
    assert sack_of(tsns).duplicates == ()


def test_a_long_list_of_gaps_is_cut_to_the_lowest_that_fit() -> None:
    tsns = ReceivedTsns(0, 16)
    for number in range(1_000):
        tsns.add(0.0, 2 * number + 1, 2 * number + 2)
    chunk = tsns.take_sack(1_000, 100)
    assert len(chunk) <= 100
    assert parse_sack_untrusted(chunk[4:]).gaps[:4] == (2, 2, 4, 4)


def test_forward_skips_what_is_missing_and_never_goes_back() -> None:
    tsns = ReceivedTsns(0, 16)
    tsns.add(0.0, 5, 8)
    tsns.add(0.0, 9, 10)
    tsns.forward(5)
    assert tsns.cumulative_end == 8
    tsns.forward(3)
    assert tsns.cumulative_end == 8
    tsns.forward(100)
    assert (tsns.cumulative_end, tsns.highest_end, tsns.has_gaps) == (100, 100, False)
