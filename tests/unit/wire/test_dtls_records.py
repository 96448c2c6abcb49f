from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import SRTP_PROFILES
from OpenSSL import SSL

from tallow_cli.wire.dtls_records import DirectRecords, PublicRecords, Records, make_records

RecordsMaker = Callable[[SSL.Connection], Records]


def connections() -> tuple[SSL.Connection, SSL.Connection]:
    """A DTLS server and client after their handshake."""
    server, client = (
        SSL.Connection(RTCCertificate.generateCertificate()._create_ssl_context(srtp_profiles=SRTP_PROFILES))
        for _ in range(2)
    )
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(8):
        for ours, theirs in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                ours.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                theirs.bio_write(ours.bio_read(65536))
    return server, client


@pytest.fixture(params=[DirectRecords, PublicRecords])
def make(request: pytest.FixtureRequest) -> RecordsMaker:
    maker: RecordsMaker = request.param
    return maker


def opened(records: Records, run: bytes, segment: int) -> list[bytes]:
    into: list[bytes] = []
    records.open(memoryview(run), segment, into)
    return into


def test_the_installed_pyopenssl_has_the_private_parts_of_the_direct_way() -> None:
    assert isinstance(make_records(connections()[0]), DirectRecords)


@pytest.mark.parametrize("size", [1, 60, 1191, 1432, 8900, 16352])
@pytest.mark.parametrize("last", [1, 17, None])
def test_a_run_of_equal_packets_is_a_run_of_equal_records_and_opens_in_order(
    make: RecordsMaker, size: int, last: int | None
) -> None:
    server, client = connections()
    count = max(1, min(45, 65_000 // (size + 37)))
    rng = random.Random(size)
    packets = [rng.randbytes(size) for _ in range(count)]
    if last is not None and last <= size:
        packets[-1] = rng.randbytes(last)
    run = make(server).seal(packets)
    segment = 13 + int.from_bytes(run[11:13], "big")
    assert -(-len(run) // segment) == count
    assert opened(make(client), run, segment) == packets


def test_damaged_and_repeated_records_are_left_out_and_the_rest_opens(make: RecordsMaker) -> None:
    server, client = connections()
    sealer, opener = make(server), make(client)
    packets = [bytes([number]) * 1000 for number in range(30)]
    run = bytearray(sealer.seal(packets))
    segment = len(run) // 30
    for number in (0, 7, 29):
        run[number * segment + 40] ^= 1
    rest = [packet for number, packet in enumerate(packets) if number not in (0, 7, 29)]
    assert opened(opener, bytes(run), segment) == rest
    assert opened(opener, bytes(run), segment) == []
    assert opened(opener, b"\x17\xfe\xfd" + bytes(80), 83) == []
    assert opened(opener, b"\x17", 1) == []
    assert opened(opener, sealer.seal([b"on"]), 1000) == [b"on"]


def test_the_peers_close_is_told_after_the_data_before_it(make: RecordsMaker) -> None:
    server, client = connections()
    data = make(server).seal([b"last words"])
    server.shutdown()
    close = server.bio_read(1000)
    into: list[bytes] = []
    opener = make(client)
    assert opener.open(memoryview(data), len(data), into)
    assert not opener.open(memoryview(close), len(close), into)
    assert into == [b"last words"]


def test_sealing_after_the_end_gives_nothing(make: RecordsMaker) -> None:
    server, _ = connections()
    sealer = make(server)
    server.shutdown()
    server.bio_read(1000)
    assert sealer.seal([b"late"]) == b""


def test_where_the_private_parts_are_missing_the_public_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SSL, "_lib")
    connection = object.__new__(SSL.Connection)
    assert isinstance(make_records(connection), PublicRecords)


def test_datagrams_of_many_records_do_not_pile_up_in_openssl(make: RecordsMaker) -> None:
    server, client = connections()
    sealer, opener = make(server), make(client)
    for _ in range(200):
        crowded = sealer.seal([b"x" * 60] * 300)
        opened(opener, crowded, len(crowded))
    # What is still in OpenSSL's hands is one gulp at most; piled up, it would be 59,800 packets.
    for number in range(400):
        single = sealer.seal([b"on %d" % number])
        packets = opened(opener, single, len(single))
    assert packets == [b"on 399"]
