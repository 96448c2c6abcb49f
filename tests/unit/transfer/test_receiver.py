"""The receiver against senders that behave, misbehave, flood and vanish."""

import pytest

from tallow_cli.errors import PeerCancelled, PeerFailed, PeerProtocolError, PeerVanished, TransferStalled
from tallow_cli.measure.path_summary import PathSummary
from tallow_cli.offer.name_rules import POSIX, WINDOWS
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.driving import (
    ChannelState,
    Failed,
    FileReady,
    FileWithdrawn,
    Finished,
    OfferArrived,
    PieceDigested,
    Reported,
)
from tallow_cli.transfer.frames import Ack, Credit, Data, Floor, Ping
from tallow_cli.transfer.messages import (
    MAX_HELD_RANGES,
    NOT_PROVEN,
    Accept,
    Bye,
    Cancel,
    Complete,
    Digests,
    Offer,
    PathReport,
    PieceDigests,
    Ready,
    Refuse,
    StreamEnd,
    Want,
    Why,
    Withdraw,
)
from tallow_cli.transfer.messages import Failed as FailedMessage
from tallow_cli.transfer.options import ReceiveOptions
from tallow_cli.transfer.receiver import ReceiveMachine, ReceiveState
from tests.support.transfer_peer import HandPeer

DIGEST = b"d" * 32
MiB4 = 4 * 1024 * 1024


def start(ends=(10_000,), *, accept=True, held=(), **options):
    machine = ReceiveMachine(channels=2, now=0.0, options=ReceiveOptions(**options))
    peer = HandPeer(machine, 2)
    if accept:
        peer.say(Offer(1, b"manifest"))
        assert machine.events() == [OfferArrived(b"manifest")]
        machine.accept(0.0, ends, RangeSet(held))
        peer.collect()
    return machine, peer


def data(offset, size, *, end_of_chunk=False):
    return Data(offset, end_of_chunk, memoryview(bytes(size)))


def write_all(machine, now=0.0):
    taken = machine.writes()
    for offset, view in taken:
        machine.written(now, offset, len(view))
    return [(offset, len(view)) for offset, view in taken]


def error_of(machine):
    (event,) = [event for event in machine.events() if isinstance(event, Failed)]
    return event.error


def test_a_whole_transfer_is_reported_only_when_every_file_is_verified():
    machine, peer = start((6_000, 6_000, 10_000))
    assert peer.messages == [Ready(1, POSIX), Accept(32 * 1024 * 1024)]
    peer.send(1, Floor(0), data(0, 7_000, end_of_chunk=True))
    peer.send(2, Floor(0), data(7_000, 3_000))
    peer.say(Digests(0, (DIGEST, DIGEST)))
    assert machine.events() == [FileReady(1, DIGEST)], "it is empty, so it is whole"
    assert write_all(machine) == [(0, 7_000), (7_000, 3_000)]
    assert machine.events() == [FileReady(0, DIGEST)]
    assert machine.state is ReceiveState.VERIFYING
    peer.say(Digests(2, (DIGEST,)))
    assert machine.events() == [FileReady(2, DIGEST)]
    machine.file_verified(0.0, 1)
    machine.file_verified(0.0, 0)
    peer.collect()
    assert not any(isinstance(message, Complete) for message in peer.messages)
    machine.file_verified(0.0, 2)
    assert machine.state is ReceiveState.REPORTED
    peer.collect()
    assert peer.messages[-1] == Complete(10_000, 3)
    assert machine.events() == [Reported()]
    peer.say(Bye())
    assert machine.events() == [Finished()]
    assert machine.state is ReceiveState.DONE
    assert machine.channels[1].counters.chunks_received == 1


def finish_but_for_the_bye():
    machine, peer = start(())
    assert machine.state is ReceiveState.REPORTED
    assert peer.messages[-1] == Complete(0, 0)
    assert machine.events() == [Reported()]
    return machine, peer


def test_a_sender_that_vanishes_after_the_report_takes_nothing_away():
    machine, _ = finish_but_for_the_bye()
    machine.channel_state(1.0, 0, ChannelState.CLOSED)
    assert machine.events() == [Finished()]


def test_a_goodbye_is_waited_for_while_the_report_may_be_on_its_way_and_a_little_longer():
    machine, peer = finish_but_for_the_bye()
    while peer.now < 25.0:
        peer.now = machine.next_timeout()
        machine.handle_timeout(peer.now)
        peer.collect()
    assert machine.state is ReceiveState.REPORTED
    machine.report_delivered(25.0)
    machine.report_delivered(26.0)
    machine.handle_timeout(29.9)
    assert machine.state is ReceiveState.REPORTED
    machine.handle_timeout(30.0)
    assert machine.events() == [Finished()]


