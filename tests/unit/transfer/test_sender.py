"""The sender against receivers that behave, misbehave, fall silent and lie."""

import pytest

from tallow_cli.errors import (
    PeerCancelled,
    PeerFailed,
    PeerProtocolError,
    PeerRefused,
    PeerVanished,
    ReportMissing,
    TransferStalled,
)
from tallow_cli.offer.manifest import MAX_MANIFEST_BYTES
from tallow_cli.offer.name_rules import POSIX, WINDOWS
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.driving import Accepted, ChannelState, Failed, Finished, PeerReady
from tallow_cli.transfer.frames import Ack, Credit, Data, Floor, Ping, parse_header_untrusted
from tallow_cli.transfer.messages import (
    Accept,
    Bye,
    Cancel,
    Complete,
    Digests,
    Offer,
    PieceDigests,
    Ready,
    Refuse,
    StreamEnd,
    Want,
    Why,
    Withdraw,
    pack_kept,
)
from tallow_cli.transfer.messages import Failed as FailedMessage
from tallow_cli.transfer.options import SendOptions
from tallow_cli.transfer.pieces import Pieces
from tallow_cli.transfer.sender import SendMachine, SendState
from tests.support.transfer_peer import HandPeer

MiB = 1024 * 1024


class Chunks:
    chunk_size = 40_000


def file_ends(total, files):
    """`files` files, of which the first has everything."""
    return (total,) * files


def start(total=100_000, *, channels=2, accept=True, credit=32 * MiB, files=1, held=(), **options):
    machine = SendMachine(channels=channels, chunk_sizer=Chunks(), now=0.0, options=SendOptions(**options))
    peer = HandPeer(machine, channels)
    peer.say(Ready(1, POSIX))
    assert machine.events() == [PeerReady(POSIX)]
    machine.offer(0.0, b"manifest", None if total is None else file_ends(total, files))
    if accept:
        peer.collect()
        peer.say(Accept(credit, held))
        assert machine.events() == [Accepted(sum(end - begin for begin, end in held))]
    return machine, peer


def content(offset, size):
    return bytes((offset + n) % 251 for n in range(size))


def read(machine, now=0.0):
    while (request := machine.next_read(now)) is not None:
        machine.chunk_read(now, request.offset, content(*request))


def ack_all(peer, sent, delay_us=0):
    """Acknowledges every data packet in `sent`, per channel, as one honest ACK each."""
    for channel in {channel for channel, _, _ in sent}:
        numbers = [number for there, number, _ in sent if there == channel]
        peer.send(channel, Ack(channel, delay_us, ((0, max(numbers)),)), Credit(0))


def error_of(machine):
    (event,) = [event for event in machine.events() if isinstance(event, Failed)]
    return event.error


def test_a_whole_transfer_ends_only_with_the_receivers_report():
    machine, peer = start()
    assert peer.messages == [Offer(1, b"manifest")]
    received = bytearray(100_000)
    while machine.figures.bytes_acked != 100000:
        read(machine, peer.now)
        sent = peer.collect()
        for _, _, frame in sent:
            if isinstance(frame, Data):
                received[frame.offset : frame.offset + len(frame.data)] = frame.data
        ack_all(peer, sent)
        peer.now += 0.01
    assert received == content(0, 100_000)
    assert machine.state is SendState.SENDING
    machine.digests(peer.now, 0, [bytes(32)])
    assert machine.state is SendState.COMPLETING
    assert machine.events() == []
    peer.say(Complete(100_000, 1))
    assert machine.events() == [Finished()]
    assert machine.state is SendState.DONE
    peer.collect()
    assert peer.messages[1:] == [Digests(0, (bytes(32),)), Bye()]
    assert machine.next_timeout() is None


def test_a_report_may_overtake_the_last_acks():
    machine, peer = start(total=1000)
    read(machine)
    peer.collect()
    machine.digests(0.0, 0, [bytes(32)])
    peer.say(Complete(1000, 1))
    assert machine.events() == [Finished()]
    assert machine.figures.bytes_acked == 1000
    assert machine.figures.bytes_written == 1000
    assert machine.figures.bytes_in_flight == 0


