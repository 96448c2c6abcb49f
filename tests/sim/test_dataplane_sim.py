"""Two associations over terrible networks: what was sent arrives, whole, once, in order where promised, and memory
stays bounded. The seed is in every test's name."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from tallow_cli.dataplane.association import Association
from tallow_cli.dataplane.packets import FORWARD_TSN, SACK, chunks_untrusted, parse_sack_untrusted
from tallow_cli.netem.link import LinkConfig
from tallow_cli.netem.presets import PRESETS, PathPreset
from tests.sim.associations import MIB, SimulatedPath, goodput_mbps, keep_queue_full

pytestmark = pytest.mark.sim
# More of them: TALLOW_SEEDS=2000 pytest -m sim
SEEDS = int(os.environ.get("TALLOW_SEEDS", "60"))


def terrible_path(rng: random.Random) -> PathPreset:
    """Anything a path can do, at a rate low enough for a fast test."""

    def direction() -> LinkConfig:
        return LinkConfig(
            rate_bps=rng.choice([2e6, 10e6, 50e6]),
            delay_s=rng.choice([0.0001, 0.005, 0.05]),
            queue_bytes=rng.choice([20_000, 100_000, 1_000_000]),
            loss=rng.choice([0.0, 0.01, 0.05, 0.2]),
            burst_packets=rng.choice([1.0, 3.0, 10.0]),
            reorder=rng.choice([0.0, 0.05, 0.3]),
            reorder_delay_s=rng.choice([0.0005, 0.01]),
            duplicate=rng.choice([0.0, 0.05]),
            jitter_s=rng.choice([0.0, 0.005]),
            outages=rng.choice([(), ((0.2, 0.9),)]),
        )

    return PathPreset("terrible", direction(), direction())


def near_the_wrap(rng: random.Random) -> tuple[int, int]:
    return (2**32 - rng.randrange(1, 200)) % 2**32, (2**32 - rng.randrange(1, 20)) % 2**32


def sizes(rng: random.Random) -> int:
    return rng.choice([1, 3, 100, 1_159, 1_160, 1_161, 5_000, 70_000])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_reliable_messages_all_arrive_in_order_whatever_the_network_does(seed: int) -> None:
    rng = random.Random(seed)
    path = SimulatedPath(
        terrible_path(rng), seed, first_tsns=near_the_wrap(rng), send_zero_checksum=seed % 2 == 0
    )
    ends = (path.left, path.right)
    sent: list[dict[int, list[bytes]]] = [{}, {}]
    for number in range(24):
        for end, log in zip(ends, sent, strict=True):
            data = number.to_bytes(4) + rng.randbytes(sizes(rng))
            stream_id = rng.randrange(3)
            end.association.send_message(stream_id, 53, data)
            log.setdefault(stream_id, []).append(data)
    assert path.run(lambda: all(end.association.is_flushed for end in ends), 120.0), (
        path.left.association.stats
    )
    for end, log in zip(reversed(ends), sent, strict=True):
        for stream_id, messages in log.items():
            assert [m.data for m in end.received if m.stream_id == stream_id] == messages
        assert end.association.held_bytes == 0
        assert end.abandoned == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_unreliable_messages_arrive_once_or_are_abandoned_and_nothing_stalls(seed: int) -> None:
    rng = random.Random(1000 + seed)
    path = SimulatedPath(terrible_path(rng), seed, first_tsns=near_the_wrap(rng))
    kinds: list[dict[str, Any]] = [
        {"ordered": False, "max_retransmits": 0},
        {"ordered": True, "max_retransmits": 0},
        {"ordered": False, "max_retransmits": 2},
        {"ordered": True, "expires_at": 0.3},
        {"ordered": False},
        {"ordered": True},
    ]
    sent: dict[int, list[bytes]] = {stream_id: [] for stream_id in range(len(kinds))}
    for number in range(SEEDS):
        stream_id = rng.randrange(len(kinds))
        data = number.to_bytes(4) + rng.randbytes(sizes(rng))
        path.left.association.send_message(stream_id, 53, data, **kinds[stream_id])
        sent[stream_id].append(data)
    left, right = path.left, path.right
    assert path.run(lambda: left.association.is_flushed, 120.0), left.association.stats
    last_tsn = (left.association.next_tsn - 1) % 2**32
    assert path.run(lambda: right.association.cumulative_tsn_received == last_tsn, 600.0), (
        "FORWARD-TSN arrives"
    )
    for stream_id, kind in enumerate(kinds):
        got = [m.data for m in right.received if m.stream_id == stream_id]
        expected = sent[stream_id]
        if kind.get("ordered"):
            places = [expected.index(data) for data in got]
            assert places == sorted(set(places))
        assert len(set(got)) == len(got)
        assert set(got) <= set(expected)
        given_up = sum(m.stream_id == stream_id for m in left.abandoned)
        assert len(got) + given_up >= len(expected)
        if "max_retransmits" not in kind and "expires_at" not in kind:
            assert sorted(got) == sorted(expected)
        assert left.drained_bytes.get(stream_id, 0) == sum(map(len, expected))
    assert right.association.held_bytes == 0


@pytest.mark.parametrize("message_bytes", [1_160, 16_384, 262_144])
def test_a_loss_of_one_percent_does_not_stall_fragmented_unreliable_messages(message_bytes: int) -> None:
    # pion 104, 138, 505; usrsctp 592; aiortc 1438: each stack has had this stall.
    mbps, path = goodput_mbps(
        PRESETS["inet1"], 5, 3.0, message_bytes=message_bytes, ordered=False, max_retransmits=0
    )
    assert path.left.association.stats.sent_packets * 1_160 * 8 / 3e6 > 50.0
    assert mbps > 5.0
    lag = (path.left.association.next_tsn - path.left.association.cumulative_tsn_acked) % 2**32
    assert lag < 4_000, "the cumulative ack must keep up with what was abandoned"


def test_forward_tsn_does_not_ping_pong_on_a_clean_path() -> None:
    path = SimulatedPath(PRESETS["inet"], 1)
    seen: list[int] = []
    watch(path.right.association, seen)
    path.left.association.send_message(1, 53, bytes(500_000), ordered=False, max_retransmits=0)
    assert path.run(lambda: path.left.association.is_flushed, 10.0)
    assert FORWARD_TSN not in seen


def watch(association: Association, kinds: list[int]) -> None:
    """Note the chunk types an association is given."""
    take = association.receive_packets

    def noting(now: float, packets: Any) -> Any:
        for packet in packets:
            kinds.extend(chunk.type for chunk in chunks_untrusted(packet))
        return take(now, packets)

    association.receive_packets = noting  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["lan1g", "wifi", "inet1", "reorder5", "thin-acks"])
def test_sacks_stay_few(name: str) -> None:
    path = SimulatedPath(PRESETS[name], 1, max_packet_bytes=1432)
    path.right.keep_messages = False
    kinds: list[int] = []
    watch(path.left.association, kinds)
    keep_queue_full(path.left, bytes(65_536), MIB)
    path.run(lambda: False, 1.0)
    packets = path.right.association.stats.received_packets
    assert kinds.count(SACK) < packets / (8 if name in ("lan1g", "wifi") else 4), (kinds.count(SACK), packets)


def test_a_receiver_that_never_opens_its_window_costs_one_probe_each_timeout() -> None:
    path = SimulatedPath(PRESETS["inet"], 3, local_rwnd_bytes=0)
    path.left.association.send_message(1, 53, bytes(100_000))
    path.run(lambda: False, 60.0)
    assert 20 < path.left.association.stats.sent_packets < 400
    assert path.turns < 10_000


def test_a_window_that_opens_late_is_noticed() -> None:
    path = SimulatedPath(PRESETS["lan1g"], 3, local_rwnd_bytes=200_000)
    take_events = path.right.take_events
    path.right.take_events = lambda: None  # type: ignore[method-assign]  # the application is asleep
    keep_queue_full(path.left, bytes(10_000), 300_000)
    path.run(lambda: False, 2.0)
    assert path.right.association.held_bytes <= 400_000
    path.right.take_events = take_events  # type: ignore[method-assign]
    path.right.take_events()
    before = path.right.received_bytes
    path.run(lambda: False, 2.5)
    assert path.right.received_bytes > before + 5_000_000


def test_larger_packets_are_found_and_used() -> None:
    path = SimulatedPath(PRESETS["lan1g"], 1, max_packet_bytes=8_932)
    path.left.max_packet_bytes_on_path = 1_432
    keep_queue_full(path.left, bytes(65_536), MIB)
    path.run(lambda: False, 3.0)
    assert path.left.association.stats.packet_bytes == 1_432
    assert path.left.association.stats.timeouts == 0
    assert path.right.received_bytes > 200 * MIB


def test_a_path_that_shrinks_is_survived() -> None:
    path = SimulatedPath(PRESETS["inet"], 1, max_packet_bytes=1_432)
    path.left.max_packet_bytes_on_path = 1_432
    keep_queue_full(path.left, bytes(65_536), MIB, ordered=False, max_retransmits=0)
    path.run(lambda: False, 1.0)
    assert path.left.association.stats.packet_bytes == 1_432
    path.left.max_packet_bytes_on_path = 1_300
    path.run(lambda: bool(path.left.mtu_changes[1:]), 10.0)
    assert path.left.mtu_changes[1].needs_fragments
    before = path.right.received_bytes
    path.run(lambda: False, 5.0)
    assert path.left.association.stats.packet_bytes == 1_188
    assert path.right.received_bytes > before + 5 * MIB


def test_a_reliable_transfer_survives_a_shrinking_path_once_ip_may_fragment() -> None:
    path = SimulatedPath(PRESETS["inet"], 1, max_packet_bytes=1_432)
    data = path.rng.randbytes(5 * MIB)
    path.left.association.send_message(1, 53, data)
    path.run(lambda: path.left.association.stats.sent_packets > 1_000, 5.0)
    path.left.max_packet_bytes_on_path = 1_300

    def obey(_now: float) -> None:
        if path.left.mtu_changes and path.left.mtu_changes[-1].needs_fragments:
            path.left.max_packet_bytes_on_path = None

    path.left.on_turn = obey
    assert path.run(lambda: path.left.association.is_flushed, 30.0)
    assert [m.data for m in path.right.received] == [data]
    assert not path.left.mtu_changes[-1].needs_fragments


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ({}, 1_432, 1_300),
        ({"ordered": False, "max_retransmits": 2}, 1_432, 1_300),
        ({}, 16_320, 1_432),
    ],
    ids=["reliable", "2-retransmissions", "from one record to Ethernet"],
)
def test_a_path_that_shrinks_and_passes_no_fragments_costs_three_seconds_between_tallow_peers(
    kind: dict[str, Any], before: int, after: int
) -> None:
    # Reliable, nothing passed any more; else the last fragments of old messages stood in the way for 30 s.
    path = SimulatedPath(PRESETS["inet"], 1, max_packet_bytes=before, peer_joins_parts=True)
    path.left.max_packet_bytes_on_path = before
    keep_queue_full(path.left, path.rng.randbytes(65_536), MIB, **kind)
    refill = path.left.on_turn
    spoken = [0.0]

    def talk(now: float) -> None:
        if refill is not None:
            refill(now)
        if now >= spoken[0]:
            spoken[0] = now + 0.1
            path.left.association.send_message(0, 53, b"tick")

    path.left.on_turn = talk
    path.run(lambda: False, 1.0)
    assert path.left.association.stats.packet_bytes == before
    path.left.max_packet_bytes_on_path = after
    path.run(lambda: False, 3.0)
    so_far = path.right.received_bytes
    path.run(lambda: False, 2.0)
    assert path.right.received_bytes > so_far + 2 * 6 * MIB, "half of 100 Mbit/s"
    assert not any(change.needs_fragments for change in path.left.mtu_changes)


def test_a_tail_loss_costs_round_trips_and_not_a_retransmission_timeout() -> None:
    path = SimulatedPath(PRESETS["inet"], 1)
    path.left.association.send_message(1, 53, bytes(300_000))
    path.run(lambda: path.left.association.is_flushed, 5.0)
    started = path.now
    path.left.association.send_message(1, 53, bytes(1_000))
    drop_next = path.forward.send
    path.forward.send = lambda *_: False  # type: ignore[method-assign]
    path.run(lambda: path.left.association.stats.inflight_bytes > 0, 1.0)
    path.forward.send = drop_next  # type: ignore[method-assign]
    assert path.run(lambda: path.left.association.is_flushed, 1.0)
    assert path.now - started < 0.2
    assert path.left.association.stats.timeouts == 0


def test_sacks_fit_the_smallest_packet_however_many_gaps_there_are() -> None:
    path = SimulatedPath(PRESETS["inet1"], 2)
    tsns = path.right.association._receiver.tsns
    for number in range(0, 4_000, 2):
        tsns.add(0.0, tsns.cumulative_end + 1 + number, tsns.cumulative_end + 2 + number)
    (batch, *_rest) = path.right.association.packets(0.0)
    assert len(batch[0]) <= 1_188
    chunk = chunks_untrusted(batch[0])[0]
    assert len(parse_sack_untrusted(batch[0][chunk.start : chunk.end]).gaps) // 2 == 290