def test_silence_after_the_report_is_the_end_and_no_failure():
    machine, peer = finish_but_for_the_bye()
    while machine.state is ReceiveState.REPORTED:
        peer.now = machine.next_timeout()
        machine.handle_timeout(peer.now)
        peer.collect()
    assert machine.events() == [Finished()]


ENDS = {
    "cancel": lambda peer: peer.say(Cancel()),
    "failure": lambda peer: peer.say(FailedMessage("local-file", "gone")),
    "broken protocol": lambda peer: peer.say(Accept(1)),
    "lost connection": lambda peer: peer.machine.connection_lost(peer.now, PeerVanished("gone")),
    "closed channels": lambda peer: [
        peer.machine.channel_state(peer.now, channel, ChannelState.CLOSED) for channel in (1, 2, 0)
    ],
    "silence": lambda peer: outwait(peer),
}


def outwait(peer, until=100.0):
    while peer.now < until and (due := peer.machine.next_timeout()) is not None:
        peer.now = due
        peer.machine.handle_timeout(due)
        peer.collect()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("is_written", [True, False], ids=["verifying", "still writing"])
def test_with_every_byte_and_digest_here_the_sender_is_not_needed_any_more(end, is_written):
    machine, peer = start((6_000, 10_000))
    peer.send(1, Floor(0), data(0, 10_000, end_of_chunk=True))
    peer.say(Digests(0, (DIGEST, DIGEST)))
    if is_written:
        write_all(machine)
        assert machine.state is ReceiveState.VERIFYING
    before = machine.events()
    peer.collect()
    messages = len(peer.messages)
    ENDS[end](peer)
    assert machine.events() == []
    write_all(machine, peer.now)
    assert before + machine.events() == [FileReady(0, DIGEST), FileReady(1, DIGEST)]
    for later in ENDS.values():
        later(peer)
    for index in (0, 1):
        machine.file_verified(peer.now, index)
    assert machine.events() == [Reported(), Finished()]
    assert machine.state is ReceiveState.DONE
    peer.collect()
    assert peer.messages[messages:] == [], "nobody is there to be told"
    assert machine.next_timeout() is None


@pytest.mark.parametrize("end", [end for end in ENDS if end != "closed channels"])
def test_a_missing_digest_is_reason_enough_to_need_the_sender(end):
    machine, peer = start((6_000, 10_000))
    peer.send(1, Floor(0), data(0, 10_000, end_of_chunk=True))
    peer.say(Digests(0, (DIGEST,)))
    write_all(machine)
    ENDS[end](peer)
    assert machine.state is ReceiveState.FAILED


def test_a_disk_that_fails_after_the_sender_went_is_the_shells_to_report():
    machine, peer = start((10_000,))
    peer.send(1, Floor(0), data(0, 10_000, end_of_chunk=True))
    peer.say(Digests(0, (DIGEST,)))
    machine.connection_lost(0.0, PeerVanished("gone"))
    machine.abort(1.0, "local-file", "its disk is full")
    assert machine.state is ReceiveState.FAILED


def test_a_pause_of_this_process_is_no_silence_of_the_senders():
    machine, peer = start(idle_timeout_s=30.0)
    peer.collect()
    for pause in (31.0, 600.0):
        machine.handle_timeout(peer.now + pause)
        peer.now += pause
        assert machine.state is ReceiveState.RECEIVING
        peer.collect()
    since = peer.now
    outwait(peer, since + 100.0)
    assert machine.state is ReceiveState.FAILED
    assert since + 15.0 < peer.now <= since + 30.0


def test_a_timer_that_was_not_kept_is_late_once_only():
    """A shell that calls again and again while nothing changes must not keep a dead peer alive."""
    machine, _peer = start(idle_timeout_s=30.0)
    machine.next_timeout = lambda: 0.0
    for tenth in range(400):
        machine.handle_timeout(tenth / 10)
    assert machine.state is ReceiveState.FAILED


def test_why_the_connection_was_lost_reaches_the_user():
    machine, _ = start()
    machine.connection_lost(1.0, PeerVanished("the program on the other side is gone"))
    machine.channel_state(1.0, 0, ChannelState.CLOSED)
    assert "the program on the other side is gone" in error_of(machine).sentence


