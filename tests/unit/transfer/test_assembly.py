"""The receiver's books: exactly once, files whole, floods bounded."""

from random import Random

import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.transfer import assembly
from tallow_cli.transfer.assembly import FileLedger, StreamIntake

DIGEST = bytes(32)


def arrive(intake, offset, data):
    return intake.arrived_untrusted(offset, memoryview(data))


def writes(intake):
    return [(offset, bytes(data)) for offset, data in intake.writes()]


def test_every_byte_is_given_out_once():
    intake = StreamIntake()
    assert arrive(intake, 10, b"k" * 5000) == 5000
    assert arrive(intake, 0, b"a" * 20) == 10
    assert arrive(intake, 10, b"k" * 5000) == 0
    assert writes(intake) == [(10, b"k" * 5000), (0, b"a" * 10)]
    assert writes(intake) == []
    assert intake.duplicate_bytes == 5010
    assert intake.received_bytes == 5010


def test_overlapping_data_fills_only_the_gaps():
    intake = StreamIntake()
    arrive(intake, 5000, b"x" * 5000)
    assert arrive(intake, 0, b"y" * 15_000) == 10_000
    assert [(offset, len(data)) for offset, data in writes(intake)] == [
        (5000, 5000),
        (0, 5000),
        (10_000, 5000),
    ]


def test_data_beyond_the_end_is_a_protocol_error():
    intake = StreamIntake()
    intake.end_untrusted(10)
    arrive(intake, 0, b"0123456789")
    assert intake.complete
    with pytest.raises(PeerProtocolError):
        arrive(intake, 9, b"xx")


def test_an_end_before_data_already_sent_is_a_protocol_error():
    intake = StreamIntake()
    arrive(intake, 0, b"0123456789")
    with pytest.raises(PeerProtocolError):
        intake.end_untrusted(9)


def test_a_second_end_is_a_protocol_error():
    intake = StreamIntake()
    intake.end_untrusted(9)
    with pytest.raises(PeerProtocolError):
        intake.end_untrusted(9)


def test_a_flood_of_islands_is_stopped():
    intake = StreamIntake()

    def flood():
        for n in range(assembly.MAX_FRAGMENTS + 2):
            arrive(intake, 2 * n, b"x")
            intake.writes()
            intake.finished_write()

    with pytest.raises(PeerProtocolError):
        flood()


def test_a_flood_of_writes_the_disk_does_not_take_is_stopped():
    intake = StreamIntake(max_backlog_writes=100)

    def flood():
        for n in range(200):  # two streams in turns: no neighbours to join
            arrive(intake, n + (n % 2) * 1_000_000, b"x")
            intake.writes()

    with pytest.raises(PeerProtocolError):
        flood()


def test_small_neighbours_become_one_write():
    intake = StreamIntake()
    for n in range(10_000):
        arrive(intake, n, b"x")
    given = writes(intake)
    assert len(given) < 5
    assert b"".join(data for _, data in given) == b"x" * 10_000


def test_a_full_window_of_tiny_pieces_waits_for_the_disk_and_is_no_flood():
    intake = StreamIntake()
    window, size = 32 * 1024 * 1024, 80
    line = memoryview(b"x" * size)
    for offset in range(0, window - size, size):
        intake.arrived_untrusted(offset, line)
    assert intake.waiting_bytes == window // size * size
    assert len(writes(intake)) < 10_000


@pytest.mark.parametrize("seed", range(20))
def test_small_pieces_in_any_order_are_joined_and_each_byte_comes_once(seed):
    rng = Random(seed)
    content = rng.randbytes(60_000)
    pieces = []
    offset = 0
    while offset < len(content):
        size = rng.choice((1, 7, 80, 500, 4_095, 4_096, 9_000))
        pieces.append((offset, content[offset : offset + size]))
        offset += size
    shuffled = sorted(pieces, key=lambda piece: piece[0] + rng.random() * rng.choice((0, 2_000, 60_000)))
    intake = StreamIntake()
    found = bytearray(len(content))
    given = 0
    for offset, data in shuffled:
        arrive(intake, offset, data)
        if rng.random() < 0.05:
            for at, taken in writes(intake):
                found[at : at + len(taken)] = taken
                given += len(taken)
    for at, taken in writes(intake):
        found[at : at + len(taken)] = taken
        given += len(taken)
    assert (bytes(found), given, intake.waiting_bytes) == (content, len(content), 0), f"seed {seed}"


