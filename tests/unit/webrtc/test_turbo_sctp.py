"""The turbo transport against aiortc's own, which is the oracle, and against itself."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from aiortc import RTCDataChannel

from tallow_cli.dataplane.chunk_checks import ABORT
from tallow_cli.errors import Loss
from tallow_cli.webrtc.aiortc_internals import ice_loss
from tallow_cli.webrtc.dtls_batch import BatchDtlsTransport
from tallow_cli.webrtc.turbo_sctp import TurboSctpTransport, run_now
from tallow_cli.wire.udp_batch import BatchSocket
from tests.support.ortc import TIMEOUT_S, Inbox, LossyDtls, Peer, connected

PAIRS = [("turbo", "stock"), ("stock", "turbo"), ("turbo", "turbo"), ("plain", "turbo"), ("walled", "walled")]
KINDS: list[dict[str, Any]] = [
    {},
    {"ordered": False},
    {"ordered": False, "maxRetransmits": 0},
    {"ordered": True, "maxRetransmits": 3},
    {"ordered": False, "maxPacketLifeTime": 5000},
]


def payloads(sizes: tuple[int, ...], seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(size) for size in sizes]


async def until_state(channel: RTCDataChannel, state: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while channel.readyState != state:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("host", "joiner"), PAIRS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_messages_of_all_sizes_arrive_whole_both_ways(
    host: str, joiner: str, kind: dict[str, Any]
) -> None:
    sent = payloads((1, 2, 3, 4, 1000, 1159, 1160, 1161, 1404, 1405, 10_000, 65_536, 262_144))
    inboxes: list[tuple[RTCDataChannel, Inbox]] = []

    def prepare(a: Peer, b: Peer) -> None:
        first, second = a.open(id=1, **kind), b.open(id=1, **kind)
        inboxes.extend([(first, Inbox(second)), (second, Inbox(first))])

    async with connected(host, joiner, prepare=prepare):
        for channel, inbox in inboxes:
            for message in sent:
                channel.send(message)
            got = await inbox.until(len(sent))
            if kind.get("ordered", True):
                assert got == sent
            else:
                assert sorted(got, key=len) == sent


@pytest.mark.parametrize(("host", "joiner"), PAIRS)
async def test_channels_are_opened_in_band_with_text_and_empty_messages(host: str, joiner: str) -> None:
    async with connected(host, joiner) as (a, b):
        for opener, other in ((a, b), (b, a)):
            arrived: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
            other.sctp.once("datachannel", arrived.set_result)
            mine = opener.open(label="name", protocol="proto", ordered=False, maxRetransmits=7)
            async with asyncio.timeout(TIMEOUT_S):
                theirs = await arrived
            assert (theirs.label, theirs.protocol, theirs.ordered, theirs.maxRetransmits) == (
                "name",
                "proto",
                False,
                7,
            )
            await until_state(mine, "open")
            inbox = Inbox(theirs)
            for message in ("", b"", "grüße", b"\x00"):
                mine.send(message)
            assert sorted(map(str, await inbox.until(4))) == sorted(map(str, ["", b"", "grüße", b"\x00"]))


@pytest.mark.parametrize(("host", "joiner"), PAIRS)
@pytest.mark.parametrize("closer", [0, 1])
async def test_a_closed_channel_closes_on_both_sides_after_its_data_and_its_stream_can_be_used_again(
    host: str, joiner: str, closer: int
) -> None:
    async with connected(host, joiner) as peers:
        for generation in range(3):
            channels = [peer.open(id=4) for peer in peers]
            inbox = Inbox(channels[1 - closer])
            sent = payloads((100, 50_000, 7), seed=generation)
            for message in sent:
                channels[closer].send(message)
            channels[closer].close()
            assert await inbox.until(3) == sent
            for channel in channels:
                await until_state(channel, "closed")


@pytest.mark.parametrize(("host", "joiner"), [("turbo", "turbo"), ("turbo", "stock"), ("stock", "turbo")])
async def test_a_lossy_path_delays_reliable_messages_and_damages_nothing(host: str, joiner: str) -> None:
    rng = random.Random(5)
    sent = [rng.randbytes(rng.randrange(1, 20_000)) for _ in range(100)]
    inboxes: list[tuple[RTCDataChannel, Inbox]] = []

    def prepare(a: Peer, b: Peer) -> None:
        first, second = a.open(id=1), b.open(id=1)
        inboxes.extend([(first, Inbox(second)), (second, Inbox(first))])

    async with connected(host, joiner, prepare=prepare) as peers:
        for peer in peers:
            if isinstance(peer.dtls, LossyDtls):
                peer.dtls.loss = 0.02
        for channel, inbox in inboxes:
            for message in sent:
                channel.send(message)
            assert await inbox.until(len(sent)) == sent


async def test_unreliable_messages_on_a_lossy_path_arrive_whole_or_not_at_all_and_never_stall() -> None:
    rng = random.Random(6)
    inboxes: list[Inbox] = []

    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1, ordered=False, maxRetransmits=0)
        inboxes.append(Inbox(b.open(id=1, ordered=False, maxRetransmits=0)))
        a.open(id=2)
        inboxes.append(Inbox(b.open(id=2)))

    async with connected("turbo", "turbo", prepare=prepare) as (a, b):
        assert isinstance(b.dtls, LossyDtls)
        b.dtls.loss = 0.03
        sent = {rng.randbytes(30_000) for _ in range(60)}
        for message in sent:
            a.channels[0].send(message)
        a.channels[1].send(b"end")
        await inboxes[1].until(1)
        async with asyncio.timeout(TIMEOUT_S):
            assert isinstance(a.sctp, TurboSctpTransport)
            while not a.sctp.is_flushed:
                await asyncio.sleep(0.01)
        got = inboxes[0].messages
        assert set(got) <= sent
        assert len(got) == len(set(got)) > 0


@pytest.mark.parametrize(("host", "joiner"), [("turbo", "stock"), ("stock", "turbo"), ("turbo", "turbo")])
async def test_sequence_numbers_wrap_in_the_middle_of_a_transfer(host: str, joiner: str) -> None:
    inboxes: list[Inbox] = []

    def prepare(a: Peer, b: Peer) -> None:
        for peer in (a, b):
            tsn = (1 << 32) - 20
            peer.sctp._local_tsn = tsn
            peer.sctp._last_sacked_tsn = peer.sctp._advanced_peer_ack_tsn = tsn - 1
            peer.sctp._reconfig_request_seq = tsn
        a.open(id=1)
        inboxes.append(Inbox(b.open(id=1)))

    async with connected(host, joiner, prepare=prepare) as (a, _):
        sent = payloads((50_000, 50_000, 50_000))
        for message in sent:
            a.channels[0].send(message)
        assert await inboxes[0].until(3) == sent


@pytest.mark.parametrize(
    ("host", "joiner"), [("relayed", "relayed"), ("relayed", "stock"), ("stock", "relayed")]
)
async def test_without_sockets_of_its_own_as_on_a_relayed_path_it_works_through_aioice(
    host: str, joiner: str
) -> None:
    sent = payloads((1, 1000, 50_000, 200_000))
    inboxes: list[tuple[RTCDataChannel, Inbox]] = []

    def prepare(a: Peer, b: Peer) -> None:
        first, second = a.open(id=1), b.open(id=1)
        inboxes.extend([(first, Inbox(second)), (second, Inbox(first))])

    async with connected(host, joiner, prepare=prepare) as peers:
        for channel, inbox in inboxes:
            for message in sent:
                channel.send(message)
            assert await inbox.until(len(sent)) == sent
        for peer in peers:
            if isinstance(peer.dtls, BatchDtlsTransport):
                assert peer.dtls.run_transport is None
        await peers[0].stop()
        async with asyncio.timeout(TIMEOUT_S):
            while peers[1].sctp.state != "closed":
                await asyncio.sleep(0.005)


async def test_while_the_kernels_buffer_is_full_nothing_is_taken_from_the_queue_and_then_all_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inboxes: list[Inbox] = []

    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        inboxes.append(Inbox(b.open(id=1)))

    async with connected("turbo", "turbo", prepare=prepare) as (a, _):
        assert isinstance(a.dtls, BatchDtlsTransport)
        sock = a.dtls.run_transport
        assert isinstance(sock, BatchSocket)
        monkeypatch.setattr(sock, "_transmit", lambda run, _segment, _address: run)
        sock._backlog.append((b"\xff", 1, ("192.0.2.1", 9)))
        assert a.dtls.is_blocked
        sent = payloads((100_000, 100_000))
        for message in sent:
            a.channels[0].send(message)
        await asyncio.sleep(0.05)
        assert a.channels[0].bufferedAmount == 200_000
        monkeypatch.undo()
        sock._writable()
        assert await inboxes[0].until(2) == sent


async def test_packets_grow_to_what_the_path_carries_and_stay_small_towards_a_stock_peer() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        b.open(id=1)

    for joiner, smallest, largest in (("turbo", 10_000, 16_352), ("stock", 1400, 1435)):
        async with connected("turbo", joiner, prepare=prepare) as (a, _):
            assert isinstance(a.sctp, TurboSctpTransport)
            assert isinstance(a.dtls, BatchDtlsTransport)
            sock = a.dtls.run_transport
            if sock is None or not sock.sets_dont_fragment:
                pytest.skip("no path MTU discovery here")
            async with asyncio.timeout(TIMEOUT_S):
                while (stats := a.sctp.dataplane_stats) is None or stats.packet_bytes < smallest:
                    a.channels[0].send(bytes(5000))
                    await asyncio.sleep(0.01)
            assert stats.packet_bytes <= largest


async def test_buffered_amount_counts_what_has_not_left_and_low_is_told() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        b.open(id=1)

    async with connected("turbo", "turbo", prepare=prepare) as (a, _):
        channel = a.channels[0]
        channel.bufferedAmountLowThreshold = 1000
        low = asyncio.Event()
        channel.on("bufferedamountlow", low.set)
        channel.send(bytes(200_000))
        channel.send(bytes(100_000))
        assert channel.bufferedAmount == 300_000
        async with asyncio.timeout(TIMEOUT_S):
            await low.wait()
        assert channel.bufferedAmount <= 1000


async def test_a_message_above_the_peers_maximum_is_refused() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        b.open(id=1)

    async with connected("turbo", "turbo", prepare=prepare) as (a, _):
        with pytest.raises(ValueError, match="262145"):
            a.channels[0].send(bytes(262_145))


async def test_stopping_aborts_and_the_other_side_closes_its_channels_at_once() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        b.open(id=1)

    async with connected("turbo", "turbo", prepare=prepare) as (a, b):
        await a.stop()
        await until_state(b.channels[0], "closed")
        assert b.sctp.state == "closed"


async def test_hostile_packets_are_dropped_and_the_association_lives_on() -> None:
    inboxes: list[Inbox] = []

    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        inboxes.append(Inbox(b.open(id=1)))

    async with connected("turbo", "turbo", prepare=prepare) as (_, b):
        assert isinstance(b.sctp, TurboSctpTransport)
        rng = random.Random(8)
        header = b"\x13\x88\x13\x88" + b.sctp._local_verification_tag.to_bytes(4, "big") + bytes(4)
        dangerous = {6, 7, 8, 14}  # ABORT and SHUTDOWN do as they say
        for kind in set(range(256)) - dangerous:
            for size in (0, 1, 4, 12, 40):
                body = rng.randbytes(size)
                chunk = bytes([kind, rng.randrange(256)]) + (size + 4).to_bytes(2, "big") + body
                b.sctp.receive_packets([header + chunk + bytes(-size % 4)])
        b.sctp.receive_packets([b"", b"x", header, header[:4] + bytes(8) + b"\x01\x00\x00\x04"])
        for _ in range(300):
            b.sctp.receive_packets([rng.randbytes(rng.randrange(200))])
        assert b.sctp.state == "connected"


async def test_damaged_replayed_and_foreign_datagrams_are_dropped() -> None:
    inboxes: list[Inbox] = []

    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        inboxes.append(Inbox(b.open(id=1)))

    async with connected("turbo", "turbo", prepare=prepare) as (a, b):
        assert isinstance(b.dtls, BatchDtlsTransport)
        seen: list[bytes] = []
        real = b.dtls.datagrams_received

        def tap(run: memoryview, segment: int) -> None:
            seen.append(bytes(run))
            real(run, segment)

        for sock in b.dtls.sockets:
            assert sock.receiver is not None
            sock.receiver.datagrams_received = tap  # type: ignore[method-assign]
        a.channels[0].send(b"one")
        await inboxes[0].until(1)
        rng = random.Random(9)
        for datagram in list(seen):
            damaged = bytearray(datagram)
            damaged[rng.randrange(13, len(damaged))] ^= 0x40
            for hostile in (
                bytes(damaged),
                datagram,
                datagram[:20],
                b"\x17" + rng.randbytes(60),
                b"\x16\xfe\xfd",
            ):
                real(memoryview(hostile), len(hostile))
                b.dtls.batch_ended()
        a.channels[0].send(b"two")
        assert await inboxes[0].until(2) == [b"one", b"two"]


async def test_what_came_before_an_abort_in_the_same_wake_up_is_delivered() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        for peer in (a, b):
            for stream in (0, 1):
                peer.open(id=stream)

    async with connected("turbo", "turbo", prepare=prepare) as (a, b):
        assert isinstance(a.dtls, BatchDtlsTransport)
        assert isinstance(b.sctp, TurboSctpTransport)
        heard: list[bytes] = []
        b.sctp.deliver_to(0, heard.append)
        together: list[bytes] = []
        deliver, b.sctp.receive_packets = b.sctp.receive_packets, together.extend  # type: ignore[method-assign]
        a.channels[1].send(bytes(500))
        a.channels[0].send(b"cancel")
        await asyncio.sleep(0.05)
        await a.sctp.stop()
        async with asyncio.timeout(TIMEOUT_S):
            while not any(packet[12] == ABORT for packet in together):
                await asyncio.sleep(0.005)
        assert heard == []
        deliver(together)
        assert heard == [b"cancel"]
        assert b.channels[0].readyState == "closed"


async def test_a_listener_that_fails_costs_the_others_nothing() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        for peer in (a, b):
            for stream in (0, 1):
                peer.open(id=stream)

    async with connected("turbo", "turbo", prepare=prepare) as (a, b):
        assert isinstance(b.sctp, TurboSctpTransport)
        heard: list[bytes] = []

        def fail(_message: bytes) -> None:
            raise ZeroDivisionError

        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        b.sctp.deliver_to(1, fail)
        b.sctp.deliver_to(0, heard.append)
        together: list[bytes] = []
        deliver, b.sctp.receive_packets = b.sctp.receive_packets, together.extend  # type: ignore[method-assign]
        a.channels[1].send(b"data")
        a.channels[0].send(b"control")
        await asyncio.sleep(0.05)
        del b.sctp.receive_packets
        deliver(together)
        assert heard == [b"control"]
        assert [type(context["exception"]) for context in failures] == [ZeroDivisionError]


async def test_a_peer_whose_process_died_is_noticed_within_seconds() -> None:
    def prepare(a: Peer, b: Peer) -> None:
        a.open(id=1)
        b.open(id=1)

    async with connected("turbo", "turbo", prepare=prepare) as (a, b):
        assert isinstance(a.dtls, BatchDtlsTransport)
        assert isinstance(b.dtls, BatchDtlsTransport)
        if not a.dtls.sockets[0].reads_errors:
            pytest.skip("no ICMP errors here")
        for sock in b.dtls.sockets:
            sock.close()
        started = time.perf_counter()
        a.channels[0].send(bytes(100_000))
        async with asyncio.timeout(8):
            while a.dtls.state == "connected":
                await asyncio.sleep(0.01)
        lost = ice_loss(a.ice)
        assert lost is not None
        assert lost.loss is Loss.PEER_GONE
        assert time.perf_counter() - started < 8


def test_a_coroutine_that_suspends_is_an_error_not_a_hang() -> None:
    async def suspends() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspends"):
        run_now(suspends())