@pytest.mark.parametrize(
    ("kind", "retryable"), [("local-file", False), ("broken-off", True), ("\x1b[", False)]
)
def test_a_failure_of_the_sender_is_worth_a_retry_if_its_kind_is(kind, retryable):
    machine, peer = start()
    peer.say(FailedMessage(kind, "it met an error."))
    error = error_of(machine)
    assert (error.peer_kind, error.retryable) == (kind, retryable)


def test_data_channels_may_close_once_everything_is_here():
    machine, _ = finish_but_for_the_bye()
    machine.channel_state(1.0, 1, ChannelState.CLOSED)
    machine.channel_state(1.0, 2, ChannelState.CLOSED)
    assert machine.state is ReceiveState.REPORTED


@pytest.mark.parametrize(
    "message",
    [Accept(1), Bye(), Digests(0, (DIGEST,)), StreamEnd(1), Complete(0, 0), Refuse("", ""), Offer(2, b"")],
)
def test_anything_but_an_offer_of_our_version_at_first_is_a_protocol_error(message):
    machine, peer = start(accept=False)
    peer.say(message)
    assert isinstance(error_of(machine), PeerProtocolError)
    peer.collect()
    assert isinstance(peer.messages[-1], FailedMessage), "the sender is told"


@pytest.mark.parametrize(
    ("message", "error"), [(Cancel(), PeerCancelled), (FailedMessage("x", "y"), PeerFailed)]
)
def test_the_sender_may_end_it_at_any_time(message, error):
    for machine, peer in (start(accept=False), start()):
        peer.say(message)
        assert isinstance(error_of(machine), error)
        assert machine.state is ReceiveState.FAILED
        assert machine.writes() == []


def test_an_offer_beyond_the_bound_is_a_protocol_error():
    machine, peer = start(accept=False, max_manifest_bytes=100)
    peer.say(Offer(1, bytes(101)))
    assert isinstance(error_of(machine), PeerProtocolError)


@pytest.mark.parametrize(
    "frames",
    [
        (data(9_999, 2),),  # beyond the end
        (data(2**62, 2),),
        (Floor(1),),  # above its own packet
        (Ack(1, 0, ((0, 0),)),),
        (Credit(5),),
    ],
)
def test_frames_no_honest_sender_sends_are_a_protocol_error(frames):
    machine, peer = start()
    peer.send(1, *frames, number=0)
    assert isinstance(error_of(machine), PeerProtocolError)
    assert machine.state is ReceiveState.FAILED


def test_data_before_consent_is_a_protocol_error():
    machine, peer = start(accept=False)
    peer.say(Offer(1, b"manifest"))
    machine.events()
    peer.send(1, data(0, 10))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_data_on_the_control_channel_and_control_on_a_data_channel_are_protocol_errors():
    machine, peer = start()
    peer.send(0, data(0, 10))
    assert isinstance(error_of(machine), PeerProtocolError)
    machine, peer = start()
    peer.feed(1, b"\x06\x00x")
    assert isinstance(error_of(machine), PeerProtocolError)


def test_more_data_than_the_credit_is_a_protocol_error_and_not_memory():
    machine, peer = start((1 << 40,), window_bytes=50_000)
    for n in range(5):
        peer.send(1, data(n * 10_000, 10_000))
    assert machine.events() == []
    peer.send(1, data(50_000, 1))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_duplicates_cost_no_credit():
    machine, peer = start((1 << 40,), window_bytes=50_000)
    for _ in range(50):
        peer.send(1, data(0, 10_000))
    assert machine.events() == []
    assert machine.figures.duplicate_bytes == 490_000
    assert write_all(machine) == [(0, 10_000)]


def test_writing_gives_new_credit_over_the_reliable_channel():
    machine, peer = start((1 << 40,), window_bytes=40_000)
    peer.send(1, data(0, 10_000))
    peer.collect()
    write_all(machine)
    assert (0, Credit(50_000)) in [(channel, frame) for channel, _, frame in peer.collect()]


def test_a_second_end_of_the_stream_is_a_protocol_error():
    machine, peer = start(None)
    peer.say(StreamEnd(10))
    peer.say(StreamEnd(10))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_an_end_for_a_stream_of_known_length_is_a_protocol_error():
    machine, peer = start()
    peer.say(StreamEnd(10_000))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_a_stream_of_unknown_length_is_complete_when_its_end_is_known():
    machine, peer = start(None)
    peer.send(1, data(0, 500))
    write_all(machine)
    assert machine.state is ReceiveState.RECEIVING
    peer.say(Digests(0, (DIGEST,)))
    peer.say(StreamEnd(500))
    assert machine.events() == [FileReady(0, DIGEST)]
    machine.file_verified(0.0, 0)
    peer.collect()
    assert peer.messages[-1] == Complete(500, 1)


