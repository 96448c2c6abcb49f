"""The link of `tallow bench --link`, in virtual time."""

from __future__ import annotations

import random

import pytest

from tallow_cli.bench.emulated_link import (
    MTU_BYTES,
    SMALLEST_QUEUE_BYTES,
    LinkCounters,
    LinkSpec,
    counters_of,
    parse_link,
)
from tallow_cli.errors import BadOption
from tallow_cli.netem.link import IP_UDP_OVERHEAD_BYTES, Link

SEED = 7
FULL = bytes(MTU_BYTES - IP_UDP_OVERHEAD_BYTES)  # fills one packet
SPEC = LinkSpec(rate_bps=12e6, rtt_s=0.040, loss=0.0)  # a full packet takes 1 ms


class OneWay:
    """The emulated link as the process drives it: datagrams, and the headers that they cost."""

    def __init__(self, spec: LinkSpec = SPEC) -> None:
        self.link = Link(spec.config, random.Random(SEED), keeps_delays=False)

    def send(self, now: float, datagram: bytes) -> None:
        self.link.send(now, datagram, len(datagram) + IP_UDP_OVERHEAD_BYTES)

    @property
    def counters(self) -> LinkCounters:
        return counters_of(self.link.stats, 0)


def test_packets_leave_one_after_the_other_at_the_links_rate() -> None:
    way = OneWay()
    for _ in range(30):
        way.send(0.0, FULL)
    assert [len(way.link.receive(0.020 + n * 0.001 + 1e-9)) for n in range(31)] == [0] + [1] * 30


def test_headers_count_against_the_rate() -> None:
    way = OneWay()
    way.send(0.0, b"")
    assert way.link.next_timeout() == pytest.approx(0.020 + IP_UDP_OVERHEAD_BYTES * 8 / SPEC.rate_bps)


def test_a_full_queue_drops_what_comes_last_and_takes_more_once_it_has_room() -> None:
    way = OneWay(LinkSpec(rate_bps=12e6, rtt_s=0.0405, loss=0.0))
    for n in range(50):
        way.send(0.0, FULL[:-1] + bytes([n]))
    assert way.counters.dropped_by_queue == 10
    way.send(0.001, FULL)
    way.send(0.001, FULL)
    assert way.counters.dropped_by_queue == 11
    assert [datagram[-1] for datagram in way.link.receive(1.0)] == [*range(40), 0]


def test_losses_are_the_share_asked_for_and_the_same_for_a_seed() -> None:
    def survivors() -> list[int]:
        way = OneWay(LinkSpec(rate_bps=1e9, rtt_s=0.0, loss=0.1))
        arrived = []
        for n in range(2000):
            way.send(n * 0.001, n.to_bytes(2, "big"))
            arrived += [int.from_bytes(datagram, "big") for datagram in way.link.receive(n * 0.001 + 0.0005)]
        assert way.counters.lost == 2000 - len(arrived)
        return arrived

    assert survivors() == survivors()
    assert 0.08 < 1 - len(survivors()) / 2000 < 0.12


def test_what_is_larger_than_the_mtu_vanishes_so_that_path_mtu_discovery_finds_it() -> None:
    way = OneWay()
    way.send(0.0, FULL + b"x")
    assert way.link.next_timeout() is None
    assert way.counters.too_large == 1


def test_lateness_is_counted_against_the_emulator() -> None:
    way = OneWay()
    way.send(0.0, FULL)
    way.send(0.0, FULL)
    way.link.receive(0.025)
    assert way.counters.delivered == 2
    assert way.counters.mean_late_s == pytest.approx((0.004 + 0.003) / 2)
    assert OneWay().counters.mean_late_s == 0.0


def test_the_queue_holds_one_round_trip_or_a_burst() -> None:
    assert LinkSpec(100e6, 0.050, 0.0).queue_bytes == 625_000
    assert LinkSpec(100e6, 0.001, 0.0).queue_bytes == 250_000
    assert LinkSpec(100e3, 0.001, 0.0).queue_bytes == SMALLEST_QUEUE_BYTES


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("100Mbit,50ms,1%", LinkSpec(100e6, 0.050, 0.01)),
        ("300,4,0.1", LinkSpec(300e6, 0.004, 0.001)),
        (" 1Gbit , 0.4 ms , 0 ", LinkSpec(1e9, 0.0004, 0.0)),
        ("5MB/s,1s,3%", LinkSpec(40e6, 1.0, 0.03)),
        ("20Mbit/s,800us,0.5", LinkSpec(20e6, 0.0008, 0.005)),
    ],
)
def test_a_link_is_read_as_people_write_it(text: str, spec: LinkSpec) -> None:
    parsed = parse_link(text)
    assert (parsed.rate_bps, parsed.rtt_s, parsed.loss) == pytest.approx(
        (spec.rate_bps, spec.rtt_s, spec.loss)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "RATE,RTT,LOSS"),
        ("100Mbit,50ms", "RATE,RTT,LOSS"),
        ("100Mbit,50ms,1%,2", "RATE,RTT,LOSS"),
        ("fast,50ms,1%", "not a rate"),
        ("-1,50ms,1%", "not a rate"),
        ("nan,50ms,1%", "not a rate"),
        ("100Mbit,soon,1%", "not a round-trip time"),
        ("100Mbit,50ms,some", "not a loss"),
        ("0,50ms,1%", "between 100 kbit/s and 1 Gbit/s"),
        ("10Gbit,50ms,1%", "between 100 kbit/s and 1 Gbit/s"),
        ("100Mbit,3s,1%", "over 2 s"),
        ("100Mbit,50ms,51%", "over 50%"),
    ],
)
def test_what_is_no_link_is_refused_with_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(BadOption, match=reason) as caught:
        parse_link(text)
    assert caught.value.option == "--link"


def test_a_link_names_itself_for_people() -> None:
    assert str(parse_link("100Mbit,50ms,1%")) == "100 Mbit/s, 50 ms, 1 %"
    assert str(parse_link("300,0.4,0.1")) == "300 Mbit/s, 0.4 ms, 0.1 %"
