"""Control messages: bounded, typed, fragmented and put together again."""

import msgspec
import pytest

from tallow_cli.errors import PeerProtocolError
from tallow_cli.offer.manifest import MAX_ENTRIES
from tallow_cli.ranges import RangeSet
from tallow_cli.transfer import messages
from tallow_cli.transfer.messages import (
    Accept,
    Bye,
    Cancel,
    Complete,
    ControlAssembler,
    Digests,
    Failed,
    Offer,
    PathReport,
    PieceDigests,
    Refuse,
    StreamEnd,
    Want,
    bounded_sentence,
    decode_message_untrusted,
    encode_message,
    fragments,
    pack_kept,
    unpack_kept_untrusted,
)

EXAMPLES = [
    Offer(1, b"manifest"),
    Accept(1 << 25, ((0, 10), (20, 30))),
    Accept(0, ((0, 10),), b"\x05", ((10, 20), (2**62, 2**62 + 1))),
    Refuse("refused", "no"),
    PieceDigests(0, (bytes(32),)),
    Want(((0, 10), (20, 30))),
    Digests(3, (bytes(32), b"\xff" * 32)),
    StreamEnd(0),
    PathReport(8500, 2300, 9000, 8000, 70_000, 2000, 100_000),
    Complete(10, 2),
    Bye(),
    Failed("local-file", "The disk is full."),
    Cancel(),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_is_read_back(message):
    assert decode_message_untrusted(encode_message(message)) == message


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"type": "nonsense"},
        {"type": "bye", "extra": 1},
        {"type": "offer", "version": "1", "manifest": b""},
        {"type": "accept", "credit": -1},
        {"type": "accept", "credit": 2**63},
        {"type": "accept", "credit": 1, "held": [[1]]},
        {"type": "digests", "first": 0, "digests": []},
        {"type": "digests", "first": 0, "digests": [bytes(31)]},
        {"type": "digests", "first": 0, "digests": [bytes(32)] * 1025},
        {"type": "path-report", "rtt_us": -1, "jitter_us": 0, "loss_ppm": 0},
        {"type": "path-report", "rtt_us": 0, "jitter_us": 0, "loss_ppm": 1_000_001},
        {"type": "refuse", "reason": "x" * 1001},
        {"type": "failed", "kind": "k" * 41, "sentence": ""},
    ],
)
def test_a_message_that_breaks_its_schema_is_a_protocol_error(value):
    with pytest.raises(PeerProtocolError):
        decode_message_untrusted(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x81", b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff", b"\xa4\xff\xff\xff\xff"]
)
def test_bytes_that_are_no_message_are_a_protocol_error(data):
    with pytest.raises(PeerProtocolError):
        decode_message_untrusted(data)


def test_a_text_that_is_not_unicode_is_a_protocol_error():
    encoded = encode_message(Refuse("usage", "abc")).replace(b"abc", b"\xff\xfe\xfd")
    with pytest.raises(PeerProtocolError):
        decode_message_untrusted(encoded)


def test_a_large_message_survives_fragmentation():
    offer = Offer(1, bytes(range(256)) * 1000)
    assembler = ControlAssembler()
    pieces = list(fragments(encode_message(offer), 1000))
    assert [more for _, more in pieces] == [True] * (len(pieces) - 1) + [False]
    results = [assembler.feed(data, more=more) for data, more in pieces]
    assert results[:-1] == [None] * (len(pieces) - 1)
    assert results[-1] == offer
    assert assembler.feed(encode_message(Bye()), more=False) == Bye()


def test_a_peer_that_never_ends_its_message_is_stopped_at_the_limit():
    assembler = ControlAssembler(limit_bytes=10_000)
    for _ in range(10):
        assert assembler.feed(bytes(1000), more=True) is None
    with pytest.raises(PeerProtocolError):
        assembler.feed(bytes(1000), more=True)


def test_the_limit_can_be_lowered_once_the_offer_is_through():
    assembler = ControlAssembler()
    assembler.expect_at_most(100)
    with pytest.raises(PeerProtocolError):
        assembler.feed(bytes(101), more=False)


def test_the_largest_messages_fit_the_bounds_of_their_receivers():
    digests = Digests(2**63 - 1, (bytes(32),) * messages.MAX_DIGESTS)
    assert len(encode_message(digests)) <= messages.MAX_LATER_BYTES
    far = 2**62
    ranges = tuple((far + 2 * n, far + 2 * n + 1) for n in range(messages.MAX_HELD_RANGES))
    kept, claims = b"\xff" * messages.MAX_KEPT_BYTES, ranges[: messages.MAX_CLAIMED_RANGES]
    assert len(encode_message(Accept(2**62, ranges, kept, claims))) <= messages.MAX_ANSWER_BYTES
    assert len(encode_message(Want(ranges[: messages.MAX_WANTED_RANGES]))) <= messages.MAX_LATER_BYTES


@pytest.mark.parametrize(
    ("kept", "packed"),
    [([], ""), ([(0, 1)], "01"), ([(9, 10)], "0002"), ([(0, 2), (7, 9)], "8301"), ([(0, 16)], "ffff")],
)
def test_kept_files_travel_as_a_bit_each(kept, packed):
    assert pack_kept(RangeSet(kept)).hex() == packed
    assert unpack_kept_untrusted(bytes.fromhex(packed)) == RangeSet(kept)


def test_a_set_of_kept_files_has_one_form_only():
    with pytest.raises(PeerProtocolError):
        unpack_kept_untrusted(b"\x01\x00")


def test_no_more_files_are_kept_than_an_offer_can_have():
    with pytest.raises(PeerProtocolError):
        decode_message_untrusted(encode_message(Accept(0, kept=b"\1" * (messages.MAX_KEPT_BYTES + 1))))


def test_the_answer_about_a_million_files_that_exist_in_turns_is_small_and_quick():
    kept = RangeSet((2 * n, 2 * n + 1) for n in range(MAX_ENTRIES // 2))
    packed = pack_kept(kept)
    assert len(packed) <= messages.MAX_KEPT_BYTES
    assert unpack_kept_untrusted(packed) == kept


def test_a_long_sentence_is_cut_to_what_the_peer_accepts():
    cut = bounded_sentence("x" * 5000)
    assert decode_message_untrusted(encode_message(Refuse("usage", cut))) == Refuse("usage", cut)
    assert bounded_sentence("short") == "short"