@pytest.mark.parametrize("digests", [Digests(1, (DIGEST,)), Digests(0, (DIGEST, DIGEST))])
def test_digests_that_fit_no_file_are_a_protocol_error(digests):
    machine, peer = start()
    peer.say(digests)
    assert isinstance(error_of(machine), PeerProtocolError)


def test_an_offer_that_never_ends_is_stopped():
    machine, peer = start(accept=False, max_manifest_bytes=100_000)
    for _ in range(20):
        peer.feed(0, b"\x06\x01" + bytes(10_000))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_one_packet_acknowledges_every_channel():
    _machine, peer = start((1 << 40,))
    for n in range(8):
        peer.send(1, data(n * 100, 100))
    peer.collect()
    peer.send(2, data(10_000, 100))
    peer.send(1, data(20_000, 100))
    peer.send(1, data(20_100, 100))
    sent = peer.collect()
    assert [type(frame) for _, _, frame in sent] == [Ack, Ack, Credit]
    assert len({(channel, number) for channel, number, _ in sent}) == 1


def test_an_ack_waits_for_company_but_not_for_long():
    machine, peer = start()
    peer.send(2, data(0, 100))
    assert peer.collect() == []
    peer.now = machine.next_timeout()
    assert peer.now == pytest.approx(0.025)
    machine.handle_timeout(peer.now)
    (channel, _, ack), (_, _, credit) = peer.collect()
    assert channel == 2
    assert ack == Ack(2, 25_000, ((0, 0),))
    assert isinstance(credit, Credit)


def test_a_probe_is_answered_at_once():
    _machine, peer = start()
    peer.send(1, Ping())
    assert [type(frame) for _, _, frame in peer.collect()] == [Ack, Credit]


def test_an_ack_for_a_dead_channel_goes_over_a_living_one():
    machine, peer = start()
    peer.send(1, Ping())
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    (channel, _, ack), _ = peer.collect()
    assert (channel, ack.channel) == (2, 1)


def test_an_ack_goes_over_the_control_channel_when_no_other_lives():
    machine, peer = start((100,))
    peer.send(1, data(0, 100))
    write_all(machine)
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    machine.channel_state(0.0, 2, ChannelState.CLOSED)
    assert [(channel, type(frame)) for channel, _, frame in peer.collect()] == [(0, Ack), (0, Credit)]


def test_losing_the_control_channel_ends_an_unfinished_transfer():
    machine, _ = start()
    machine.channel_state(0.0, 0, ChannelState.CLOSED)
    assert isinstance(error_of(machine), PeerVanished)


def test_after_the_end_the_shells_late_calls_are_harmless():
    machine, peer = start()
    peer.send(1, data(0, 100))
    machine.writes()
    machine.cancel(0.0)
    machine.written(0.0, 0, 100)
    machine.file_verified(0.0, 0)
    machine.refuse(0.0, "local-file", "late")
    machine.handle_timeout(1e9)
    assert machine.next_timeout() is None
    assert machine.events() == []


def test_losing_every_data_channel_ends_an_unfinished_transfer():
    machine, _peer = start()
    machine.channel_state(0.0, 1, ChannelState.CLOSED)
    machine.channel_state(0.0, 2, ChannelState.CLOSED)
    assert isinstance(error_of(machine), PeerVanished)


def test_a_silent_sender_is_gone_after_the_idle_timeout():
    machine, peer = start(idle_timeout_s=10.0)
    while machine.state is ReceiveState.RECEIVING:
        peer.now = machine.next_timeout()
        machine.handle_timeout(peer.now)
        peer.collect()
    assert peer.now == pytest.approx(10.0)
    assert isinstance(error_of(machine), PeerVanished)


def test_refusing_tells_the_sender_why_and_makes_no_event():
    machine, peer = start(accept=False)
    peer.say(Offer(1, b"manifest"))
    machine.events()
    machine.refuse(0.0, "local-file", "no room")
    peer.collect()
    assert peer.messages == [Refuse("local-file", "no room")]
    assert machine.events() == []
    assert machine.state is ReceiveState.FAILED


def test_cancelling_tells_the_sender():
    machine, peer = start()
    machine.cancel(0.0)
    peer.collect()
    assert peer.messages[-1] == Cancel()
    peer.send(1, data(0, 10))
    assert machine.writes() == []


