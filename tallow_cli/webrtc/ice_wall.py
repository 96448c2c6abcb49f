"""ICE that listens to nobody it has not checked: aioice's connection behind a filter of sources.

The sockets are open from the moment the addresses are gathered, for as long as a sender waits, and anybody can find
them. So: what is not sound STUN or DTLS is dropped; a check without this connection's user name and password gets no
answer, which leaves a scan of ports nothing to see; data is taken only from where an authenticated check came from or
was answered. All of it for both engines, and for relayed paths as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, Final, cast

import aioice
from aioice import ice, stun, turn
from aioice.candidate import candidate_foundation, candidate_priority

from tallow_cli.wire.datagram_checks import STUN_LAST_FIRST_BYTE, dtls_is_sound, stun_is_sound

Address = tuple[Any, ...]

# The peer lists 32 at most, and a NAT in between may show a few more.
MAX_REMOTE_CANDIDATES: Final = 64
# RFC 8445 section 6.1.2.5: a peer that lists addresses of its choice has us send no more than this.
MAX_PAIRS: Final = 100
# A (socket, address) each; the pairs that succeed and those the peer checks from its side.
MAX_CHECKED: Final = 256
# A peer that is a moment ahead may begin the DTLS handshake before this side has settled on a pair. A ClientHello has
# 200 bytes, repeated after a second; a flight with a certificate is not due yet.
MAX_EARLY_BYTES: Final = 8 * 1024
# What may wait for aiortc's DTLS, which reads datagram by datagram: four windows of its SCTP.
MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024
# A refused check is one that is not answered. An honest peer refuses none that is ours; another could keep aioice
# repeating a check with roles changed (487), each time one call deeper.
_BINDING_ERROR: Final = b"\x01\x11"
# A message of a TURN server carries a datagram of up to 65,535 bytes.
_MAX_TURN_BYTES: Final = 65_535 + 256
_NO_ADDRESS: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # nothing is bound to it
# aioice copies its whole buffer for each message in it.
_TURN_GULP_BYTES: Final = 4096


class DatagramQueue(asyncio.Queue[tuple[bytes, int] | None]):
    """aioice's queue of received datagrams, None for the end of the connection, that knows how much it holds."""

    size_bytes = 0

    def _put(self, item: tuple[bytes, int] | None) -> None:
        super()._put(item)
        if item is not None:
            self.size_bytes += len(item[0])

    def _get(self) -> tuple[bytes, int] | None:
        item = super()._get()
        if item is not None:
            self.size_bytes -= len(item[0])
        return item


class WalledStun(ice.StunProtocol):
    """aioice's protocol of one socket or relay, which parses whatever it gets, behind the checks."""

    receiver: WalledIceConnection

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        datagram = cast(bytes, data)
        if not datagram or datagram[0] > STUN_LAST_FIRST_BYTE:
            self.receiver.datagram_received_untrusted(datagram, addr, self)
        elif stun_is_sound(datagram) and not datagram.startswith(_BINDING_ERROR):
            super().datagram_received(datagram, addr)
        else:
            self.receiver.dropped += 1

    def admits(self, addr: Address) -> bool:
        """Whether data from there is the peer's: for whoever reads the socket in this protocol's place."""
        return self.receiver.is_checked(self, addr)


class _TurnOverUdp(turn.TurnClientUdpProtocol):
    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        datagram = cast(bytes, data)
        if datagram and (turn.is_channel_data(datagram) or stun_is_sound(datagram, _MAX_TURN_BYTES)):
            super().datagram_received(datagram, addr)


class _TurnOverTcp(turn.TurnClientTcpProtocol):
    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _TURN_GULP_BYTES):
            super().data_received(data[start : start + _TURN_GULP_BYTES])

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        datagram = cast(bytes, data)
        if datagram and (turn.is_channel_data(datagram) or stun_is_sound(datagram, _MAX_TURN_BYTES)):
            super().datagram_received(datagram, addr)


