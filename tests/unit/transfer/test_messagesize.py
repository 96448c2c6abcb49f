"""How large messages become: even splits, and a loss of about 5 %."""

import pytest

from tallow_cli.transfer.messagesize import MessageSizer, even_split, network_packets


def sizer(**changes):
    settings = {"max_message_bytes": 262_144, "preferred_message_bytes": 131_072, "overhead_bytes": 45}
    return MessageSizer(**{**settings, **changes})


def settle(sizer, loss, rate=0.0):
    for _ in range(20):
        sizer.update(loss, rate)
    return sizer.message_bytes


def test_a_chunk_just_over_one_message_goes_in_two_equal_halves():
    limit = 262_144 - 45
    first = even_split(262_144, limit)
    assert first == 131_072
    assert even_split(262_144 - first, limit) == 131_072


@pytest.mark.parametrize(
    ("size", "limit"), [(1, 1), (1, 100), (100, 100), (101, 100), (65_536, 1115), (999, 10)]
)
def test_an_even_split_never_exceeds_the_limit_and_wastes_no_message(size, limit):
    parts = []
    left = size
    while left:
        parts.append(even_split(left, limit))
        left -= parts[-1]
    assert max(parts) <= limit
    assert len(parts) == -(-size // limit)
    assert max(parts) - min(parts) <= len(parts)


@pytest.mark.parametrize("loss", [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02])
@pytest.mark.parametrize("rate", [0.0, 12.5e6, 125e6])
def test_the_expected_loss_of_a_message_stays_below_five_percent(loss, rate):
    packets = network_packets(settle(sizer(), loss, rate))
    assert packets == 1 or 1 - (1 - loss) ** packets <= 0.0501


def wasted(packets, loss, cost_bytes):
    """The share of the link that messages of so many packets waste: what they cost, and what is sent again."""
    return cost_bytes / (packets * 1160) + 1 - (1 - loss) ** (packets - 1)


@pytest.mark.parametrize("loss", [0.0005, 0.001, 0.005, 0.01])
def test_the_size_is_about_the_one_that_wastes_least(loss):
    packets = network_packets(settle(sizer(), loss))
    best = min(wasted(n, loss, 45) for n in range(1, 120))
    assert wasted(packets, loss, 45) <= best * 1.1


def test_messages_are_whole_numbers_of_the_packets_the_path_takes():
    messages = sizer()
    messages.set_packet_bytes(1404)
    assert settle(messages, 0.001) % 1404 == 0


def test_every_message_of_a_chunk_but_the_last_fills_its_packets():
    messages = sizer()
    messages.set_packet_bytes(1404)
    settle(messages, 0.0)
    left, sizes = 1 << 20, []
    while left:
        sizes.append(messages.next_payload(left))
        left -= sizes[-1]
    assert len(sizes) == 9
    assert all((size + 45) % 1404 == 0 for size in sizes[:-1])
    assert max(sizes) - min(sizes) < 0.15 * max(sizes), "and they are about equal"
    assert max(sizes) <= messages.payload_bytes


def test_heavy_loss_leaves_one_network_packet():
    assert network_packets(settle(sizer(), 0.2)) == 1
    assert network_packets(settle(sizer(), 1.0)) == 1


def test_the_size_falls_at_once_and_at_most_doubles_on_its_way_up():
    messages = sizer()
    settle(messages, 0.0)
    messages.update(0.05, 0.0)
    assert messages.message_bytes == 1160
    messages.update(0.0, 0.0)
    assert messages.message_bytes == 2320


def test_neither_the_negotiated_maximum_nor_the_preference_is_exceeded():
    assert settle(sizer(max_message_bytes=16_384), 0.0) == 16_384 // 1160 * 1160
    assert settle(sizer(), 0.0) == 131_072 // 1160 * 1160
    assert settle(sizer(preferred_message_bytes=1 << 20), 0.0) == 262_144 // 1160 * 1160
    assert sizer(max_message_bytes=1200).payload_bytes == 1155


def test_a_slow_link_gets_messages_of_a_tenth_of_a_second():
    assert settle(sizer(), 0.0, rate=400_000.0) == 40_000 // 1160 * 1160
    assert settle(sizer(), 0.0, rate=1_000.0) == 16_384 // 1160 * 1160


def test_a_maximum_without_room_for_payload_is_an_error():
    with pytest.raises(ValueError):
        sizer(max_message_bytes=45)