def test_a_disk_that_is_full_is_told_to_the_sender():
    machine, peer = start()
    machine.abort(0.0, "local-file", "There is no room.")
    peer.collect()
    assert peer.messages[-1] == FailedMessage("local-file", "There is no room.")


def test_what_is_held_is_told_and_counts_as_written():
    machine, peer = start((10_000,), held=[(0, 9_000)])
    assert peer.messages[1:] == [Accept(32 * 1024 * 1024, ((0, 9_000),))]
    peer.send(1, data(8_000, 2_000))
    assert write_all(machine) == [(9_000, 1_000)]
    assert machine.state is ReceiveState.VERIFYING


def test_accepting_without_an_offer_is_the_shells_mistake():
    machine, _ = start(accept=False)
    with pytest.raises(ValueError):
        machine.accept(0.0, (10,))
    machine.cancel(0.0)
    machine.accept(0.0, (10,))
    assert machine.state is ReceiveState.FAILED
    machine, peer = start(accept=False)
    peer.say(Offer(1, b""))
    with pytest.raises(ValueError):
        machine.accept(0.0, (1 << 40,), RangeSet((2 * n, 2 * n + 1) for n in range(MAX_HELD_RANGES + 1)))


def test_a_report_of_an_unknown_write_is_the_shells_mistake():
    machine, _ = start()
    with pytest.raises(ValueError):
        machine.written(0.0, 0, 10)


def test_the_figures_follow_the_bytes():
    machine, peer = start((1 << 30,))
    peer.now = 3.0
    peer.send(1, data(0, 4_000))
    peer.send(1, data(8_000, 4_000), number=5)
    figures = machine.figures
    assert figures.bytes_received == 8_000
    assert figures.backlog_bytes == 8_000
    assert figures.missing_packets == 4
    assert figures.first_data_at == 3.0
    write_all(machine)
    assert machine.figures.bytes_written == 8_000
    assert machine.figures.backlog_bytes == 0


def test_the_senders_report_of_the_path_reaches_the_figures_and_nothing_else():
    machine, peer = start()
    assert machine.figures.path is None
    peer.say(PathReport(8_500, 2_300, 9_000, 8_000, 70_000, 2_000, 100_000))
    assert machine.figures.path == PathSummary(0.0085, 0.0023, 0.009, 0.008, 0.07, 0.002, 0.1)
    assert machine.events() == []


def test_a_report_of_the_path_before_consent_is_a_protocol_error():
    machine, peer = start(accept=False)
    peer.say(PathReport(1, 1, 1, 1, 1, 1, 1))
    assert isinstance(error_of(machine), PeerProtocolError)


def test_it_says_first_which_names_it_takes():
    _, peer = start(accept=False, names=WINDOWS)
    peer.collect()
    assert peer.messages == [Ready(1, WINDOWS)]


def test_a_withdrawn_file_is_dropped_when_all_is_written_that_comes_of_it():
    machine, peer = start((6_000, 16_000, 20_000))
    peer.send(1, Floor(0), data(0, 8_000))
    peer.send(2, Floor(0), data(16_000, 4_000))
    peer.say(Digests(0, (DIGEST,)))
    peer.say(Withdraw(1, 3_000, Why.CHANGED))
    peer.say(Digests(2, (DIGEST,)))
    assert write_all(machine) == [(0, 8_000), (16_000, 4_000)]
    assert machine.events() == [FileReady(0, DIGEST), FileReady(2, DIGEST)], (
        "1,000 of its bytes are on their way"
    )
    peer.send(1, Floor(0), data(8_000, 1_000))
    write_all(machine)
    assert machine.events() == [FileWithdrawn(1, Why.CHANGED)]
    assert machine.state is ReceiveState.VERIFYING
    for index in (0, 2):
        machine.file_verified(0.0, index)
    with pytest.raises(ValueError, match="was withdrawn"):
        machine.file_verified(0.0, 1)
    machine.file_dropped(0.0, 1)
    assert machine.state is ReceiveState.REPORTED
    peer.collect()
    assert peer.messages[-1] == Complete(20_000, 2)


def test_what_a_withdrawn_file_does_not_bring_uses_no_credit():
    machine, peer = start((10_000, 20_000), window_bytes=12_000)
    peer.say(Withdraw(0, 0, Why.VANISHED))
    assert machine.events() == [FileWithdrawn(0, Why.VANISHED)]
    peer.send(1, Floor(0), data(10_000, 10_000))
    assert write_all(machine) == [(10_000, 10_000)]
    machine.file_dropped(0.0, 0)
    assert machine.figures.bytes_written == 20_000


