"""Who is heard and who is answered, on a connection whose sockets are open and whose peer is not known yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import Candidate, stun
from aioice.ice import CandidatePair

from tallow_cli.webrtc.ice_wall import (
    MAX_CHECKED,
    MAX_EARLY_BYTES,
    MAX_QUEUED_BYTES,
    DatagramQueue,
    WalledIceConnection,
    WalledStun,
)

PEER = ("192.0.2.7", 4000)
RECORD = b"\x16\xfe\xfd" + bytes(8) + b"\0\x0a" + bytes(10)


class Sent:
    """A datagram transport that keeps what it is given."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Any]] = []

    def sendto(self, data: bytes, addr: Any) -> None:
        self.datagrams.append((data, addr))


def candidate(port: int, kind: str = "host") -> Candidate:
    return Candidate("f", 1, "udp", 1, "192.0.2.7", port, kind)


@pytest.fixture
async def connection() -> AsyncIterator[WalledIceConnection]:
    return WalledIceConnection(ice_controlling=True)


@pytest.fixture
async def protocol(connection: WalledIceConnection) -> WalledStun:
    protocol = WalledStun(connection)
    protocol.transport = Sent()  # type: ignore[assignment]
    protocol.local_candidate = Candidate("f", 1, "udp", 1, "192.0.2.1", 9, "host")
    return protocol


def check(connection: WalledIceConnection, **attributes: Any) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes.update(
        {"USERNAME": f"{connection.local_username}:peer", "PRIORITY": 1, "ICE-CONTROLLED": 1} | attributes
    )
    message.attributes = {name: value for name, value in message.attributes.items() if value is not ...}
    message.add_message_integrity(connection.local_password.encode())
    return bytes(message)


def answers(protocol: WalledStun) -> list[tuple[bytes, Any]]:
    return protocol.transport.datagrams  # type: ignore[attr-defined,no-any-return]


async def test_a_check_with_the_right_password_is_answered_and_opens_its_address(
    connection: WalledIceConnection, protocol: WalledStun
) -> None:
    assert not protocol.admits(PEER)
    protocol.datagram_received(check(connection), PEER)
    ((answer, to),) = answers(protocol)
    assert (stun.parse_message(answer).message_class, to) == (stun.Class.RESPONSE, PEER)
    assert protocol.admits(PEER)
    assert protocol.admits((*PEER, 0, 0))  # as IPv6 addresses come
    assert not protocol.admits((PEER[0], PEER[1] + 1))
    assert not WalledStun(connection).admits(PEER)


@pytest.mark.parametrize(
    "attributes",
    [
        {"USERNAME": "other:peer"},
        {"USERNAME": "nobody"},
        {"USERNAME": ...},
        {"PRIORITY": ...},
        {"ICE-CONTROLLING": 1},
    ],
)
async def test_any_other_check_gets_no_answer(
    connection: WalledIceConnection, protocol: WalledStun, attributes: dict[str, Any]
) -> None:
    protocol.datagram_received(check(connection, **attributes), PEER)
    bare = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    protocol.datagram_received(bytes(bare), PEER)
    bare.add_message_integrity(b"guessed")
    protocol.datagram_received(bytes(bare), PEER)
    assert (answers(protocol), protocol.admits(PEER), connection.dropped) == ([], False, 3)


async def test_a_pair_whose_check_succeeded_is_heard(
    connection: WalledIceConnection, protocol: WalledStun
) -> None:
    pair = CandidatePair(protocol, candidate(4000))
    pair.remote_candidate._network_host = PEER[0]
    connection.check_state(pair, CandidatePair.State.IN_PROGRESS)
    assert not protocol.admits(PEER)
    connection.check_state(pair, CandidatePair.State.SUCCEEDED)
    assert protocol.admits(PEER)


async def test_data_of_strangers_and_data_that_is_no_dtls_are_dropped(
    connection: WalledIceConnection, protocol: WalledStun
) -> None:
    protocol.datagram_received(RECORD, PEER)
    connection._remember(protocol, PEER)
    for junk in (b"", RECORD[:-1], b"\x80" + bytes(40), b"\x40\0\0\0"):
        protocol.datagram_received(junk, PEER)
    assert (connection._queue.qsize(), connection.dropped) == (0, 5)
    protocol.datagram_received(RECORD, PEER)
    assert connection._queue.get_nowait() == (RECORD, 1)


async def test_little_is_kept_before_a_pair_is_chosen_and_a_bounded_amount_after(
    connection: WalledIceConnection, protocol: WalledStun
) -> None:
    connection._remember(protocol, PEER)
    for _ in range(2 * MAX_EARLY_BYTES // len(RECORD)):
        protocol.datagram_received(RECORD, PEER)
    queue = connection._queue
    assert isinstance(queue, DatagramQueue)
    assert MAX_EARLY_BYTES - len(RECORD) < queue.size_bytes <= MAX_EARLY_BYTES
    connection._nominated[1] = CandidatePair(protocol, candidate(4000))
    for _ in range(2 * MAX_QUEUED_BYTES // len(RECORD)):
        protocol.datagram_received(RECORD, PEER)
    assert MAX_QUEUED_BYTES - len(RECORD) < queue.size_bytes <= MAX_QUEUED_BYTES
    queue.put_nowait(None)
    assert await connection.recv() == RECORD
    assert queue.size_bytes <= MAX_QUEUED_BYTES - len(RECORD)


async def test_a_refused_check_and_stun_that_cannot_be_parsed_reach_nobody(
    connection: WalledIceConnection, protocol: WalledStun
) -> None:
    refusal = stun.Message(stun.Method.BINDING, stun.Class.ERROR)
    refusal.attributes["ERROR-CODE"] = (487, "Role Conflict")
    heard: list[object] = []
    protocol.transactions[refusal.transaction_id] = type(
        "Transaction", (), {"response_received": lambda self, *given: heard.append(given)}
    )()
    refusal.add_message_integrity(b"k")
    protocol.datagram_received(bytes(refusal), PEER)
    protocol.datagram_received(bytes(refusal)[:-2], PEER)
    unknown_method = b"\x00\x0f" + bytes(refusal)[2:]
    protocol.datagram_received(unknown_method, PEER)
    assert (heard, connection.dropped) == ([], 3)


async def test_pairs_and_checked_addresses_are_counted(
    connection: WalledIceConnection, protocol: WalledStun
) -> None:
    connection._protocols.append(protocol)
    for port in range(1, 300):
        connection._remember(protocol, ("192.0.2.9", port))
    assert len(connection._checked) == MAX_CHECKED
