"""webrtc.ice_checks: two agents over wires of our own, in virtual time: which pair they settle on, and when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import aioice
import pytest
from aioice.candidate import candidate_priority
from aioice.ice import CandidatePair

from tallow_cli.webrtc.ice_checks import MAX_PAIRS, CheckingIceConnection, mirrored
from tallow_cli.webrtc.ice_wall import WalledIceConnection, WalledStun
from tests.support.virtual_loop import run_virtual

Address = tuple[str, int]
# How long a datagram takes between two addresses; None: it never arrives.
Delay = Callable[[str, str], float | None]


class Network:
    def __init__(self, delay_s: Delay, loss: float = 0.0) -> None:
        self.delay_s = delay_s
        self.protocols: dict[Address, WalledStun] = {}
        self.sent: list[tuple[str, str]] = []
        self._chance = random.Random(7)
        self._loss = loss

    def carry(self, data: bytes, source: Address, destination: Address) -> None:
        self.sent.append((source[0], destination[0]))
        delay_s = self.delay_s(source[0], destination[0])
        target = self.protocols.get(destination)
        if delay_s is None or target is None or self._chance.random() < self._loss:
            return
        asyncio.get_running_loop().call_later(delay_s, target.datagram_received, data, source)


class Wire(asyncio.DatagramTransport):
    def __init__(self, network: Network, at: Address) -> None:
        super().__init__()
        self._network, self._at = network, at
        self._protocol: WalledStun | None = None

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._network.carry(bytes(data), self._at, addr)

    def close(self) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(None)


Agent = CheckingIceConnection | WalledIceConnection


def agent(network: Network, kind: type[Any], controlling: bool, *addresses: str, **options: Any) -> Any:
    """Those that begin with `relay` are relayed, and those that follow a `/` are what a NAT makes of the one before."""
    if kind is CheckingIceConnection:
        options.setdefault("source_towards", lambda destination: None)
    made = kind(ice_controlling=controlling, **options)
    for order, text in enumerate(addresses):
        address, _, reflexive = text.removeprefix("relay ").partition("/")
        type_ = "relay" if text.startswith("relay") else "host"
        protocol = WalledStun(made)
        port = 1000 + order
        protocol.local_candidate = candidate(type_, address, port, order)
        wire = Wire(network, (address, port))
        wire.set_protocol(protocol)
        protocol.transport = wire
        network.protocols[(address, port)] = protocol
        made._protocols.append(protocol)
        made._local_candidates.append(protocol.local_candidate)
        if reflexive:
            network.protocols[(reflexive, port)] = protocol
            made._local_candidates.append(candidate("srflx", reflexive, port, order))
    made._local_candidates_start = made._local_candidates_end = True
    return made


def candidate(kind: str, address: str, port: int, order: int) -> aioice.Candidate:
    priority = candidate_priority(1, kind, 65_535 - order)
    return aioice.Candidate(f"{kind}{order}", 1, "udp", priority, address, port, kind)


async def introduce(one: Any, other: Any) -> None:
    for here, there in ((one, other), (other, one)):
        here.remote_username, here.remote_password = there.local_username, there.local_password
        for each in there.local_candidates:
            await here.add_remote_candidate(each)
        await here.add_remote_candidate(None)


def settled(made: Any) -> tuple[str, str] | None:
    pair = made._nominated.get(1)
    return None if pair is None else (pair.local_candidate.host, pair.remote_candidate.host)


async def connected(one: Any, other: Any, late_s: float = 0.0) -> float:
    """Introduce and connect them; how long the slower one took."""
    await introduce(one, other)
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def later() -> None:
        await asyncio.sleep(late_s)
        await other.connect()

    await asyncio.gather(one.connect(), later())
    return loop.time() - begun


def run(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main)


def by(**delays: float | None) -> Delay:
    """`relay` and `direct`: over a relayed address on either side, and without."""

    def delay_s(source: str, destination: str) -> float | None:
        relayed = source.startswith("203.") or destination.startswith("203.")
        return delays["relay" if relayed else "direct"]

    return delay_s


A, B, RELAY_A, RELAY_B = "10.0.0.1", "10.0.0.2", "relay 203.0.113.1", "relay 203.0.113.2"
ROLES = pytest.mark.parametrize("controlling", [True, False])


@ROLES
def test_a_direct_way_that_answers_later_than_the_relay_is_used(controlling: bool) -> None:
    async def main() -> None:
        network = Network(by(relay=0.005, direct=0.1))
        one = agent(network, CheckingIceConnection, controlling, A, RELAY_A)
        other = agent(network, CheckingIceConnection, not controlling, B, RELAY_B)
        took_s = await connected(one, other)
        assert (settled(one), settled(other)) == ((A, B), (B, A))
        assert took_s < 0.5
        await asyncio.gather(one.close(), other.close())

    run(main())


@ROLES
def test_a_relay_is_used_soon_where_there_is_no_direct_way(controlling: bool) -> None:
    async def main() -> None:
        network = Network(by(relay=0.05, direct=None))
        one = agent(network, CheckingIceConnection, controlling, A, RELAY_A)
        other = agent(network, CheckingIceConnection, not controlling, B)
        took_s = await connected(one, other)
        assert settled(one) in (("203.0.113.1", B), (A, "203.0.113.1"))
        assert took_s < 1.2
        await asyncio.gather(one.close(), other.close())

    run(main())


def test_where_only_relays_may_be_used_nothing_is_waited_for() -> None:
    async def main() -> None:
        network = Network(by(relay=0.05, direct=None))
        one = agent(network, CheckingIceConnection, True, RELAY_A)
        other = agent(network, CheckingIceConnection, False, RELAY_B)
        assert await connected(one, other) < 0.4

    run(main())


def test_both_sides_of_two_shared_networks_settle_on_the_preferred_one() -> None:
    async def main() -> None:
        second = "192.168.7."
        network = Network(lambda s, d: None if s[:3] != d[:3] else (0.03 if s.startswith("10.") else 0.001))
        one = agent(network, CheckingIceConnection, True, A, f"{second}1")
        other = agent(network, CheckingIceConnection, False, B, f"{second}2")
        await connected(one, other)
        assert (settled(one), settled(other)) == ((A, B), (B, A))

    run(main())


@ROLES
def test_a_peer_of_the_older_kind_is_agreed_with(controlling: bool) -> None:
    """It nominates with every check, and takes the first that answers; as the controlled side it takes what it is
    told."""

    async def main() -> None:
        network = Network(by(relay=0.05, direct=0.01))
        one = agent(network, CheckingIceConnection, controlling, A, RELAY_A)
        other = agent(network, WalledIceConnection, not controlling, B)
        await connected(one, other)
        assert (settled(one), settled(other)) == ((A, B), (B, A))

    run(main())


def test_a_check_that_a_nat_has_dropped_is_repeated_when_the_peers_comes() -> None:
    async def main() -> None:
        open_: set[str] = set()
        late_s = 3.05

        def nat(source: str, destination: str) -> float | None:
            open_.add(source)
            return 0.01 if destination in open_ else None

        network = Network(nat)
        one = agent(network, CheckingIceConnection, True, A)
        other = agent(network, CheckingIceConnection, False, B)
        took_s = await connected(one, other, late_s)
        assert took_s - late_s < 0.15, "not the next of our own repetitions"

    run(main())


@pytest.mark.parametrize("seed", range(10))
def test_a_third_of_all_datagrams_may_be_lost(seed: int) -> None:
    async def main() -> None:
        network = Network(by(relay=None, direct=0.02), loss=0.3)
        network._chance.seed(seed)
        one = agent(network, CheckingIceConnection, True, A)
        other = agent(network, CheckingIceConnection, False, B)
        await connected(one, other)
        assert (settled(one), settled(other)) == ((A, B), (B, A))

    run(main())


@pytest.mark.parametrize(("is_host", "least_s"), [(True, 7.5), (False, 11.5)])
def test_who_does_not_answer_is_given_up_after_eight_seconds_and_by_who_may_be_early_after_twelve(
    is_host: bool, least_s: float
) -> None:
    async def main() -> None:
        network = Network(by(relay=None, direct=None))
        one = agent(network, CheckingIceConnection, is_host, A)
        other = agent(network, CheckingIceConnection, not is_host, B)
        await introduce(one, other)
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionError):
            await one.connect()
        assert least_s < loop.time() < least_s + 1.0
        assert (one.checks.pairs, one.checks.answered, one.checks.heard) == (1, 0, False)
        assert len(network.sent) == 10, "what a peer can have sent to an address of its choice"

    run(main())


def test_of_many_addresses_the_likely_pairs_are_tried_first_and_no_kind_is_cut_off() -> None:
    async def main() -> None:
        containers = [f"172.20.{number}.1" for number in range(30)]
        network = Network(by(relay=0.05, direct=None))
        one = agent(network, CheckingIceConnection, True, A, *containers, RELAY_A)
        other = agent(network, CheckingIceConnection, False, f"{B}/198.51.100.7", *containers, RELAY_B)
        took_s = await connected(one, other)
        assert settled(one) in ((A, "203.0.113.2"), ("203.0.113.1", "198.51.100.7"), ("203.0.113.1", B))
        assert took_s < 2.5
        assert network.sent[0] == (A, B)
        assert (A, "198.51.100.7") in network.sent

    run(main())


def test_no_more_pairs_are_tried_than_the_peer_may_ask_for() -> None:
    async def main() -> None:
        network = Network(by(relay=None, direct=None))
        one = agent(network, CheckingIceConnection, True, *(f"10.1.{n}.1" for n in range(20)))
        other = agent(network, CheckingIceConnection, False, *(f"10.2.{n}.1" for n in range(20)))
        await introduce(one, other)
        with suppress(ConnectionError):
            await one.connect()
        assert len(one._check_list) == MAX_PAIRS

    run(main())


def test_of_two_of_our_addresses_the_one_that_the_system_would_take_is_used() -> None:
    async def main() -> None:
        first, second = "10.8.0.1", "10.9.0.1"
        network = Network(by(relay=None, direct=0.01))
        options = {"source_towards": lambda _: second}
        one = agent(network, CheckingIceConnection, True, first, second, **options)
        other = agent(network, CheckingIceConnection, False, "10.9.0.2")
        await connected(one, other)
        assert settled(one) == (second, "10.9.0.2")
        assert network.sent[0] in ((second, "10.9.0.2"), ("10.9.0.2", first))

    run(main())


def test_addresses_of_both_sides_are_tried_last() -> None:
    async def main() -> None:
        docker = "172.17.0.1"
        network = Network(by(relay=None, direct=0.01))
        one = agent(network, CheckingIceConnection, True, docker, A)
        other = agent(network, CheckingIceConnection, False, docker, B)
        network.protocols[(docker, 1000)] = one._protocols[0]  # to itself, on either side
        await connected(one, other)
        assert settled(one) in ((docker, B), (A, B))
        assert network.sent[0][1] != docker

    run(main())


def test_addresses_of_both_sides_are_those_of_one_machine_where_there_are_no_others() -> None:
    assert mirrored(["10.0.0.1", "172.17.0.1"], ["172.17.0.1", "10.0.0.2"]) == {"172.17.0.1"}
    assert mirrored(["10.0.0.1", "172.17.0.1"], ["172.17.0.1", "10.0.0.1"]) == frozenset()


def test_a_check_names_the_preference_of_the_address_it_leaves_from() -> None:
    async def main() -> None:
        network = Network(by(relay=None, direct=0.01))
        one = agent(network, CheckingIceConnection, True, A, "10.3.0.1")
        other = agent(network, CheckingIceConnection, False, B)
        await introduce(one, other)
        first, second = (
            one.build_request(CandidatePair(protocol, one._remote_candidates[0]), nominate=False)
            for protocol in one._protocols
        )
        assert first.attributes["PRIORITY"] > second.attributes["PRIORITY"]

    run(main())
