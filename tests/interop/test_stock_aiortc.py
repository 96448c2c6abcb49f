"""The turbo engine against stock aiortc's `RTCPeerConnection`, in its own process."""

from __future__ import annotations

import pytest
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport, RTCSctpTransport
from aiortc.rtcsctptransport import DataChunk, ForwardTsnChunk

from tests.interop.suite import PeerSuite


@pytest.mark.interop
class TestStockAiortc(PeerSuite):
    peer = "aiortc"
    survives_ordered_forward_tsn = False


class _Receiver(RTCSctpTransport):
    """Keeps what it receives and sends nothing."""

    def __init__(self) -> None:
        ice = RTCIceTransport(RTCIceGatherer())
        super().__init__(RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()]))
        self._last_received_tsn = 0
        self.received: list[bytes] = []

    async def _receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        self.received.append(data)


def _data(tsn: int, sequence: int, flags: int, data: bytes) -> DataChunk:
    chunk = DataChunk(flags=flags)
    chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = tsn, 4, sequence, 53, data
    return chunk


@pytest.mark.interop
async def test_aiortc_still_stalls_an_ordered_stream_when_a_whole_message_lay_behind_an_abandoned_one() -> (
    None
):
    """The reason for `survives_ordered_forward_tsn`; when this fails aiortc was mended, and that can go.

    aiortc 1.16 delivers before it prunes, stopping at the remains of the abandoned message, and then prunes up
    to its advanced cumulative TSN, "second" included, which it has acknowledged. Tallow's channels are either
    reliable or unordered, so they do not meet this.
    """
    receiver = _Receiver()
    first_fragment, whole = 2, 3
    await receiver._receive_data_chunk(_data(1, 0, first_fragment, b"half of the first"))
    await receiver._receive_data_chunk(_data(3, 1, whole, b"second"))
    forward = ForwardTsnChunk()
    forward.cumulative_tsn, forward.streams = 2, [(4, 0)]
    await receiver._receive_forward_tsn_chunk(forward)
    await receiver._receive_data_chunk(_data(4, 2, whole, b"third"))
    assert receiver.received == []
