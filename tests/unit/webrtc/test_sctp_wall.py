"""What aiortc's SCTP may not be told, whichever engine it serves; over a DTLS that only keeps what is sent."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import (
    AbortChunk,
    CookieEchoChunk,
    InitAckChunk,
    InitChunk,
    ReconfigChunk,
    StreamResetOutgoingParam,
    StreamResetResponseParam,
    parse_packet,
)

from tallow_cli.webrtc.sctp_wall import INIT_LASTS_S, INIT_REPEAT_S, WalledSctpTransport
from tests.support.hostile_peer import parameter

OPEN = struct.pack("!BBHLHH", 3, 0, 0, 0, 4, 0) + b"name"
DCEP, TEXT, BINARY = 50, 51, 53


class Dtls:
    """Stands where a connected RTCDtlsTransport does."""

    state = "connected"
    _role = "server"

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def _send_data(self, data: bytes) -> None:
        self.sent += parse_packet(data)[3]

    def _register_data_receiver(self, receiver: object) -> None: ...

    def _unregister_data_receiver(self, receiver: object) -> None: ...


@pytest.fixture
async def sctp() -> WalledSctpTransport:
    transport = WalledSctpTransport(Dtls())  # type: ignore[arg-type]
    transport._remote_port = 5000
    return transport


def sent(sctp: WalledSctpTransport) -> list[Any]:
    return sctp.transport.sent  # type: ignore[attr-defined,no-any-return]


def init(kind: type[InitChunk | InitAckChunk], tag: int = 7, tsn: int = 100) -> InitChunk | InitAckChunk:
    made = kind()
    made.initiate_tag, made.initial_tsn = tag, tsn
    made.outbound_streams = made.inbound_streams = 9
    return made


async def established(sctp: WalledSctpTransport) -> None:
    await sctp._receive_chunk(init(InitChunk))
    await sctp._receive_chunk(CookieEchoChunk(body=sent(sctp)[-1].params[-1][1]))
    assert sctp._association_state == sctp.State.ESTABLISHED


def open_channel(sctp: WalledSctpTransport, stream_id: int) -> tuple[RTCDataChannel, list[object]]:
    channel = RTCDataChannel(sctp, RTCDataChannelParameters(label="x", negotiated=True, id=stream_id))
    heard: list[object] = []
    channel.on("message", heard.append)
    return channel, heard


async def test_a_malformed_chunk_is_counted_and_no_object(sctp: WalledSctpTransport) -> None:
    assert sctp.parsed_untrusted(4, 0, parameter(1, length=0)) is None
    assert sctp.parsed_untrusted(200, 0, b"") is None
    assert sctp.dropped == 2
    assert isinstance(sctp.parsed_untrusted(6, 0, parameter(12, length=0)), AbortChunk)


async def test_an_init_that_contradicts_the_first_is_dropped_and_a_repeated_one_is_answered_again(
    sctp: WalledSctpTransport,
) -> None:
    await established(sctp)
    sctp._last_received_tsn, sctp._reconfig_response_seq = 500, 600
    answers = len(sent(sctp))
    for other in (init(InitChunk, tag=8), init(InitChunk, tsn=9), init(InitAckChunk, tag=8)):
        await sctp._receive_chunk(other)
    assert (sctp.dropped, len(sent(sctp)), sctp._remote_verification_tag) == (3, answers, 7)
    await sctp._receive_chunk(init(InitChunk))
    assert isinstance(sent(sctp)[-1], InitAckChunk)
    assert (sctp._last_received_tsn, sctp._reconfig_response_seq) == (500, 600)


async def test_nothing_opens_an_association_that_has_ended(sctp: WalledSctpTransport) -> None:
    await established(sctp)
    cookie = CookieEchoChunk(body=sent(sctp)[0].params[-1][1])
    await sctp._receive_chunk(AbortChunk())
    await sctp._receive_chunk(cookie)
    await sctp._receive_chunk(init(InitChunk))
    assert sctp._association_state == sctp.State.CLOSED


async def test_channels_that_nobody_asked_for_text_and_other_streams_are_dropped(
    sctp: WalledSctpTransport,
) -> None:
    _, heard = open_channel(sctp, 1)
    for stream_id, ppid, data in (
        (9, DCEP, OPEN),
        (1, DCEP, OPEN),
        (1, DCEP, b"\x02"),
        (1, DCEP, b""),
        (9, BINARY, b"x"),
        (1, TEXT, b"words"),
        (1, TEXT, b"\xff"),
        (1, 56, b"\0"),
        (1, 57, b"\0"),
    ):
        await sctp._data_channel_receive(stream_id, ppid, data)
    assert (heard, set(sctp._data_channels), sctp.dropped) == ([], {1}, 9)
    await sctp._data_channel_receive(1, BINARY, b"x")
    assert heard == [b"x"]


async def test_among_foreign_stacks_channels_are_opened_in_band_once(sctp: WalledSctpTransport) -> None:
    sctp.takes_in_band_channels = True
    await sctp._data_channel_receive(8, DCEP, OPEN)
    assert sctp._data_channels[8].label == "name"
    heard: list[object] = []
    sctp._data_channels[8].on("message", heard.append)
    await sctp._data_channel_receive(8, TEXT, b"words")
    for stream_id, ppid, data in ((8, DCEP, OPEN), (8, TEXT, b"\xff"), (6, DCEP, b"\x02"), (6, TEXT, b"x")):
        await sctp._data_channel_receive(stream_id, ppid, data)
    assert (heard, sctp.dropped) == (["words"], 4)


async def test_what_a_handler_stumbles_over_is_counted(sctp: WalledSctpTransport) -> None:
    async def stumbles() -> None:
        raise KeyError(7)

    await sctp.guarded(stumbles())
    assert sctp.stumbles == 1


async def test_a_reset_that_is_granted_and_then_refused_closes_the_channel_once(
    sctp: WalledSctpTransport,
) -> None:
    await established(sctp)
    channel, _ = open_channel(sctp, 1)
    sctp._data_channel_close(channel)
    await sctp._transmit_reconfig()
    request = sctp._reconfig_request
    assert request is not None
    theirs = StreamResetOutgoingParam(1, 0, 99, [1])
    refused = StreamResetResponseParam(request.request_sequence, 5)
    for param in ((13, bytes(theirs)), (16, bytes(refused)), (16, bytes(refused))):
        reset = ReconfigChunk()
        reset.params = [param]
        await sctp.guarded(sctp._receive_chunk(reset))
    assert (channel.readyState, sctp.stumbles) == ("closed", 0)


async def test_an_init_is_repeated_evenly_and_for_as_long_as_a_link_may_take(
    sctp: WalledSctpTransport,
) -> None:
    pauses: list[float] = []

    class Loop:
        def call_later(self, delay_s: float, callback: object) -> asyncio.TimerHandle:
            pauses.append(delay_s)
            return asyncio.get_running_loop().call_later(3600, lambda: None)

    sctp._loop = Loop()  # type: ignore[assignment]
    kept = sctp._rto
    sctp._t1_start(init(InitChunk))
    while not sctp._has_ended:
        sctp._t1_expired()
        assert sctp._rto == kept, "the timer of data is another"
    await asyncio.sleep(0)
    assert set(pauses) == {INIT_REPEAT_S}
    assert sum(pauses) >= INIT_LASTS_S