def test_what_the_receiver_has_written_is_told_by_its_credit():
    machine, peer = start(total=60_000)
    read(machine)
    ack_all(peer, peer.data())
    assert machine.figures.bytes_acked == 60_000
    assert machine.figures.bytes_written == 0, "it waits for the disk there"
    limit = 32 * 1024 * 1024
    peer.send(0, Credit(limit + 30_000))
    assert machine.figures.bytes_written == 30_000
    peer.send(0, Credit(limit + 900_000))
    assert machine.figures.bytes_written == 60_000, "no more than it has"


@pytest.mark.parametrize("report", [Complete(1000, 1), Complete(999, 1), Complete(1000, 2)])
def test_a_report_of_completion_that_cannot_be_true_is_a_protocol_error(report):
    machine, peer = start(total=1000)
    read(machine)
    if report != Complete(1000, 1):
        peer.collect()
        machine.digests(0.0, 0, [bytes(32)])
    peer.say(report)
    assert isinstance(error_of(machine), PeerProtocolError)
    assert machine.state is SendState.FAILED


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Refuse("local-file", "no room"), PeerRefused),
        (Cancel(), PeerCancelled),
        (FailedMessage("local-file", "The disk is full."), PeerFailed),
        (Complete(1, 1), PeerProtocolError),
        (Bye(), PeerProtocolError),
        (Offer(1, b""), PeerProtocolError),
        (StreamEnd(1), PeerProtocolError),
    ],
)
def test_every_way_the_receiver_may_answer_an_offer_with_no(message, error):
    machine, peer = start(accept=False)
    peer.say(message)
    assert isinstance(error_of(machine), error)
    assert machine.state is SendState.FAILED
    assert machine.next_read(0.0) is None


def test_a_second_accept_is_a_protocol_error():
    machine, peer = start()
    peer.say(Accept(1))
    assert isinstance(error_of(machine), PeerProtocolError)


@pytest.mark.parametrize(
    "frames",
    [
        (Ack(1, 0, ((0, 0),)),),  # nothing was sent there
        (Ack(3, 0, ((0, 0),)),),  # no such channel
        (Data(0, False, memoryview(b"x")),),
        (Floor(0),),
    ],
)
def test_frames_no_receiver_sends_are_a_protocol_error(frames):
    machine, peer = start()
    peer.send(1, *frames)
    assert isinstance(error_of(machine), PeerProtocolError)
    peer.collect()
    assert isinstance(peer.messages[-1], FailedMessage), "the peer is told"


def test_bytes_that_are_no_frames_are_a_protocol_error():
    machine, peer = start()
    peer.feed(1, b"\xff\xff")
    assert isinstance(error_of(machine), PeerProtocolError)


def test_after_the_end_nothing_the_peer_sends_matters():
    machine, peer = start()
    peer.say(Cancel())
    machine.events()
    peer.feed(1, b"\xff\xff")
    peer.say(Accept(1))
    machine.handle_timeout(1000.0)
    machine.cancel(1000.0)
    assert machine.events() == []
    assert machine.next_timeout() is None


def test_no_more_new_bytes_leave_than_the_credit_allows():
    machine, peer = start(total=MiB, credit=50_000)
    for _ in range(20):
        read(machine, peer.now)
        ack_all(peer, peer.collect())
        peer.now += 0.01
    assert machine.figures.bytes_sent == 50_000
    peer.send(1, Credit(40_000))
    assert peer.data() == [], "credit never shrinks, nor does a smaller one add"
    peer.send(1, Credit(60_000))
    assert sum(len(frame.data) for _, _, frame in peer.data()) == 10_000


def test_bytes_in_flight_stay_within_the_first_bound_until_the_path_is_known():
    machine, peer = start(total=10 * MiB)
    for _ in range(20):
        read(machine)
        peer.collect()
    assert 200_000 <= machine.figures.bytes_in_flight <= 300_000


