"""webrtc.ice_gathering: addresses in their order, what STUN servers say of them, and servers that say nothing.

Real sockets on loopback; relays: tests/e2e/test_relays.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aioice import TransportPolicy, stun

from tallow_cli.errors import BadOption
from tallow_cli.webrtc.ice_gathering import NO_ANSWER_S, GatheringIceConnection
from tallow_cli.webrtc.ice_server import RelayServer, StunServer

AT = ("127.0.0.1", "127.0.0.2")


@asynccontextmanager
async def gathering(*addresses: str, **options: Any) -> AsyncIterator[GatheringIceConnection]:
    policy = options.pop("policy", TransportPolicy.ALL)
    made = GatheringIceConnection(
        ice_controlling=True, transport_policy=policy, own_addresses=addresses or AT, **options
    )
    try:
        await made.gather_candidates()
        yield made
    finally:
        await made.close()


class Server(asyncio.DatagramProtocol):
    """Answers the Binding requests from `first_answered` on, as if a NAT had mapped the port to another."""

    def __init__(self, first_answered: int = 1) -> None:
        self.left = first_answered
        self.requests: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests.append(data)
        self.left -= 1
        if self.left <= 0:
            request = stun.parse_message(data)
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.9", addr[1])
            self.transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def stun_server(server: Server) -> AsyncIterator[StunServer]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        yield StunServer(*transport.get_extra_info("sockname")[:2])
    finally:
        transport.close()


@contextmanager
def silent(kind: socket.SocketKind) -> Iterator[int]:
    """The port of somebody who listens and says nothing."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock.getsockname()[1]


async def seconds(step: Any) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await step
    return loop.time() - begun


async def test_addresses_are_offered_in_the_order_they_are_named() -> None:
    async with gathering("127.0.0.2", "127.0.0.1") as ice:
        by_priority = sorted(ice.local_candidates, key=lambda each: -each.priority)
        assert [each.host for each in by_priority] == ["127.0.0.2", "127.0.0.1"]
        assert all(each.type == "host" for each in by_priority)


async def test_what_this_machine_does_not_have_is_left_out() -> None:
    async with gathering("192.0.2.254", "127.0.0.1") as ice:
        assert [each.host for each in ice.local_candidates] == ["127.0.0.1"]


async def test_only_the_ports_that_were_named_are_bound() -> None:
    with silent(socket.SOCK_DGRAM) as taken:
        last = min(taken + 40, 65_535)
        async with gathering("127.0.0.1", ports=(taken, last)) as ice:
            (bound,) = ice.local_candidates
            assert taken < bound.port <= last
        with pytest.raises(BadOption, match=f"port {taken} is in use"):
            async with gathering("127.0.0.1", ports=(taken, taken)):
                pass
        async with gathering("127.0.0.1", "127.0.0.2", ports=(taken, taken)) as ice:
            assert [each.host for each in ice.local_candidates] == ["127.0.0.2"]


async def test_what_is_known_later_changes_the_order_and_adds_to_it() -> None:
    async with gathering("127.0.0.1", "127.0.0.2") as ice:
        ports = {each.host: each.port for each in ice.local_candidates}
        await ice.offer(["127.0.0.2", "127.0.0.3"])
        by_priority = sorted(ice.local_candidates, key=lambda each: -each.priority)
        assert [each.host for each in by_priority] == ["127.0.0.2", "127.0.0.3"]
        assert by_priority[0].port == ports["127.0.0.2"]
        assert len(ice._protocols) == 2, "loopback is for a machine that has nothing else"


async def test_dozens_of_addresses_ask_no_storm_of_questions() -> None:
    server = Server()
    everything = [f"127.0.1.{n}" for n in range(1, 30)]
    async with stun_server(server) as address, gathering(*everything) as ice:
        await ice.ask_stun([address])
        assert len(server.requests) == 8
        assert len(ice.local_candidates) == len(everything) + 8


async def test_a_relay_is_spoken_to_from_the_chosen_address_and_ports() -> None:
    with silent(socket.SOCK_DGRAM) as port:
        async with gathering("127.0.0.3", through=1, ports=(50_700, 50_799)) as ice:
            with ice._socket_towards(("127.0.0.1", port)) as sock:
                host, used = sock.getsockname()
                assert (host, 50_700 <= used <= 50_799) == ("127.0.0.3", True)
            with pytest.raises(OSError, match="no address of the chosen interface"):
                ice._socket_towards(("::1", port))


