"""wire.channel_data: RFC 8656 section 12.4, in runs."""

from __future__ import annotations

import random

import pytest

from tallow_cli.wire.channel_data import StreamParser, framed, framed_for_stream, unframed_untrusted

CHANNEL = 0x4001
STUN = b"\x01\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"abcd"


def run(sizes: list[int]) -> bytes:
    return b"".join(bytes([20 + number]) * size for number, size in enumerate(sizes))


@pytest.mark.parametrize("sizes", [[100], [100, 100, 100], [100, 100, 7], [1]])
def test_equal_datagrams_stay_equal_and_come_back_as_one_run(sizes: list[int]) -> None:
    sent = run(sizes)
    messages = framed(sent, sizes[0], CHANNEL)
    assert len(messages) == len(sent) + 4 * len(sizes)
    assert messages[:4] == CHANNEL.to_bytes(2) + sizes[0].to_bytes(2)
    assert list(unframed_untrusted(memoryview(messages), sizes[0] + 4)) == [(CHANNEL, sent, sizes[0])]


def test_over_a_stream_each_message_is_padded_to_four_bytes() -> None:
    assert framed_for_stream(b"abcdefg", 5, CHANNEL) == b"\x40\x01\0\5abcde\0\0\0\x40\x01\0\2fg\0\0"


def test_runs_end_where_the_channel_or_the_size_changes() -> None:
    messages = framed(run([9, 9]), 9, CHANNEL) + framed(run([9]), 9, CHANNEL + 1)
    assert list(unframed_untrusted(memoryview(messages), 13)) == [
        (CHANNEL, run([9, 9]), 9),
        (CHANNEL + 1, run([9]), 9),
    ]


@pytest.mark.parametrize("broken", [b"\x40", b"\x40\x01\0\5abcd", b"\x40\x01\0\0"])
def test_a_message_that_is_not_whole_is_left_out(broken: bytes) -> None:
    assert list(unframed_untrusted(memoryview(broken), len(broken))) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_is_cut_into_the_same_messages_wherever_it_is_torn(seed: int) -> None:
    rng = random.Random(seed)
    stream, datagrams, messages = b"", [], 0
    for number in range(40):
        if rng.random() < 0.2:
            stream, messages = stream + STUN, messages + 1
        else:
            datagram = bytes([number]) * rng.choice([1, 2, 300, 1400, 1400, 1400])
            datagrams.append(datagram)
            stream += framed_for_stream(datagram, len(datagram), CHANNEL)
    parser = StreamParser()
    came, stun = [], []
    while stream:
        cut = rng.choice([1, 3, 100, 5000])
        said, runs = parser.receive_untrusted(stream[:cut])
        stream = stream[cut:]
        stun += said
        for channel, joined, size in runs:
            assert channel == CHANNEL
            came += [joined[start : start + size] for start in range(0, len(joined), size)]
    assert came == datagrams, f"seed {seed}"
    assert stun == [STUN] * messages