def test_data_of_a_withdrawn_range_that_comes_all_the_same_is_passed_over():
    machine, peer = start((10_000, 20_000))
    peer.say(Withdraw(0, 1_000, Why.VANISHED))
    peer.send(1, Floor(0), data(0, 12_000))
    assert write_all(machine) == [(0, 1_000), (10_000, 2_000)]


@pytest.mark.parametrize(
    "message",
    [Withdraw(0, 6_001, Why.CHANGED), Withdraw(3, 0, Why.CHANGED)],
)
def test_withdrawing_what_cannot_be_breaks_the_protocol(message):
    machine, peer = start((6_000, 16_000, 20_000))
    peer.say(message)
    assert isinstance(error_of(machine), PeerProtocolError)


def test_a_stream_of_unknown_length_cannot_be_withdrawn():
    machine, peer = start(None)
    peer.say(Withdraw(0, 0, Why.CHANGED))
    assert isinstance(error_of(machine), PeerProtocolError)


# Held, kept and claimed


def resumed(ends, *, held=(), kept=(), claims=(), **options):
    machine = ReceiveMachine(channels=2, now=0.0, options=ReceiveOptions(**options))
    peer = HandPeer(machine, 2)
    peer.say(Offer(1, b"manifest"))
    machine.events()
    machine.accept(0.0, ends, RangeSet(held), RangeSet(kept), RangeSet(claims))
    peer.collect()
    return machine, peer


def wanted(peer):
    peer.collect()
    return [message for message in peer.messages if isinstance(message, Want)]


def test_kept_counts_over_held_and_held_over_claimed():
    machine, peer = resumed(
        (10_000, 20_000, 30_000, 30_000),
        held=[(5_000, 12_000), (13_000, 14_000)],
        kept=[(1, 2)],
        claims=[(0, 30_000)],
    )
    accept = next(message for message in peer.messages if isinstance(message, Accept))
    assert accept.kept == b"\x02"
    assert accept.held == ((5_000, 12_000),), "what lies in kept files need not be said"
    assert accept.claims == ((0, 5_000), (20_000, 30_000))
    assert list(machine.claims) == [(0, 5_000), (20_000, 30_000)]
    figures = machine.figures
    assert (figures.bytes_written, figures.unproven_bytes, figures.files_verified) == (30_000, 15_000, 1)


def test_a_kept_file_needs_no_byte_no_digest_and_no_word_of_the_shell():
    machine, peer = resumed((10_000, 20_000, 20_000), kept=[(0, 1), (2, 3)])
    peer.say(Digests(1, (DIGEST,)))
    peer.send(1, Floor(0), data(10_000, 10_000))
    write_all(machine)
    assert machine.events() == [FileReady(1, DIGEST)]
    machine.file_verified(0.0, 1)
    peer.collect()
    assert peer.messages[-1] == Complete(20_000, 3)


def test_when_every_file_is_kept_it_is_over_at_once():
    machine, peer = resumed((10, 20), kept=[(0, 2)])
    assert machine.state is ReceiveState.REPORTED
    assert peer.messages[-1] == Complete(20, 2)


def test_a_proven_piece_counts_as_written_and_a_refuted_one_is_wanted_and_comes():
    machine, peer = resumed((3 * MiB4,), claims=[(0, 2 * MiB4)], window_bytes=2 * MiB4)
    assert machine.state is ReceiveState.RECEIVING
    peer.say(PieceDigests(0, (b"a" * 32,)))
    peer.say(PieceDigests(1, (b"b" * 32,)))
    assert machine.events() == [
        PieceDigested(0, 0, MiB4, b"a" * 32),
        PieceDigested(1, MiB4, 2 * MiB4, b"b" * 32),
    ]
    machine.piece_refuted(0.0, 1)
    machine.piece_proved(0.0, 0)
    assert wanted(peer) == [Want(((MiB4, 2 * MiB4),))]
    assert machine.figures.unproven_bytes == 0
    assert machine.figures.bytes_written == MiB4
    peer.say(Digests(0, (DIGEST,)))
    assert not any(isinstance(event, FileReady) for event in machine.events())
    peer.send(1, Floor(0), data(MiB4, MiB4))
    peer.send(2, Floor(0), data(2 * MiB4, MiB4))
    assert sum(size for _, size in write_all(machine)) == 2 * MiB4
    assert machine.events() == [FileReady(0, DIGEST)]


