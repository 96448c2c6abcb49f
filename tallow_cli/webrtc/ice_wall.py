"""ICE that listens to nobody it has not checked: aioice's connection behind a filter of sources.

The sockets are open from the moment the addresses are gathered, for as long as a sender waits, and anybody can find
them. So: what is not sound STUN or DTLS is dropped; a check without this connection's user name and password gets no
answer, which leaves a scan of ports nothing to see; data is taken only from where an authenticated check came from or
was answered. All of it for both engines, and for relayed paths as well.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import aioice
from aioice import ice, stun

from tallow_cli.webrtc.stun_requests import Address
from tallow_cli.wire.datagram_checks import STUN_LAST_FIRST_BYTE, dtls_is_sound, stun_is_sound

# The peer lists 32 at most, and a NAT in between may show a few more.
MAX_REMOTE_CANDIDATES: Final = 64
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
    base = ""  # the address of this machine that it begins at, which of a relay's is not the candidate's

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
