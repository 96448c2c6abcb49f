"""Properties of resuming: the list of pieces, hostile claims, wants and digests, and nonces over many attempts."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from tallow_cli.crypto.keys import KeySchedule, Role
from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.name_rules import POSIX
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer.buffer_marks import DEFAULT_BUFFER_HIGH
from tallow_cli.transfer.driving import Accepted, ChannelState, Failed, PieceDigested
from tallow_cli.transfer.messages import (
    NOT_PROVEN,
    Accept,
    Complete,
    ControlMessage,
    Digests,
    Offer,
    PieceDigests,
    Ready,
    Want,
    Why,
    Withdraw,
    pack_kept,
    unpack_kept_untrusted,
)
from tallow_cli.transfer.pieces import SEGMENT_BYTES, Pieces
from tallow_cli.transfer.receiver import ReceiveMachine
from tallow_cli.transfer.sender import SendMachine, SendState
from tests.support.transfer_peer import HandPeer

ENDS = (0, 9_000_000, 9_000_010, 9_000_010, 20_000_000)
TOTAL = ENDS[-1]
offsets = st.one_of(
    st.integers(-1, TOTAL + 1), st.sampled_from([*ENDS, SEGMENT_BYTES, 9_000_010 + SEGMENT_BYTES])
)
any_ranges = st.lists(
    st.tuples(offsets.filter(lambda o: o >= 0), offsets.filter(lambda o: o >= 0)), max_size=5
)


@st.composite
def honest_ranges(draw: st.DrawFn) -> RangeSet:
    cuts = sorted(draw(st.sets(st.integers(0, TOTAL), max_size=8)))
    return RangeSet(zip(cuts[::2], cuts[1::2], strict=False))


@given(honest_ranges())
def test_pieces_cover_the_claims_exactly_and_cross_no_end_of_a_file_or_segment(claims: RangeSet) -> None:
    pieces = Pieces(ENDS, claims)
    assert RangeSet(pieces) == claims
    assert pieces.total_bytes == claims.total
    assert list(pieces) == sorted(pieces)
    starts = (0, *ENDS)
    for start, end in pieces:
        file = next(index for index, file_end in enumerate(ENDS) if start < file_end)
        assert end <= ENDS[file]
        assert (start - starts[file]) // SEGMENT_BYTES == (end - 1 - starts[file]) // SEGMENT_BYTES


@given(st.sets(st.integers(0, 300)))
def test_kept_files_are_read_back_as_they_were_packed(files: set[int]) -> None:
    kept = RangeSet((index, index + 1) for index in files)
    assert unpack_kept_untrusted(pack_kept(kept)) == kept


class Chunks:
    chunk_size = 1_000_000


answers = st.builds(
    Accept,
    st.just(1 << 30),
    any_ranges.map(lambda ranges: tuple(ranges)),
    st.binary(max_size=2),
    any_ranges.map(lambda ranges: tuple(ranges)),
)
honest_answers = st.builds(
    lambda claims, kept: Accept(1 << 30, (), pack_kept(RangeSet((i, i + 1) for i in kept)), tuple(claims)),
    honest_ranges(),
    st.sampled_from([(), (0,), (3,), (0, 3)]),  # files without data, so that no claim is theirs
)
wants = st.builds(Want, st.lists(st.tuples(offsets, offsets), min_size=1, max_size=3).map(tuple)).filter(
    lambda want: all(start >= 0 and end >= 0 for start, end in want.ranges)
)
completes = st.builds(Complete, st.sampled_from([0, TOTAL]), st.integers(0, 6))


@settings(max_examples=200, deadline=None)
@given(st.one_of(answers, honest_answers), st.lists(st.one_of(wants, completes), max_size=4), st.booleans())
def test_whatever_a_receiver_claims_and_wants_the_sender_reads_no_byte_twice(
    answer: Accept, words: list[ControlMessage], withdraws: bool
) -> None:
    machine = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
    peer = HandPeer(machine)
    peer.say(Ready(1, POSIX))
    machine.offer(0.0, b"m", ENDS)
    peer.say(answer)
    events = machine.events()
    is_kept = any(isinstance(event, Accepted) and 1 in event.kept for event in events)
    read = RangeSet()
    for word in (None, *words):
        if word is not None:
            peer.say(word)
        elif (
            withdraws and not is_kept and machine.state is SendState.SENDING
        ):  # what is kept is not read, so not lost
            machine.withdraw(0.0, 1, 0, 9_000_000, Why.CHANGED)
        while (request := machine.next_read(0.0)) is not None:
            assert read.add(request.offset, request.offset + request.size) == request.size
            machine.chunk_read(0.0, request.offset, bytes(request.size))
        peer.collect()
        assert 0 <= machine.figures.bytes_acked <= TOTAL
        assert 0 <= machine.acked_until <= TOTAL
    failures = [event for event in events + machine.events() if isinstance(event, Failed)]
    assert all(isinstance(failure.error, PeerProtocolError) for failure in failures)
    assert (machine.state is SendState.FAILED) == bool(failures)


digest_lists = st.lists(st.sampled_from([b"a" * 32, NOT_PROVEN]), min_size=1, max_size=4).map(tuple)
sender_words = st.one_of(
    st.builds(PieceDigests, st.integers(0, 6), digest_lists),
    st.builds(Digests, st.integers(0, 6), digest_lists),
    st.builds(Withdraw, st.integers(0, 6), st.integers(0, 10_000), st.just(Why.CHANGED)),
    st.builds(Want, st.just(((0, 1),))),
)


@settings(max_examples=200, deadline=None)
@given(
    honest_ranges(), honest_ranges(), st.lists(sender_words, max_size=8), st.randoms(use_true_random=False)
)
def test_whatever_a_sender_tells_of_pieces_each_is_decided_and_wanted_once_at_most(
    held: RangeSet, claims: RangeSet, words: list[ControlMessage], chance: object
) -> None:
    machine = ReceiveMachine(channels=2, now=0.0)
    peer = HandPeer(machine)
    peer.say(Offer(1, b"m"))
    machine.accept(0.0, ENDS, held, RangeSet([(3, 4)]), claims)
    seen: set[int] = set()
    for word in words:
        peer.say(word)
        for event in machine.events():
            if isinstance(event, PieceDigested):
                assert event.index not in seen
                seen.add(event.index)
                (machine.piece_proved if event.index % 2 else machine.piece_refuted)(0.0, event.index)
        peer.collect()
    wanted = RangeSet()
    for message in peer.messages:
        if isinstance(message, Want):
            for start, end in message.ranges:
                assert wanted.add(start, end) == end - start
    taken = RangeSet(machine.claims)
    assert all(taken.covers(start, end) for start, end in wanted)
    assert 0 <= machine.figures.bytes_written <= TOTAL


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*ChannelState])), max_size=6),
        min_size=2,
        max_size=4,
    )
)
def test_no_nonce_is_used_twice_under_one_key_whatever_the_attempts_and_their_channels_do(
    attempts: list[list[tuple[int, ChannelState]]],
) -> None:
    used: set[tuple[bytes, int, int]] = set()
    for number, changes in enumerate(attempts):
        # A new handshake: its transcript has the fresh shares of both sides.
        digest = number.to_bytes(64, "big")
        keys = KeySchedule(bytes(32), bytes(32), digest).session_keys(Role.HOST, digest)
        sender = SendMachine(channels=2, chunk_sizer=Chunks(), now=0.0)
        receiver = ReceiveMachine(channels=2, now=0.0)
        for machine in (sender, receiver):
            for channel in range(3):
                machine.channel_state(0.0, channel, ChannelState.OPEN)
        for step, change in enumerate([None, None, *changes, None, None]):
            now = step * 0.05
            with suppress(ValueError):
                if step == 1:
                    sender.events()
                    sender.offer(now, b"m", (3_000_000,))
                if step == 2:
                    receiver.accept(now, (3_000_000,))
            if change is not None:
                channel, state = change
                for machine in (sender, receiver):
                    if state is not ChannelState.PAUSED:
                        machine.channel_state(now, channel, state)
                    if channel:  # a full buffer pauses it
                        full = state is ChannelState.PAUSED
                        machine.buffered(now, channel, DEFAULT_BUFFER_HIGH if full else 0)
            while (request := sender.next_read(now)) is not None:
                sender.chunk_read(now, request.offset, bytes(request.size))
            for machine, other, key in ((sender, receiver, keys.seal_key), (receiver, sender, keys.open_key)):
                machine.handle_timeout(now)
                for packet in machine.packets(now):
                    nonce = (key, packet.channel, packet.number)
                    assert nonce not in used
                    used.add(nonce)
                    other.receive(now, packet.channel, packet.number, packet.payload)
    assert used
