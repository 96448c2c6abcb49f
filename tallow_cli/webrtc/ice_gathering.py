"""Finding the addresses that a peer may reach this machine by: its own, what NATs make of them, and a relay's.

aioice asks one STUN and one TURN server, over IPv4 alone, waits five seconds for them, and is done with gathering
before it knows the peer. Here the addresses of this machine are bound in the order that the caller knows to be likely,
STUN servers are asked from each of them (RFC 8445 section 5.1.1.2), and a relay is added once it is known which, which
is after the peer came. A server that does not answer costs `NO_ANSWER_S`.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import aioice
from aioice import ice, stun, turn
from aioice.candidate import candidate_foundation, candidate_priority

from tallow_cli.link.description import RelayOffer, StunAnswer, Survey
from tallow_cli.webrtc.ice_server import RelayServer, StunServer, refusal, resolved, resolved_in_time
from tallow_cli.webrtc.ice_wall import WalledIceConnection, WalledStun
from tallow_cli.webrtc.nat_mapping import Mappings, is_plausible, is_possible
from tallow_cli.webrtc.relay_client import RelayClient, RelayOverTcp, RelayOverUdp
from tallow_cli.webrtc.relay_transport import RelayTransport
from tallow_cli.webrtc.stun_requests import Address, StunRequest
from tallow_cli.webrtc.udp_ports import bound_socket, connected_stream, explain_ports
from tallow_cli.wire.source_address import source_address
from tallow_cli.wire.udp_buffers import grow_buffers

NO_ANSWER_S: Final = 1.0
_RESOLVING: Final = 0.9  # of that time
# Once it has answered anything, a relay may take its time: TCP, TLS and two requests are six round trips.
RELAY_S: Final = 5.0
# Between the tries of the first request to a server: at 30 % loss each way seven of them leave 0.9 % unanswered.
ASK_AGAIN_S: Final = (0.1, 0.1, 0.15, 0.15, 0.2, 0.2, NO_ANSWER_S)
# Makes the request large enough that a server which never answers more than twice its size can answer over IPv6.
_SOFTWARE: Final = "tallow"
# How long a better kind of relay gets before the next kind is tried beside it (RFC 8305 has 0.25 between addresses).
_HEAD_START_S: Final = 0.25
_ALL_STARTED_S: Final = 0.5  # however many there are
_LOOPBACK: Final = ("127.0.0.1", "::1")  # what a machine without a network has
# Each is asked about by every server: where there are dozens, these are the likely ones.
_MOST_ASKED_FROM: Final = 8
_NO_ADDRESS: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # a client's, or not bound at all
# The second answer left together with the first, from the same machine or one beside it.
_SECOND_ANSWER_S: Final = 0.05
_MOST_LOCAL_PREFERENCE: Final = 65_535  # RFC 8445 section 5.1.2.1


@dataclass(slots=True)
class Gathered:
    """What came of it, for whoever has to say why there is no way."""

    stun_asked: int = 0  # servers
    stun_answered: int = 0
    mappings: Mappings = field(default_factory=Mappings)
    relays_asked: int = 0
    # The URL of each that gave no address, and why.
    relay_refusals: list[tuple[str, str]] = field(default_factory=list)
    relay: RelayServer | None = None  # the one in use

    @property
    def survey(self) -> Survey:
        stun: StunAnswer = "answered" if self.stun_answered else "silent" if self.stun_asked else "unasked"
        relay: RelayOffer = "ready" if self.relay else "failed" if self.relay_refusals else "none"
        return Survey(stun, self.mappings.kind, relay)


_AskStun = Callable[[ice.StunProtocol, tuple[str, int]], Awaitable[object]]


class GatheringIceConnection(WalledIceConnection):
    """`own_addresses` are bound in this order, the likeliest first; None: whatever this machine has.

    All leaves by the interface with the index `through`, also what goes to relays, from these addresses alone. `ports`
    are the UDP ports that may be bound, both ends included; None: any.
    """

    def __init__(
        self,
        ice_controlling: bool,
        *,
        transport_policy: aioice.TransportPolicy = aioice.TransportPolicy.ALL,
        own_addresses: Sequence[str] | None = None,
        through: int | None = None,
        ports: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(ice_controlling, transport_policy=transport_policy)
        self.gathered = Gathered()
        self._own_addresses = own_addresses
        self._through = through
        self._ports = ports

    async def gather_candidates(self) -> None:
        """Bind this machine's addresses, unless only a relay may be used. Raises BadOption; see `offer`."""
        if self._local_candidates_start:
            return
        self._local_candidates_start = True
        addresses = self._own_addresses
        if addresses is None:
            addresses = ice.get_host_addresses(self._use_ipv4, self._use_ipv6)
        await self.offer(addresses or _LOOPBACK)
        self._local_candidates_end = True

    async def offer(self, addresses: Sequence[str]) -> None:
        """Bind those of our addresses that are not bound yet, and prefer them in this order. What was bound before
        stays, behind them; but loopback, which is for a machine that has nothing else. Nothing, if only a relay may be
        used.

        Raises BadOption where none of the ports that may be bound is free on any of them.
        """
        if self._transport_policy != aioice.TransportPolicy.ALL or not addresses:
            return
        before = {p.local_candidate.host: p for p in self._protocols if p.local_candidate.type == "host"}
        problems: list[OSError] = []
        for order, address in enumerate(dict.fromkeys((*addresses, *before))):
            preference = _MOST_LOCAL_PREFERENCE - order
            known = before.get(address)
            if known is None:
                try:
                    protocol = await self._bound(address, preference)
                except OSError as error:
                    problems.append(error)
                else:
                    self._add(protocol.local_candidate, protocol)
            elif _is_loopback(address) and address not in addresses:
                await self._take_back(known)
            else:
                known.local_candidate.priority = candidate_priority(1, "host", preference)
        if self._ports is not None and not any(p.local_candidate.type == "host" for p in self._protocols):
            explain_ports(self._ports, problems)

    async def _bound(self, address: str, preference: int) -> WalledStun:
        """A socket on this address of ours. Raises OSError."""
        loop = asyncio.get_running_loop()
        sock = bound_socket(address, self._ports, self._through)
        _, protocol = await loop.create_datagram_endpoint(lambda: WalledStun(self), sock=sock)
        # The system's default is less than one window of aiortc's: its own bursts overflow that.
        grow_buffers(sock)
        host, port = sock.getsockname()[:2]
        protocol.base = host
        protocol.local_candidate = _candidate("host", host, port, host, preference)
        return protocol

    async def _take_back(self, protocol: ice.StunProtocol) -> None:
        self._protocols.remove(protocol)
        self._local_candidates.remove(protocol.local_candidate)
        await protocol.close()

    # What NATs make of our addresses

    async def ask_stun(self, servers: Sequence[StunServer], others: Sequence[StunServer] = ()) -> None:
        """Add a server reflexive candidate for each of our addresses that a NAT translates. Never raises.

        `others` are further ports and addresses that answer. They show whether a NAT gives every destination another
        port, which is only for saying why there is no way: they are hardly waited for.
        """
        hosts = [p for p in self._protocols if p.local_candidate.type == "host"]
        hosts = sorted(hosts, key=lambda p: -p.local_candidate.priority)[:_MOST_ASKED_FROM]
        if not hosts or not servers:
            return
        self.gathered.stun_asked += len(servers)
        probing = asyncio.ensure_future(_all(self._ask_one(server, hosts, self._probe) for server in others))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(NO_ANSWER_S):
                    await _all(self._ask_one(server, hosts, self._ask) for server in servers)
            if self.gathered.stun_answered:
                await asyncio.wait([probing], timeout=_SECOND_ANSWER_S)
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    async def _ask_one(self, server: StunServer, hosts: Sequence[ice.StunProtocol], ask: _AskStun) -> None:
        answers = 0

        async def count(protocol: ice.StunProtocol, address: tuple[str, int]) -> None:
            nonlocal answers
            await ask(protocol, address)
            answers += 1
            if answers == 1 and ask == self._ask:
                self.gathered.stun_answered += 1

        await _all(
            count(protocol, address)
            for address in await resolved(server.host, server.port)
            for protocol in hosts
            if _may_reach(protocol.local_candidate.host, address[0])
        )

    async def _ask(self, protocol: ice.StunProtocol, server: tuple[str, int]) -> None:
        self._add_reflexive(protocol, await self._probe(protocol, server))

    async def _probe(self, protocol: ice.StunProtocol, server: tuple[str, int]) -> tuple[str, int]:
        mapped = await _mapped(protocol, server)
        base = protocol.local_candidate
        self.gathered.mappings.seen((base.host, base.port), server, mapped)
        return mapped

    def _add_reflexive(self, protocol: ice.StunProtocol, mapped: tuple[str, int]) -> None:
        base = protocol.local_candidate
        known = {(each.host, each.port) for each in self._local_candidates}
        if mapped not in known:  # RFC 8445 section 5.1.3: where no NAT is, it is the host candidate again
            self._local_candidates.append(
                _candidate(
                    "srflx", *mapped, base.host, local_preference(base), related=(base.host, base.port)
                )
            )

    # A relay

    async def add_relay(self, relays: Sequence[RelayServer]) -> None:
        """Add a relayed candidate from the first of `relays` that gives one; they are the preferred first, and each
        gets a head start before the next is tried beside it. Where none answers, that costs `NO_ANSWER_S`, however many
        they are. Never raises.
        """
        self.gathered.relays_asked += len(relays)
        head_start_s = min(_HEAD_START_S, _ALL_STARTED_S / max(1, len(relays) - 1))
        tasks = {
            asyncio.create_task(self._relayed(relay, order * head_start_s)): relay
            for order, relay in enumerate(relays)
        }
        try:
            pending = set(tasks)
            while pending and self.gathered.relay is None:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._take(task, tasks[task])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, task: asyncio.Task[WalledStun], relay: RelayServer) -> None:
        error = task.exception()
        if error is not None:
            self.gathered.relay_refusals.append((relay.url, refusal(error)))
            return
        protocol = task.result()
        if self.gathered.relay is not None:
            protocol.transport.close()  # two at once: one is enough
            return
        self.gathered.relay = relay
        self._add(protocol.local_candidate, protocol)

    async def _relayed(self, relay: RelayServer, delay_s: float) -> WalledStun:
        """Raises OSError, stun.TransactionError, TimeoutError."""
        await asyncio.sleep(delay_s)
        protocol = WalledStun(self)
        transport = await self._allocate(relay, protocol, NO_ANSWER_S - delay_s)
        host, port = transport.get_extra_info("sockname")
        related = transport.get_extra_info("related_address")
        if self._transport_policy == aioice.TransportPolicy.RELAY:
            # RFC 9429 section 3.5.3: an address that may not be used is not shown either.
            related = (_NO_ADDRESS[ipaddress.ip_address(host).version], 9)
        protocol.local_candidate = _candidate(
            "relay", host, port, host, _MOST_LOCAL_PREFERENCE, related=related
        )
        return protocol

    async def _allocate(self, relay: RelayServer, protocol: WalledStun, no_answer_s: float) -> RelayTransport:
        """Raises OSError, stun.TransactionError, TimeoutError."""
        give_up = asyncio.timeout(no_answer_s)
        async with give_up:
            address = self._reachable(
                await resolved_in_time(relay.host, relay.port, _RESOLVING * no_answer_s)
            )
            client = await self._reached(relay, address, give_up)
            protocol.base = (client.transport.get_extra_info("sockname") or ("",))[0]
            if protocol.base in _NO_ADDRESS.values():
                protocol.base = source_address(address) or protocol.base
            transport = RelayTransport(client, protocol)
            try:
                await transport.connect()
                if not is_possible(transport.get_extra_info("sockname")):
                    raise ConnectionError("the address that it gave cannot be one")
            except BaseException:
                client.transport.close()  # also when gathering was given up in the middle
                raise
        return transport

    async def _reached(
        self, relay: RelayServer, address: tuple[str, int], give_up: asyncio.Timeout
    ) -> RelayClient:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {
            "username": relay.username,
            "password": relay.credential,
            "lifetime": turn.DEFAULT_ALLOCATION_LIFETIME,
            "channel_refresh_time": turn.DEFAULT_CHANNEL_REFRESH_TIME,
        }
        if relay.transport == "tcp":
            stream = await connected_stream(self._source(address), address, self._through)
            _say_it_answered(give_up)
            _, over_tcp = await loop.create_connection(
                lambda: RelayOverTcp(address, **options),
                sock=stream,
                ssl=ssl.create_default_context() if relay.secure else None,
                server_hostname=relay.host if relay.secure else None,
            )
            return over_tcp
        over_udp = RelayOverUdp(address, lambda: _say_it_answered(give_up), **options)
        over_udp.open(self._socket_towards(address))
        return over_udp

    def _socket_towards(self, relay: tuple[str, int]) -> socket.socket:
        """A UDP socket to speak to this relay from. Raises OSError."""
        source = self._source(relay)
        try:
            return bound_socket(source, self._ports, self._through)
        except OSError:
            # This is a client's socket, which needs no hole in a firewall: better from elsewhere than not at all.
            return bound_socket(source, None, self._through)

    def _reachable(self, addresses: Sequence[tuple[str, int]]) -> tuple[str, int]:
        """The first that something of ours leads to: a name may have addresses of a kind that this machine lacks."""
        for each in addresses:
            if source_address(each) is not None:
                with suppress(OSError):
                    self._source(each)
                    return each
        return addresses[0]

    def _source(self, relay: tuple[str, int]) -> str:
        """The address of ours that speaks to it. Raises OSError."""
        if self._through is None or self._own_addresses is None:
            return _NO_ADDRESS[6 if ":" in relay[0] else 4]
        source = next((each for each in self._own_addresses if _may_reach(each, relay[0])), None)
        if source is None:
            raise OSError(errno.EADDRNOTAVAIL, "no address of the chosen interface can reach it")
        return source

    def _add(self, candidate: aioice.Candidate, protocol: ice.StunProtocol) -> None:
        self._protocols.append(protocol)
        self._local_candidates.append(candidate)