def test_a_chunk_goes_whole_over_one_channel_and_the_next_over_the_next():
    machine, peer = start(total=160_000, channels=2)
    sent = []
    for _ in range(10):
        read(machine, peer.now)
        sent += peer.data()
    channels = [{there for there, _, frame in sent if frame.offset // 40_000 == chunk} for chunk in range(4)]
    assert channels == [{1}, {2}, {1}, {2}]
    assert [frame.end_of_chunk for _, _, frame in sent].count(True) == 4
    assert {len(frame.data) for _, _, frame in sent} == {12 * 1160 - 45, 12_250}, "whole network packets"


def test_packets_are_numbered_per_channel_and_never_twice():
    machine, peer = start(total=400_000, channels=3)
    for _ in range(10):
        read(machine, peer.now)
        peer.collect()
        peer.now += 1.5
        machine.handle_timeout(peer.now)
    for channel in (1, 2, 3):
        numbers = [
            number
            for there, number, frame in peer.frames
            if there == channel and not isinstance(frame, Floor)
        ]
        assert numbers == list(range(len(numbers)))


def test_a_paused_channel_gets_nothing_and_a_resumed_one_its_share():
    machine, peer = start(total=480_000, buffer_high=60_000, buffer_low=10_000)
    for channel in (1, 2):
        machine.buffered(0.0, channel, 0)
    queued = {1: 0, 2: 0}
    for _ in range(6):
        read(machine)
        for channel, _, frame in peer.data():
            queued[channel] += len(frame.data)
    assert all(50_000 < size < 80_000 for size in queued.values()), "both stop at the mark"
    machine.buffered(0.0, 1, 10_000)
    machine.buffered(0.0, 2, 10_001)
    assert {channel for channel, _, _ in peer.data()} == {1}


def test_what_a_dead_channels_stack_still_counts_holds_nothing_up():
    machine, peer = start(total=2_000_000)
    for channel in (1, 2):
        machine.buffered(0.0, channel, 0)
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    machine.buffered(0.0, 1, 10_000_000)
    machine.buffered(0.0, 2, 0)
    read(machine)
    assert {channel for channel, _, _ in peer.data()} == {2}
    assert machine.channels[1].buffered_bytes == 0


def test_what_was_outstanding_on_a_dead_channel_goes_over_the_others():
    machine, peer = start(total=80_000)
    read(machine)
    sent = peer.data()
    gone = {frame.offset for channel, _, frame in sent if channel == 2}
    machine.channel_state(0.0, 2, ChannelState.CLOSED)
    again = peer.data()
    assert {channel for channel, _, _ in again} == {1}
    assert {frame.offset for _, _, frame in again} == gone


def test_a_chunk_half_sent_on_a_dead_channel_goes_on_over_another():
    machine, peer = start(total=1_000_000, channels=2)
    while not any(channel == 1 and frame.offset >= 240_000 for channel, _, frame in peer.data()):
        read(machine)
        if machine.figures.bytes_in_flight > 250_000:
            break
    sent_once = machine.figures.bytes_sent
    assert sent_once % 40_000, "the bound in flight stopped it within a chunk"
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    received = set()
    for _ in range(200):
        read(machine, peer.now)
        sent = peer.collect()
        received |= {frame.offset for channel, _, frame in sent if isinstance(frame, Data) and channel == 2}
        numbers = [number for channel, number, _ in peer.frames if channel == 2]
        peer.send(2, Ack(2, 0, ((0, max(numbers)),)), Credit(0))
        peer.now += 0.01
    assert machine.figures.bytes_acked == 1_000_000


def test_a_late_ack_takes_the_loss_back():
    machine, peer = start(total=200_000, channels=1)
    read(machine)
    last = peer.data()[-1][1]
    peer.now = 0.05
    peer.send(1, Ack(1, 0, ((last, last),)), Credit(0))
    assert machine.figures.message_loss > 0.2
    acked = machine.figures.bytes_acked
    peer.now = 0.06
    peer.send(1, Ack(1, 0, ((0, last),)), Credit(0))
    assert machine.figures.message_loss < 0.1
    assert machine.figures.bytes_acked > acked
    assert not [frame for _, _, frame in peer.data() if frame.offset < acked], "nothing is sent again"


def test_losing_every_channel_ends_the_transfer():
    machine, peer = start()
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    assert machine.events() == []
    machine.channel_state(0.0, 2, ChannelState.CLOSED)
    assert isinstance(error_of(machine), PeerVanished)
    peer.collect()
    assert isinstance(peer.messages[-1], FailedMessage)


def test_losing_the_control_channel_ends_the_transfer():
    machine, _ = start()
    machine.channel_state(0.0, 0, ChannelState.CLOSED)
    assert isinstance(error_of(machine), PeerVanished)


def test_lost_data_goes_out_again_under_a_new_number_before_anything_new():
    machine, peer = start(total=10 * MiB, channels=1)
    read(machine)
    sent = peer.data()
    peer.now = 0.05
    peer.send(1, Ack(1, 0, ((1, sent[-1][1]),)), Credit(0))
    read(machine, peer.now)
    again = peer.data()
    assert again[0][2].offset == sent[0][2].offset
    assert again[0][1] > sent[-1][1]
    assert machine.channels[1].counters.messages_lost == 1


def test_a_tail_that_is_lost_is_probed_with_a_ping_and_its_oldest_data():
    machine, peer = start(total=1000, channels=1)
    read(machine)
    peer.collect()
    peer.now = 0.02
    deadline = machine.next_timeout()
    peer.now = deadline
    machine.handle_timeout(deadline)
    frames = [frame for _, _, frame in peer.collect()]
    assert any(isinstance(frame, Ping) for frame in frames)
    assert [frame.offset for frame in frames if isinstance(frame, Data)] == [0]
    assert machine.next_timeout() > deadline


def test_on_reliable_channels_nothing_is_ever_sent_twice():
    machine, peer = start(total=10_000, channels=1, reliable=True)
    read(machine)
    peer.data()
    for _ in range(10):
        peer.now += 2.0
        peer.send(0, Ping())
        machine.handle_timeout(peer.now)
        assert peer.data() == []


def test_a_silent_receiver_is_gone_after_the_idle_timeout():
    machine, peer = start(accept=False, idle_timeout_s=10.0)
    peer.collect()
    now = 0.0
    while machine.state is SendState.OFFERING:
        now = machine.next_timeout()
        peer.now = now
        machine.handle_timeout(now)
        peer.collect()
    assert now == pytest.approx(10.0)
    assert isinstance(error_of(machine), PeerVanished)
    assert [type(frame) for _, _, frame in peer.frames] == [Ping] * 3, "it was asked in vain before"


def test_a_pause_of_this_process_is_no_silence_and_no_stall():
    machine, peer = start(total=1000, idle_timeout_s=30.0)
    read(machine)
    peer.collect()
    for pause in (31.0, 600.0):
        peer.now += pause
        machine.handle_timeout(peer.now)
        assert machine.state is SendState.SENDING
        peer.collect()


def test_a_connection_lost_when_all_has_arrived_is_said_to_have_been_lost_then():
    machine, peer = start(total=1000)
    read(machine)
    ack_all(peer, peer.collect())
    machine.digests(0.0, 0, [bytes(32)])
    assert machine.state is SendState.COMPLETING
    machine.connection_lost(1.0, PeerVanished("the other side no longer answers"))
    error = error_of(machine)
    assert isinstance(error, ReportMissing)
    assert "no longer answers" in error.sentence
    assert "everything had arrived" in error.sentence


def test_a_cancel_when_all_was_handed_over_is_known_for_what_it_is():
    for hands_over in (True, False):
        machine, peer = start(total=1000)
        read(machine)
        ack_all(peer, peer.collect())
        machine.digests(0.0, 0, [bytes(32)])
        if hands_over:
            peer.collect()
        machine.cancel(0.0)
        assert machine.all_handed_over is hands_over
    machine, peer = start(total=1000)
    machine.cancel(0.0)
    assert not machine.all_handed_over


def test_an_acceptance_may_take_as_long_as_a_person_needs():
    machine, peer = start(accept=False, idle_timeout_s=10.0)
    while peer.now < 1000.0:
        peer.now = machine.next_timeout()
        machine.handle_timeout(peer.now)
        peer.collect()
        peer.send(0, Ping())
    assert machine.state is SendState.OFFERING


def test_data_that_is_never_acknowledged_by_a_living_peer_is_a_stall():
    machine, peer = start(total=1000, idle_timeout_s=10.0)
    read(machine)
    while machine.state is SendState.SENDING:
        peer.collect()
        peer.now = machine.next_timeout()
        peer.send(0, Ping())
        machine.handle_timeout(peer.now)
    assert isinstance(error_of(machine), TransferStalled)
    assert peer.now == pytest.approx(10.0, abs=0.1)


def test_cancelling_tells_the_receiver_and_makes_no_event():
    machine, peer = start()
    machine.cancel(0.0)
    assert machine.state is SendState.FAILED
    assert machine.events() == []
    peer.collect()
    assert peer.messages[-1] == Cancel()
    assert peer.data() == []


def test_a_local_failure_is_told_in_a_bounded_sentence():
    machine, peer = start()
    machine.abort(0.0, "local-file", "x" * 5000)
    peer.collect()
    told = peer.messages[-1]
    assert isinstance(told, FailedMessage)
    assert told.kind == "local-file"
    assert len(told.sentence) == 1000


def test_a_stream_of_unknown_length_announces_its_end():
    machine, peer = start(total=None)
    assert machine.next_read(0.0) == (0, 40_000)
    machine.chunk_read(0.0, 0, b"hello")
    assert machine.next_read(0.0) == (5, 40_000)
    assert [bytes(frame.data) for _, _, frame in peer.data()] == [b"hello"], "short reads are not held back"
    machine.chunk_read(0.0, 5, b"")
    peer.collect()
    assert peer.messages[-1] == StreamEnd(5)
    assert machine.figures.total_bytes == 5


def test_what_the_receiver_holds_is_not_sent():
    machine, peer = start(total=100_000, held=((0, 60_000), (61_000, 100_000)))
    read(machine)
    assert [(frame.offset, len(frame.data)) for _, _, frame in peer.data()] == [(60_000, 1000)]


def test_impossible_held_ranges_are_a_protocol_error():
    machine, peer = start(accept=False)
    peer.say(Accept(0, ((0, 200_000),)))
    assert isinstance(error_of(machine), PeerProtocolError)


@pytest.mark.parametrize(("first", "count"), [(1, 1), (0, 3), (0, 0)])
def test_digests_are_given_in_order_and_for_existing_files(first, count):
    machine, _ = start(files=2)
    if count:
        with pytest.raises(ValueError):
            machine.digests(0.0, first, [bytes(32)] * count)
    else:
        machine.digests(0.0, first, [])


def test_many_digests_are_cut_into_several_messages():
    machine, peer = start(total=0, files=5000)
    machine.digests(0.0, 0, [bytes(32)] * 5000)
    peer.collect()
    assert [len(message.digests) for message in peer.messages[1:]] == [1024] * 4 + [904]
    assert machine.state is SendState.COMPLETING


def test_round_trips_and_losses_reach_the_figures():
    machine, peer = start(total=MiB)
    read(machine)
    sent = peer.collect()
    peer.now = 0.05
    ack_all(peer, sent, delay_us=10_000)
    figures = machine.figures
    assert figures.min_rtt_s == pytest.approx(0.05)
    assert figures.message_loss == 0
    assert figures.bytes_in_flight == 0
    assert figures.first_data_at == 0.0
    assert figures.rate_bytes_per_s > 0


def test_sealed_packets_say_so_and_stay_within_the_message_limit():
    for sealed in (True, False):
        machine, peer = start(total=MiB, sealed=sealed, max_message_bytes=20_000, accept=False)
        peer.collect()
        peer.say(Accept(MiB))
        machine.events()
        read(machine)
        packets = machine.packets(0.0)
        for packet in packets:
            assert parse_header_untrusted(packet.header + b"x").sealed == sealed
            assert len(packet.header) + len(packet.payload) + 16 * sealed <= 20_000
        assert max(len(packet.payload) for packet in packets) > 10_000


def test_the_users_limit_spaces_the_messages():
    machine, peer = start(total=10 * MiB, limit_bytes_per_s=100_000)
    sent = 0
    while peer.now < 5.0:
        read(machine, peer.now)
        batch = peer.collect()
        sent += sum(len(frame.data) for _, _, frame in batch if isinstance(frame, Data))
        ack_all(peer, [entry for entry in batch if not isinstance(entry[2], Floor)])
        peer.now = max(machine.next_timeout(), peer.now + 0.001)
        machine.handle_timeout(peer.now)
    assert 490_000 <= sent <= 505_000


def test_misuse_by_the_shell_is_a_value_error():
    machine, _ = start()
    with pytest.raises(ValueError):
        machine.receive(0.0, 3, 0, b"\x01")
    with pytest.raises(ValueError):
        machine.channel_state(0.0, 9, ChannelState.OPEN)
    with pytest.raises(ValueError):
        machine.buffered(0.0, 0, 0)
    with pytest.raises(ValueError):
        machine.channel_state(0.0, 1, ChannelState.PAUSED)
    with pytest.raises(ValueError):
        machine.chunk_read(0.0, 0, b"unasked")
    with pytest.raises(ValueError):
        start(channels=0)
    with pytest.raises(ValueError):
        start(accept=False)[0].digests(0.0, 0, [bytes(32)])
    with pytest.raises(ValueError):
        machine.offer(0.0, b"again", ())
    unasked = SendMachine(channels=1, chunk_sizer=Chunks(), now=0.0)
    with pytest.raises(ValueError, match="nobody is ready"):
        unasked.offer(0.0, b"manifest", ())
    HandPeer(unasked, 1).say(Ready(1, POSIX))
    with pytest.raises(ValueError, match="a manifest of"):
        unasked.offer(0.0, bytes(MAX_MANIFEST_BYTES + 1), ())


def test_after_the_end_the_shells_late_calls_are_harmless():
    machine, _ = start()
    request = machine.next_read(0.0)
    machine.cancel(0.0)
    machine.chunk_read(0.0, request.offset, content(*request))
    machine.digests(0.0, 0, [bytes(32)])
    machine.buffered(0.0, 1, 0)
    machine.channel_state(0.0, 0, ChannelState.CLOSED)
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    machine.abort(0.0, "unexpected", "late")
    assert machine.events() == []


def test_the_receiver_speaks_first_and_says_which_names_it_takes():
    machine = SendMachine(channels=1, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine, 1)
    peer.collect()
    assert peer.messages == [], "nothing is offered before the receiver is ready"
    peer.say(Ready(1, WINDOWS))
    assert machine.state is SendState.READY
    assert machine.events() == [PeerReady(WINDOWS)]


@pytest.mark.parametrize("message", [Accept(1000), Ready(2, POSIX), Complete(0, 0), Refuse("usage", "no")])
def test_anything_else_before_the_offer_breaks_the_protocol(message):
    machine = SendMachine(channels=1, chunk_sizer=Chunks(), now=0.0)
    HandPeer(machine, 1).say(message)
    assert isinstance(error_of(machine), PeerProtocolError)


def test_an_answer_to_an_offer_that_was_not_made_breaks_the_protocol():
    machine = SendMachine(channels=1, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine, 1)
    peer.say(Ready(1, POSIX))
    machine.events()
    peer.say(Accept(1000))
    assert isinstance(error_of(machine), PeerProtocolError)
    machine.offer(0.0, b"late", ())  # the shell cannot know yet
    assert machine.state is SendState.FAILED


def test_of_a_withdrawn_file_nothing_more_is_read():
    machine, peer = start(total=1_000_000, files=3)
    first = machine.next_read(0.0)
    assert first is not None
    machine.digests(0.0, 0, [bytes(32)])
    machine.withdraw(0.0, 1, 10_000, 900_000, Why.VANISHED)
    machine.chunk_read(0.0, first.offset, content(*first))
    after = []
    while (request := machine.next_read(0.0)) is not None:
        after.append(request)
        machine.chunk_read(0.0, request.offset, content(*request))
    peer.collect()
    withdrawn = next(message for message in peer.messages if isinstance(message, Withdraw))
    asked_for = withdrawn.size
    assert withdrawn == Withdraw(1, asked_for, Why.VANISHED)
    assert min(request.offset for request in after if request.offset >= 10_000 + asked_for) == 900_000
    while machine.figures.bytes_acked != 1_000_000:
        read(machine, peer.now)
        ack_all(peer, peer.collect())
        peer.now += 0.01
    machine.digests(peer.now, 2, [bytes(32)])
    peer.say(Complete(1_000_000, 2))
    assert machine.events() == [Finished()]


def test_a_report_that_counts_a_withdrawn_file_is_a_protocol_error():
    machine, peer = start(total=0, files=1)
    machine.withdraw(0.0, 0, 0, 0, Why.CHANGED)
    peer.say(Complete(0, 1))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_files_are_settled_once_and_digests_are_told_in_order():
    machine, _ = start(total=100, files=3)
    with pytest.raises(ValueError, match="is next"):
        machine.digests(0.0, 1, [bytes(32)])
    machine.withdraw(0.0, 1, 0, 0, Why.CHANGED)  # as after a reconnect: known from the start
    with pytest.raises(ValueError, match="has no digest"):
        machine.withdraw(0.0, 1, 0, 0, Why.CHANGED)
    with pytest.raises(ValueError, match="of a stream of"):
        machine.withdraw(0.0, 2, 0, 101, Why.CHANGED)


def test_digests_pass_over_files_that_are_kept_or_withdrawn():
    machine, peer = accepted((10, 20, 30, 40, 50), kept=[(1, 2)])
    machine.withdraw(0.0, 3, 30, 40, Why.VANISHED)
    machine.digests(0.0, 0, [bytes(32)] * 3)
    with pytest.raises(ValueError):
        machine.digests(0.0, 1, [bytes(32)])
    peer.collect()
    assert peer.messages[-1] == Digests(0, (bytes(32),) * 3)
    for request in read_all(machine):
        assert request.offset not in range(10, 20)
    ack_all(peer, peer.collect())
    assert machine.state is SendState.COMPLETING
    peer.say(Complete(50, 4))
    assert machine.events() == [Finished()]


def accepted(ends, *, kept=(), **answer):
    """A machine whose offer of files that end at `ends` is answered so."""
    machine = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine, 2)
    peer.say(Ready(1, POSIX))
    machine.offer(0.0, b"manifest", ends)
    peer.collect()
    peer.say(Accept(32 * MiB, kept=pack_kept(RangeSet(kept)), **answer))
    assert isinstance(machine.events()[-1], Accepted)
    return machine, peer


def read_all(machine):
    requests = []
    while (request := machine.next_read(0.0)) is not None:
        machine.chunk_read(0.0, request.offset, content(*request))
        requests.append(request)
    return requests


def test_of_what_is_kept_held_or_claimed_nothing_is_sent_and_digests_of_the_claimed_pieces_are_asked_for():
    machine = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine, 2)
    peer.say(Ready(1, POSIX))
    machine.offer(0.0, b"manifest", (10_000, 20_000, 50_000))
    machine.events()
    peer.say(Accept(32 * MiB, held=((0, 2_000),), kept=b"\x02", claims=((5_000, 10_000), (20_000, 30_000))))
    (event,) = machine.events()
    assert event == Accepted(
        27_000, Pieces((10_000, 30_000), [(5_000, 10_000), (20_000, 30_000)]), RangeSet([(1, 2)])
    )
    assert read_all(machine) == [(2_000, 3_000), (30_000, 20_000)]
    assert machine.acked_until == 2_000
    machine.digests(0.0, 0, [bytes(32)] * 2)
    ack_all(peer, peer.collect())
    assert machine.state is SendState.SENDING, "no digest of a piece was told"
    assert machine.figures.unproven_bytes == 15_000
    machine.piece_digests(0.0, 0, [b"a" * 32])
    assert machine.figures.unproven_bytes == 10_000
    machine.piece_digests(0.0, 1, [b"b" * 32])
    peer.collect()
    assert peer.messages[-2:] == [PieceDigests(0, (b"a" * 32,)), PieceDigests(1, (b"b" * 32,))]
    assert machine.state is SendState.COMPLETING
    assert machine.acked_until == 5_000, "the rest may still be wanted"
    peer.say(Complete(50_000, 3))
    assert machine.events() == [Finished()]