def test_many_pieces_are_wanted_in_few_messages():
    ends = tuple(range(2, 6_002, 2))
    machine, peer = resumed(ends, claims=[(end - 1, end) for end in ends])
    for index in range(len(ends)):
        machine.piece_refuted(0.0, index)
    assert [len(want.ranges) for want in wanted(peer)] == [1024, 1024, 952]


def test_data_of_a_claim_that_was_not_wanted_is_passed_over():
    machine, peer = resumed((10_000,), claims=[(0, 5_000)])
    peer.send(1, Floor(0), data(0, 10_000))
    assert write_all(machine) == [(5_000, 5_000)]


def test_of_very_many_claims_the_largest_are_made_and_the_rest_comes_as_new():
    machine, peer = resumed((100,), claims=[(0, 10), (20, 25), (30, 60)], max_claimed_ranges=2)
    assert list(machine.claims) == [(0, 10), (30, 60)]
    peer.send(1, Floor(0), data(20, 5))
    assert write_all(machine) == [(20, 5)]


@pytest.mark.parametrize(
    "messages",
    [
        [PieceDigests(1, (DIGEST,))],
        [PieceDigests(0, (DIGEST,) * 3)],
        [PieceDigests(0, (DIGEST,) * 2), PieceDigests(2, (DIGEST,))],
        [PieceDigests(0, (DIGEST,)), PieceDigests(0, (DIGEST,))],
        [PieceDigests(0, (NOT_PROVEN,)), Digests(0, (DIGEST,))],
        [Digests(1, (DIGEST,))],
        [Digests(0, (DIGEST,)), Withdraw(0, 0, Why.CHANGED), Withdraw(0, 0, Why.CHANGED)],
        [Digests(0, (DIGEST,) * 2), Withdraw(2, 0, Why.CHANGED)],
        [Withdraw(0, 0, Why.CHANGED), Withdraw(0, 0, Why.CHANGED)],
        [Want(((0, 1),))],
    ],
)
def test_a_sender_whose_digests_cannot_be_breaks_the_protocol(messages):
    machine, peer = resumed((10, 20), claims=[(0, 20)])
    for message in messages:
        peer.say(message)
    assert isinstance(error_of(machine), PeerProtocolError)


def test_a_kept_file_can_neither_be_digested_nor_withdrawn():
    for message in (Digests(0, (DIGEST,)), Withdraw(0, 0, Why.CHANGED)):
        machine, peer = resumed((10, 20), kept=[(0, 1)])
        peer.say(message)
        assert isinstance(error_of(machine), PeerProtocolError)


def test_a_withdrawn_file_takes_its_pieces_along_whatever_became_of_them():
    machine, peer = resumed(
        (10_000, 20_000), claims=[(0, 1_000), (2_000, 3_000), (4_000, 5_000), (6_000, 12_000)]
    )
    peer.say(PieceDigests(0, (DIGEST, DIGEST, DIGEST, NOT_PROVEN, NOT_PROVEN)))
    machine.piece_proved(0.0, 0)
    machine.piece_refuted(0.0, 1)
    peer.say(Withdraw(1, 0, Why.CHANGED))
    machine.events()
    peer.say(Withdraw(0, 2_000, Why.CHANGED))
    assert machine.events() == [], "1,000 bytes of it are on their way"
    machine.piece_refuted(0.0, 2)
    assert wanted(peer) == []
    peer.send(1, Floor(0), data(1_000, 1_000))
    write_all(machine)
    assert machine.events() == [FileWithdrawn(0, Why.CHANGED)]
    for index in (0, 1):
        machine.file_dropped(0.0, index)
    peer.collect()
    assert peer.messages[-1] == Complete(20_000, 0)


def test_excused_bytes_that_come_all_the_same_give_their_credit_back_once():
    machine, peer = resumed((10_000, 20_000), claims=[(0, 5_000)], window_bytes=12_000)
    machine.piece_refuted(0.0, 0)
    peer.collect()
    peer.say(Withdraw(0, 0, Why.CHANGED))
    for _ in range(3):
        peer.send(1, Floor(0), data(0, 10_000))
    peer.collect()
    assert machine.figures.backlog_bytes == 0
    peer.send(1, Floor(0), data(10_000, 10_000))
    assert write_all(machine) == [(10_000, 10_000)]
    assert not any(isinstance(event, Failed) for event in machine.events())