async def _mapped(protocol: ice.StunProtocol, server: tuple[str, int]) -> tuple[str, int]:
    """Where the server sees this socket of ours. Raises stun.TransactionError."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["SOFTWARE"] = _SOFTWARE

    def accepts(message: stun.Message, address: Address) -> bool:
        is_answer = message.message_class == stun.Class.RESPONSE and address[:2] == server
        return is_answer and is_plausible(message.attributes.get("XOR-MAPPED-ADDRESS"), server)

    waiting = StunRequest(lambda: protocol.send_stun(request, server), accepts)
    protocol.transactions[request.transaction_id] = cast(stun.Transaction, waiting)
    try:
        answer, _ = await waiting.answered(iter(ASK_AGAIN_S))
    finally:
        del protocol.transactions[request.transaction_id]
    mapped: tuple[str, int] = answer.attributes["XOR-MAPPED-ADDRESS"]
    return mapped


def local_preference(candidate: aioice.Candidate) -> int:
    """The part of its priority that sets it apart from others of its kind (RFC 8445 section 5.1.2.1)."""
    return candidate.priority >> 8 & _MOST_LOCAL_PREFERENCE


def _candidate(
    kind: Literal["host", "srflx", "relay"],
    host: str,
    port: int,
    base: str,
    local_preference: int,
    *,
    related: tuple[str, int] | None = None,
) -> aioice.Candidate:
    return aioice.Candidate(
        foundation=candidate_foundation(kind, "udp", base),
        component=1,
        transport="udp",
        priority=candidate_priority(1, kind, local_preference),
        host=host,
        port=port,
        type=kind,
        related_address=None if related is None else related[0],
        related_port=None if related is None else related[1],
    )


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _may_reach(ours: str, theirs: str) -> bool:
    """Whether a datagram from our address could come to theirs."""
    own, server = ipaddress.ip_address(ours.partition("%")[0]), ipaddress.ip_address(theirs)
    return own.version == server.version and own.is_loopback <= server.is_loopback


async def _all(steps: Sequence[Awaitable[None]] | Any) -> None:
    """All of them, whatever becomes of one: a server that cannot be reached is one that does not answer."""
    tasks = [asyncio.ensure_future(each) for each in steps]
    try:
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()


def _say_it_answered(give_up: asyncio.Timeout) -> None:
    if not give_up.expired():
        give_up.reschedule(asyncio.get_running_loop().time() + RELAY_S)