def test_what_is_wanted_is_sent_and_taken_off_what_was_there():
    machine, peer = accepted((100_000,), claims=((0, 100_000),))
    machine.digests(0.0, 0, [bytes(32)])
    machine.piece_digests(0.0, 0, [bytes(32)])
    assert machine.state is SendState.COMPLETING
    assert machine.figures.bytes_written == 100_000
    peer.say(Want(((40_000, 60_000),)))
    assert machine.state is SendState.SENDING
    assert machine.figures.bytes_written == 80_000
    assert read_all(machine) == [(40_000, 20_000)]
    ack_all(peer, peer.collect())
    assert machine.state is SendState.COMPLETING
    peer.send(1, Credit(32 * MiB + 20_000))
    assert machine.figures.bytes_written == 100_000


@pytest.mark.parametrize(
    "answer",
    [
        Accept(0, claims=((0, 200_000),)),
        Accept(0, claims=((0, 10), (5, 20))),
        Accept(0, claims=((10, 20), (0, 5))),
        Accept(0, held=((0, 10),), claims=((5, 20),)),
        Accept(0, kept=b"\x01", claims=((5, 20),)),
        Accept(0, kept=b"\x02"),
        Accept(0, kept=b"\x01\x00"),
    ],
)
def test_an_answer_that_cannot_be_breaks_the_protocol(answer):
    machine, peer = start(accept=False)
    peer.say(answer)
    assert isinstance(error_of(machine), PeerProtocolError)


