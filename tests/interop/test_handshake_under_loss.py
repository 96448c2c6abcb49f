"""DTLS and SCTP handshakes over a path that loses some of it: turbo with stock aiortc, and two turbo sides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import pytest

from tallow_cli.webrtc.dtls_batch import BatchDtlsTransport
from tallow_cli.webrtc.turbo_sctp import TurboSctpTransport
from tests.support.ortc import Inbox, Peer, connected

INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK = 1, 2, 10, 11
PAIRS = [("turbo", "turbo"), ("turbo", "stock"), ("stock", "turbo")]

pytestmark = pytest.mark.interop
Loses = Callable[[bytes], bool]


def first_of(kind: int) -> Loses:
    """Loses the first packet that carries such a chunk."""
    seen = False

    def loses(packet: bytes) -> bool:
        nonlocal seen
        is_first, seen = packet[12] == kind and not seen, seen or packet[12] == kind
        return is_first

    return loses


def all_before(end: float) -> Loses:
    return lambda packet: monotonic() < end


def lose(peer: Peer, outgoing: Loses, incoming: Loses) -> None:
    """Lose packets that a turbo side sends, and that it receives."""
    if not isinstance(peer.sctp, TurboSctpTransport) or not isinstance(peer.dtls, BatchDtlsTransport):
        return
    send, receive = peer.dtls.send_batch, peer.sctp.receive_packets

    def send_batch(packets: Sequence[bytes]) -> None:
        if kept := [packet for packet in packets if not outgoing(packet)]:
            send(kept)

    def receive_packets(packets: list[bytes]) -> None:
        receive([packet for packet in packets if not incoming(packet)])

    peer.dtls.send_batch = send_batch  # type: ignore[method-assign]
    peer.sctp.receive_packets = receive_packets  # type: ignore[method-assign]


async def _opens_and_carries(host: str, joiner: str, make_loss: Callable[[], Loses]) -> None:
    inboxes: list[Inbox] = []

    def prepare(a: Peer, b: Peer) -> None:
        for peer in (a, b):
            lose(peer, make_loss(), make_loss())
        channels = [peer.open(id=1) for peer in (a, b)]
        inboxes.extend(Inbox(channel) for channel in channels)

    async with asyncio.timeout(12), connected(host, joiner, prepare=prepare) as peers:
        for peer, inbox in zip(peers, reversed(inboxes), strict=True):
            peer.channels[0].send(b"hello")
            assert await inbox.until(1) == [b"hello"]


@pytest.mark.parametrize(("host", "joiner"), PAIRS)
@pytest.mark.parametrize("kind", [INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK])
async def test_one_lost_packet_of_each_kind_in_each_direction_delays_the_opening_only(
    kind: int, host: str, joiner: str
) -> None:
    await _opens_and_carries(host, joiner, lambda: first_of(kind))


@pytest.mark.parametrize(("host", "joiner"), PAIRS[:2])
async def test_a_path_that_carries_nothing_for_six_seconds_after_dtls_still_opens(
    host: str, joiner: str
) -> None:
    # RFC 9260 section 5.1: an INIT is repeated eight times, each wait twice the last; stock aiortc goes on for 27 s.
    end = monotonic() + 6
    await _opens_and_carries(host, joiner, lambda: all_before(end))


async def test_a_repeated_init_still_carries_the_verification_tag_zero() -> None:
    """RFC 9260 section 8.5.1: else the peer drops it. aiortc sends the tag that the peer's own INIT told it."""
    tags: list[bytes] = []

    def lose_answers(packet: bytes) -> bool:
        return packet[12] == INIT_ACK and len(tags) < 2

    def note_inits(packet: bytes) -> bool:
        if packet[12] == INIT:
            tags.append(packet[4:8])
        return packet[12] == INIT_ACK and len(tags) < 2

    def prepare(a: Peer, b: Peer) -> None:
        lose(a, note_inits, lose_answers)

    async with asyncio.timeout(15), connected("turbo", "stock", prepare=prepare):
        assert tags
        assert set(tags) == {bytes(4)}


@pytest.mark.parametrize(("host", "joiner"), [("turbo", "turbo"), ("walled", "walled")])
async def test_dtls_flights_that_are_lost_four_times_cost_less_than_openssls_timers(
    host: str, joiner: str
) -> None:
    """Those are 1, 2, 4 and 8 s."""

    def prepare(a: Peer, b: Peer) -> None:
        for peer in (a, b):
            peer.ice._send = _losing(peer.ice._send, 4)  # type: ignore[method-assign]

    async with asyncio.timeout(4), connected(host, joiner, prepare=prepare) as peers:
        assert [peer.dtls.state for peer in peers] == ["connected", "connected"]


@pytest.mark.parametrize(("host", "joiner"), [("turbo", "turbo"), ("walled", "walled")])
async def test_the_last_flight_is_repeated_though_nobody_asks(host: str, joiner: str) -> None:
    lost = 0

    def prepare(a: Peer, b: Peer) -> None:
        send = a.ice._send

        async def losing_what_ends_the_handshake(datagram: bytes) -> None:
            nonlocal lost
            if datagram[0] == _CHANGE_CIPHER_SPEC and lost < 2:
                lost += 1
            else:
                await send(datagram)

        a.ice._send = losing_what_ends_the_handshake  # type: ignore[method-assign]

    async with asyncio.timeout(4), connected(host, joiner, prepare=prepare):
        assert lost == 2


_CHANGE_CIPHER_SPEC = 20


def _losing(send: Callable[[bytes], Awaitable[None]], count: int) -> Callable[[bytes], Awaitable[None]]:
    left = count

    async def losing(datagram: bytes) -> None:
        nonlocal left
        if left and 20 <= datagram[0] < 64:
            left -= 1
            return
        await send(datagram)

    return losing