def test_shuffled_small_pieces_end_as_few_writes():
    intake = StreamIntake()
    offsets = list(range(0, 400_000, 80))
    Random(1).shuffle(offsets)
    for offset in offsets:
        arrive(intake, offset, b"y" * 80)
    assert len(writes(intake)) < 250


def test_a_large_message_is_given_to_the_disk_in_parts_that_are_reported_one_by_one():
    intake = StreamIntake()
    content = bytes(range(256)) * 4 * 4096 + b"end"
    arrive(intake, 7, content)
    assert intake.waiting_bytes == len(content)
    given = writes(intake)
    assert {len(data) for _, data in given} == {256 * 1024, 3}
    assert b"".join(data for _, data in given) == content
    assert [offset for offset, _ in given] == [7 + number * 256 * 1024 for number in range(len(given))]
    for _ in given:
        intake.finished_write()
    with pytest.raises(ValueError):
        intake.finished_write()


def test_a_small_part_of_a_large_message_does_not_keep_it_in_memory():
    intake = StreamIntake()
    arrive(intake, 0, bytes(99_000))
    intake.writes()
    arrive(intake, 0, bytes(100_000))
    ((_, data),) = intake.writes()
    assert len(data.obj) == 1000


def test_held_ranges_count_as_received_and_are_not_written_again():
    intake = StreamIntake()
    intake.end_untrusted(100)
    intake.hold(0, 40)
    assert arrive(intake, 0, bytes(100)) == 60
    assert [offset for offset, _ in intake.writes()] == [40]
    assert intake.complete


@pytest.mark.parametrize(("start", "end"), [(5, 5), (0, 101), (-1, 5)])
def test_held_ranges_that_cannot_be_are_the_shells_mistake(start, end):
    intake = StreamIntake()
    intake.end_untrusted(100)
    with pytest.raises(ValueError):
        intake.hold(start, end)


def test_reporting_a_write_that_was_never_given_is_the_shells_mistake():
    with pytest.raises(ValueError):
        StreamIntake().finished_write()


def test_a_file_is_ready_when_whole_and_its_digest_known():
    ledger = FileLedger([10, 10, 30])
    ledger.written(0, 15)
    assert ledger.newly_ready() == []
    ledger.digests_untrusted(0, [DIGEST, DIGEST])
    assert [index for index, _ in ledger.newly_ready()] == [0, 1]
    ledger.digests_untrusted(2, [DIGEST])
    assert ledger.newly_ready() == []
    ledger.written(15, 15)
    assert ledger.newly_ready() == [(2, DIGEST)]
    assert ledger.newly_ready() == []
    assert ledger.all_written
    for index in range(3):
        ledger.file_verified(index)
    assert ledger.all_settled


def test_an_empty_file_needs_only_its_digest():
    ledger = FileLedger([0])
    assert ledger.all_written
    ledger.digests_untrusted(0, [DIGEST])
    assert ledger.newly_ready() == [(0, DIGEST)]


def test_a_stream_of_unknown_length_is_one_file_ready_at_its_end():
    ledger = FileLedger(None)
    ledger.written(0, 10)
    ledger.digests_untrusted(0, [DIGEST])
    assert ledger.newly_ready() == []
    ledger.end(20)
    assert ledger.newly_ready() == []
    ledger.written(10, 10)
    assert ledger.newly_ready() == [(0, DIGEST)]


def test_one_write_may_finish_many_files():
    ledger = FileLedger(list(range(1, 1001)))
    ledger.digests_untrusted(0, [DIGEST] * 1000)
    ledger.written(0, 1000)
    assert [index for index, _ in ledger.newly_ready()] == list(range(1000))


@pytest.mark.parametrize(("first", "count"), [(1, 1), (0, 3), (5, 1)])
def test_digests_out_of_order_or_of_no_file_are_a_protocol_error(first, count):
    ledger = FileLedger([10, 20])
    with pytest.raises(PeerProtocolError):
        ledger.digests_untrusted(first, [DIGEST] * count)


@pytest.mark.parametrize("index", [0, 1, 2, -1])
def test_verifying_what_is_not_ready_is_the_shells_mistake(index):
    ledger = FileLedger([0, 20])
    ledger.digests_untrusted(0, [DIGEST])
    ledger.newly_ready()
    ledger.file_verified(0)
    with pytest.raises(ValueError):
        ledger.file_verified(index)


def test_file_ends_must_ascend():
    with pytest.raises(ValueError):
        FileLedger([10, 5])