@pytest.mark.parametrize(
    "answer", [Accept(0, kept=b"\x01"), Accept(0, claims=((0, 1),)), Accept(0, held=((0, 1),))]
)
def test_nothing_of_a_stream_that_was_not_read_can_be_there(answer):
    machine, peer = start(total=None, accept=False)
    peer.say(answer)
    assert isinstance(error_of(machine), PeerProtocolError)


@pytest.mark.parametrize(
    "wants",
    [
        [Want(((0, 10),))],
        [Want(((50_000, 60_001),))],
        [Want(((50_000, 60_000),)), Want(((59_999, 60_000),))],
        [Want(((55_000, 55_000),))],
        [Want(((55_000, 56_000), (50_000, 51_000)))],
    ],
)
def test_who_wants_what_is_not_claimed_or_wants_it_twice_breaks_the_protocol(wants):
    machine, peer = accepted((100_000,), claims=((50_000, 60_000),))
    for want in wants:
        assert machine.state is SendState.SENDING
        peer.say(want)
    assert isinstance(error_of(machine), PeerProtocolError)


def test_a_want_before_the_answer_breaks_the_protocol_and_after_the_end_nobody_listens():
    machine, peer = start(accept=False)
    peer.say(Want(((0, 1),)))
    assert isinstance(error_of(machine), PeerProtocolError)
    machine, peer = accepted((100,), claims=((0, 100),))
    machine.digests(0.0, 0, [bytes(32)])
    machine.piece_digests(0.0, 0, [bytes(32)])
    peer.say(Complete(100, 1))
    assert machine.events() == [Finished()]
    peer.say(Want(((0, 1),)))
    assert machine.state is SendState.DONE
    assert machine.events() == []