class WalledIceConnection(aioice.Connection):
    """`dropped`: datagrams that were not let through."""

    def __init__(self, ice_controlling: bool, **options: Any) -> None:
        super().__init__(ice_controlling, **options)
        self.dropped = 0
        self._queue = DatagramQueue()
        self._checked: set[tuple[int, str, int]] = set()

    # Who is heard

    def is_checked(self, protocol: ice.StunProtocol, addr: Address) -> bool:
        return (protocol.id, addr[0], addr[1]) in self._checked

    def _remember(self, protocol: ice.StunProtocol, addr: Address) -> None:
        if len(self._checked) < MAX_CHECKED:
            self._checked.add((protocol.id, addr[0], addr[1]))

    def check_state(self, pair: ice.CandidatePair, state: ice.CandidatePair.State) -> None:
        super().check_state(pair, state)
        if state == ice.CandidatePair.State.SUCCEEDED:
            self._remember(pair.protocol, pair.remote_addr)

    def datagram_received_untrusted(self, data: bytes, addr: Address, protocol: ice.StunProtocol) -> None:
        """A datagram that is not STUN, from anybody."""
        if self.is_checked(protocol, addr):
            self.enqueue_untrusted(data)
        else:
            self.dropped += 1

    def enqueue_untrusted(self, data: bytes) -> None:
        """Queue what came from a checked address, if it is DTLS and there is room: as a network, drop it if not."""
        most = MAX_QUEUED_BYTES if self._nominated else MAX_EARLY_BYTES
        queue = cast(DatagramQueue, self._queue)
        if queue.size_bytes + len(data) <= most and dtls_is_sound(data):
            queue.put_nowait((data, 1))
        else:
            self.dropped += 1

    def data_received(self, data: bytes, component: int) -> None:
        """What aioice took for STUN and could not parse."""
        self.dropped += 1

    # Who is answered

    def request_received(
        self, message: stun.Message, addr: tuple[str, int], protocol: ice.StunProtocol
    ) -> None:
        if not self._is_authentic(message) or not self._has_room_for(addr):
            self.dropped += 1
            return
        # docs/spec/description.md fixes the roles, so no two are equal: there is nothing to negotiate (RFC 8445 section
        # 7.3.1.1), and no switching to and fro for a peer that wants it.
        if ("ICE-CONTROLLING" if self.ice_controlling else "ICE-CONTROLLED") in message.attributes:
            self.dropped += 1
            return
        self._remember(protocol, addr)
        super().request_received(message, addr, protocol)

    def _is_authentic(self, message: stun.Message) -> bool:
        given = message.attributes
        return (
            message.message_method == stun.Method.BINDING
            and {"USERNAME", "MESSAGE-INTEGRITY", "PRIORITY"} <= given.keys()
            and self._valid_username(given["USERNAME"])
            and message.check_message_integrity(self.local_password.encode())
        )

    def _has_room_for(self, addr: tuple[str, int]) -> bool:
        """Each new source is a candidate that aioice keeps, and checks in its turn."""
        return len(self._remote_candidates) < MAX_REMOTE_CANDIDATES or any(
            (known._network_host, known.port) == addr for known in self._remote_candidates
        )

    def _pair_remote_candidate(self, remote_candidate: aioice.Candidate) -> None:
        if len(self._check_list) < MAX_PAIRS:
            super()._pair_remote_candidate(remote_candidate)

    # Gathering: aioice's, with the protocols above in place of its own

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = 5
    ) -> list[aioice.Candidate]:
        gathered = [await self._bind(address, component) for address in addresses]
        hosts = [protocol for protocol in gathered if protocol is not None]
        self._protocols += hosts
        candidates = [protocol.local_candidate for protocol in hosts]
        tasks: list[asyncio.Task[tuple[aioice.Candidate, ice.StunProtocol | None]]] = []
        if self.stun_server is not None:
            tasks += [
                asyncio.create_task(ice.server_reflexive_candidate(protocol, self.stun_server))
                for protocol in hosts
                if ipaddress.ip_address(protocol.local_candidate.host).version == 4
            ]
        if self.turn_server is not None:
            tasks.append(asyncio.create_task(self._relayed(component)))
        if tasks:
            done, pending = await asyncio.wait(tasks, timeout=timeout)
            for task in pending:
                task.cancel()
            for task in done:
                if task.exception() is None:
                    candidate, relay = task.result()
                    candidates.append(candidate)
                    if relay is not None:
                        self._protocols.append(relay)
        return candidates

    async def _bind(self, address: str, component: int) -> WalledStun | None:
        """A socket on this address of ours, or None if it cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_datagram_endpoint(
                lambda: WalledStun(self), local_addr=(address, 0)
            )
        except OSError:
            return None
        host, port = protocol.transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = aioice.Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=host,
            port=port,
            type="host",
        )
        return protocol

    async def _relayed(self, component: int) -> tuple[aioice.Candidate, ice.StunProtocol]:
        """aioice's `relayed_candidate`, over a client whose input is checked."""
        protocol = WalledStun(self)
        transport = await self._allocate(protocol)
        host, port = transport.get_extra_info("sockname")
        related_host, related_port = transport.get_extra_info("related_address")
        if self._transport_policy == aioice.TransportPolicy.RELAY:
            # RFC 9429 section 3.5.3: an address that may not be used is not shown either.
            related_host, related_port = _NO_ADDRESS[ipaddress.ip_address(host).version], 9
        protocol.local_candidate = aioice.Candidate(
            foundation=candidate_foundation("relay", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "relay"),
            host=host,
            port=port,
            type="relay",
            related_address=related_host,
            related_port=related_port,
        )
        return protocol.local_candidate, protocol

    async def _allocate(self, protocol: WalledStun) -> turn.TurnTransport:
        """aioice's `create_turn_endpoint`."""
        server = cast(tuple[str, int], self.turn_server)
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {
            "username": self.turn_username,
            "password": self.turn_password,
            "lifetime": turn.DEFAULT_ALLOCATION_LIFETIME,
            "channel_refresh_time": turn.DEFAULT_CHANNEL_REFRESH_TIME,
        }
        connection: asyncio.BaseTransport
        inner: turn.TurnClientProtocol
        if self.turn_transport == "tcp":
            connection, inner = await loop.create_connection(
                lambda: _TurnOverTcp(server, **options), server[0], server[1], ssl=self.turn_ssl or None
            )
        else:
            connection, inner = await loop.create_datagram_endpoint(
                lambda: _TurnOverUdp(server, **options), remote_addr=server
            )
            sock = connection.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, turn.UDP_SOCKET_BUFFER_SIZE)
        try:
            transport = turn.TurnTransport(inner)
            await transport._connect(protocol)
        except BaseException:
            connection.close()  # also when gathering was given up in the middle
            raise
        return transport