def test_a_sender_that_tells_no_digest_of_a_piece_has_stalled():
    machine, peer = resumed((10_000,), claims=[(0, 5_000)], pieces_timeout_s=100.0)
    peer.now = 50.0
    peer.send(1, Floor(0), data(5_000, 5_000))
    for peer.now in range(100, 150, 10):
        peer.send(0, Ping())
        machine.handle_timeout(peer.now)
    assert machine.state is ReceiveState.RECEIVING
    peer.now = 150.0
    peer.send(0, Ping())
    machine.handle_timeout(150.0)
    assert isinstance(error_of(machine), TransferStalled)


def test_a_sender_that_lacks_data_still_has_not_stalled_and_neither_has_one_this_side_did_not_listen_to():
    machine, peer = resumed((10_000,), claims=[(0, 5_000)], pieces_timeout_s=100.0)
    for peer.now in range(10, 1_000, 10):
        peer.send(0, Ping())
        machine.handle_timeout(peer.now)
    assert machine.state is ReceiveState.RECEIVING
    peer.send(1, Floor(0), data(5_000, 5_000))
    machine.packets(peer.now)
    machine.handle_timeout(peer.now + 10_000.0)
    assert machine.state is ReceiveState.RECEIVING


def test_a_sender_is_needed_until_the_last_piece_is_decided():
    machine, peer = resumed((10_000,), claims=[(0, 10_000)])
    peer.say(Digests(0, (DIGEST,)))
    peer.say(PieceDigests(0, (DIGEST,)))
    machine.events()
    machine.connection_lost(0.0, PeerVanished("gone"))
    assert isinstance(error_of(machine), PeerVanished)
    machine, peer = resumed((10_000,), claims=[(0, 10_000)])
    peer.say(Digests(0, (DIGEST,)))
    peer.say(PieceDigests(0, (DIGEST,)))
    machine.piece_proved(0.0, 0)
    machine.connection_lost(0.0, PeerVanished("gone"))
    machine.file_verified(0.0, 0)
    assert [type(event) for event in machine.events()][-2:] == [Reported, Finished]


def test_who_wanted_a_piece_before_its_digest_goes_on_alone_without_it():
    machine, peer = resumed((10_000,), claims=[(0, 10_000)])
    machine.piece_refuted(0.0, 0)
    peer.collect()
    peer.send(1, Floor(0), data(0, 10_000))
    peer.say(Digests(0, (DIGEST,)))
    write_all(machine)
    machine.file_verified(0.0, 0)
    assert machine.state is ReceiveState.VERIFYING, "the sender would not believe a report yet"
    machine.connection_lost(0.0, PeerVanished("gone"))
    assert machine.state is ReceiveState.DONE


def test_after_the_end_what_had_come_can_still_be_had():
    machine, peer = start((20_000,))
    peer.send(1, Floor(0), data(0, 10_000))
    machine.connection_lost(0.0, PeerVanished("gone"))
    assert machine.writes() == []
    assert machine.waiting_bytes == 0
    assert [(offset, len(view)) for offset, view in machine.remains()] == [(0, 10_000)]
    assert machine.remains() == []
    machine.written(0.0, 0, 10_000)


def test_what_is_held_of_a_stream_is_not_written_again():
    machine, peer = resumed(None, held=[(0, 10_000), (20_000, 30_000)])
    peer.send(1, Floor(0), data(5_000, 20_000))
    assert write_all(machine) == [(10_000, 10_000)]
    peer.say(StreamEnd(30_000))
    peer.say(Digests(0, (DIGEST,)))
    assert machine.events() == [FileReady(0, DIGEST)]


def test_a_file_may_be_withdrawn_after_its_digest_while_some_of_it_is_wanted():
    machine, peer = resumed((10, 20), claims=[(0, 20)])
    peer.say(Digests(0, (DIGEST, DIGEST)))
    peer.say(PieceDigests(0, (DIGEST, DIGEST)))
    machine.piece_refuted(0.0, 0)
    machine.piece_proved(0.0, 1)
    machine.events()
    peer.say(Withdraw(0, 0, Why.CHANGED))
    assert machine.events() == [FileWithdrawn(0, Why.CHANGED)]


def test_a_file_that_is_whole_with_its_digest_cannot_be_withdrawn():
    machine, peer = start((0, 10))
    peer.say(Digests(0, (DIGEST, DIGEST)))
    assert machine.events() == [FileReady(0, DIGEST)]
    peer.say(Withdraw(0, 0, Why.CHANGED))
    assert isinstance(error_of(machine), PeerProtocolError)