async def test_a_nats_address_is_offered_below_the_hosts_own() -> None:
    async with stun_server(Server()) as server, gathering("127.0.0.1") as ice:
        await ice.ask_stun([server])
        own, mapped = ice.local_candidates
        assert (mapped.type, mapped.host, mapped.port) == ("srflx", "192.0.2.9", own.port)
        assert (mapped.related_address, mapped.related_port) == (own.host, own.port)
        assert mapped.priority < own.priority
        assert (ice.gathered.stun_asked, ice.gathered.stun_answered) == (1, 1)


async def test_two_servers_that_say_the_same_add_one_candidate() -> None:
    async with stun_server(Server()) as one, stun_server(Server()) as other, gathering("127.0.0.1") as ice:
        await ice.ask_stun([one, other])
        assert len(ice.local_candidates) == 2
        assert ice.gathered.stun_answered == 2


async def test_lost_requests_are_repeated_within_the_second() -> None:
    server = Server(first_answered=5)
    async with stun_server(server) as address, gathering("127.0.0.1") as ice:
        took_s = await seconds(ice.ask_stun([address]))
        assert len(ice.local_candidates) == 2
        assert took_s < NO_ANSWER_S
        assert len(set(server.requests)) == 1, "one transaction (RFC 8489 section 6.2.1)"
        assert len(server.requests[0]) >= 28, "room for an answer over IPv6 within twice its size"


async def test_servers_that_do_not_answer_cost_a_second_and_nothing_else() -> None:
    with silent(socket.SOCK_DGRAM) as port, silent(socket.SOCK_STREAM) as tcp_port:
        async with gathering("127.0.0.1") as ice:
            took_s = await seconds(
                asyncio.gather(
                    ice.ask_stun([StunServer("127.0.0.1", port), StunServer("no-such-host.invalid", 1)]),
                    ice.add_relay([RelayServer("127.0.0.1", port), RelayServer("127.0.0.1", 1, "tcp")]),
                )
            )
            assert took_s < NO_ANSWER_S + 1.5  # the machine may be busy
            assert [each.type for each in ice.local_candidates] == ["host"]
            assert ice.gathered.stun_answered == 0
            assert len(ice.gathered.relay_refusals) == 2
            assert ice.gathered.relay is None
            assert tcp_port


async def test_many_relays_that_do_not_answer_cost_no_more_than_one() -> None:
    with silent(socket.SOCK_DGRAM) as port:
        async with gathering("127.0.0.1") as ice:
            took_s = await seconds(ice.add_relay([RelayServer("127.0.0.1", port)] * 8))
            assert len(ice.gathered.relay_refusals) == 8
            assert NO_ANSWER_S - 0.1 < took_s < NO_ANSWER_S + 0.4


async def test_nothing_is_asked_from_an_address_that_cannot_reach_the_server() -> None:
    server = Server()
    async with stun_server(server) as address, gathering("::1", "127.0.0.1") as ice:
        await ice.ask_stun([address])
        assert len(server.requests) == 1


async def test_where_only_a_relay_may_be_used_no_address_of_this_machine_is_bound() -> None:
    server = Server()
    async with stun_server(server) as address, gathering(policy=TransportPolicy.RELAY) as ice:
        await ice.ask_stun([address])
        assert ice.local_candidates == []
        assert server.requests == []


async def test_an_answer_from_somebody_else_is_not_believed() -> None:
    async with stun_server(Server()) as server, gathering("127.0.0.1") as ice:
        (protocol,) = ice._protocols
        forged = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
        forged.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.66", 1)
        asking = asyncio.create_task(ice.ask_stun([server]))
        while not protocol.transactions:
            await asyncio.sleep(0)
        (transaction,) = protocol.transactions.values()
        transaction.response_received(forged, ("192.0.2.66", 3478))
        await asking
        assert [each.host for each in ice.local_candidates] == ["127.0.0.1", "192.0.2.9"]
