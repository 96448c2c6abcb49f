from tallow_cli.dataplane.batches import BatchBuilder


def sizes(builder: BatchBuilder) -> list[list[int]]:
    return [[len(packet) for packet in batch] for batch in builder.batches]


def run(*lengths: int) -> list[bytes]:
    return [bytes(length) for length in lengths]


def test_runs_of_one_size_share_a_batch_until_a_short_packet_ends_it() -> None:
    builder = BatchBuilder(64, 65_000, 37)
    builder.add(run(100, 100))
    builder.add(run(100, 60))
    builder.add(run(100))
    assert sizes(builder) == [[100, 100, 100, 60], [100]]


def test_a_single_shorter_packet_may_end_a_batch_but_two_may_not() -> None:
    builder = BatchBuilder(64, 65_000, 37)
    builder.add(run(100))
    builder.add(run(60))
    builder.add(run(100))
    builder.add(run(60, 60))
    assert sizes(builder) == [[100, 60], [100], [60, 60]]


def test_a_larger_packet_opens_a_new_batch() -> None:
    builder = BatchBuilder(64, 65_000, 37)
    builder.add(run(60))
    builder.add(run(100))
    assert sizes(builder) == [[60], [100]]


def test_the_limits_of_a_send_call_hold_with_the_seal_counted() -> None:
    builder = BatchBuilder(64, 1_000, 37)
    builder.add(run(*[213] * 9))
    assert [len(batch) for batch in builder.batches] == [4, 4, 1]
    builder = BatchBuilder(2, 65_000, 0)
    builder.add(run(1, 1, 1))
    assert [len(batch) for batch in builder.batches] == [2, 1]


def test_control_packets_stay_alone() -> None:
    builder = BatchBuilder(64, 65_000, 37)
    builder.add_alone(bytes(20))
    builder.add(run(100, 100))
    builder.add_alone(bytes(20))
    builder.add(run(100))
    assert sizes(builder) == [[20], [100, 100], [20], [100]]