def test_a_report_before_every_piece_has_its_digest_breaks_the_protocol():
    machine, peer = accepted((100,), claims=((0, 100),))
    machine.digests(0.0, 0, [bytes(32)])
    peer.say(Complete(100, 1))
    assert isinstance(error_of(machine), PeerProtocolError)


@pytest.mark.parametrize(("first", "count"), [(1, 1), (0, 2)])
def test_digests_of_pieces_are_given_in_order_and_of_none_that_is_not_there(first, count):
    machine, _ = accepted((100,), claims=((0, 100),))
    with pytest.raises(ValueError):
        machine.piece_digests(0.0, first, [bytes(32)] * count)


def test_many_digests_of_pieces_are_cut_into_several_messages():
    ends = tuple(range(1, 3001))
    machine, peer = accepted(ends, claims=((0, 3000),))
    machine.piece_digests(0.0, 0, [bytes(32)] * 3000)
    peer.collect()
    assert [message.first for message in peer.messages if isinstance(message, PieceDigests)] == [
        0,
        1024,
        2048,
    ]


def test_a_stream_goes_on_where_the_receiver_lacks_something():
    machine = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine, 2)
    peer.say(Ready(1, POSIX))
    machine.offer(0.0, b"manifest", None, stream_bytes=90_000)
    peer.say(Accept(32 * MiB, held=((0, 30_000), (50_000, 60_000))))
    assert machine.events()[-1] == Accepted(40_000)
    assert machine.next_read(0.0) == (30_000, 20_000)
    machine.chunk_read(0.0, 30_000, content(30_000, 20_000))
    assert machine.next_read(0.0) == (60_000, 40_000)
    machine.chunk_read(0.0, 60_000, content(60_000, 30_000))
    ack_all(peer, peer.collect())
    assert machine.next_read(0.0) == (90_000, 40_000)
    machine.chunk_read(0.0, 90_000, b"")
    machine.digests(0.0, 0, [bytes(32)])
    ack_all(peer, peer.collect())
    assert machine.state is SendState.COMPLETING
    assert machine.acked_until == 90_000


def test_a_file_may_be_withdrawn_after_its_digest_where_something_is_still_read_of_it():
    machine, peer = accepted((10, 20), claims=((0, 20),))
    machine.digests(0.0, 0, [bytes(32), bytes(32)])
    machine.piece_digests(0.0, 0, [b"d" * 32, b"d" * 32])
    peer.say(Want(((0, 10),)))
    (request,) = read_all(machine)
    assert request.offset == 0
    machine.withdraw(0.0, 0, 0, 10, Why.CHANGED)
    with pytest.raises(ValueError, match="has no digest"):
        machine.withdraw(0.0, 0, 0, 10, Why.CHANGED)
    peer.collect()
    assert [each for each in peer.messages if isinstance(each, Withdraw)] == [Withdraw(0, 10, Why.CHANGED)]
