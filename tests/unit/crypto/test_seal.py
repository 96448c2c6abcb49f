"""Sealed packets open only whole, in their place, under their key; clear ones only where clear was agreed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallow_cli.crypto.seal import (
    FORM_CLEAR,
    FORM_SEALED,
    MAX_PACKET_NUMBER,
    TAG_BYTES,
    ClearOpener,
    ClearSealer,
    PacketOpener,
    PacketSealer,
    open_once_untrusted,
    seal_once,
)
from tallow_cli.errors import PeerProtocolError

KEY = bytes(range(32))


def _header(channel: int, number: int, form: int = FORM_SEALED) -> bytes:
    return bytes([form, channel]) + number.to_bytes(8, "big")


def test_what_is_sealed_opens() -> None:
    sealer, opener = PacketSealer(KEY), PacketOpener(KEY)
    for number, payload in enumerate([b"", b"x", bytes(65536), bytearray(b"abc"), memoryview(b"defg")]):
        header = _header(3, number)
        body = sealer.seal(3, number, header, payload)
        assert len(body) == len(payload) + sealer.overhead
        assert opener.open(3, number, header, body) == payload


def test_a_packet_in_one_buffer_is_header_and_body() -> None:
    sealer = PacketSealer(KEY)
    # A smaller packet after a larger one must show no bytes left in the scratch buffer.
    for number, size in enumerate((0, 1, 70_000, 5, 70_000)):
        header = _header(1, number)
        packet = sealer.seal_packet(1, number, header, b"p" * size)
        assert packet == header + PacketSealer(KEY).seal(1, number, header, b"p" * size)
        assert type(packet) is bytes


def test_one_sealer_keeps_earlier_packets_intact() -> None:
    sealer, opener = PacketSealer(KEY), PacketOpener(KEY)
    packets = [sealer.seal_packet(1, n, _header(1, n), bytes([n]) * (n * 10)) for n in range(20)]
    for n, packet in enumerate(packets):
        view = memoryview(packet)
        assert opener.open(1, n, view[:10], view[10:]) == bytes([n]) * (n * 10)


def test_every_changed_bit_is_noticed() -> None:
    header = _header(2, 77)
    body = PacketSealer(KEY).seal(2, 77, header, b"payload")
    opener = PacketOpener(KEY)
    for position in range(len(body) * 8):
        changed = bytearray(body)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(PeerProtocolError):
            opener.open(2, 77, header, changed)
    for position in range(len(header) * 8):
        changed = bytearray(header)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(PeerProtocolError):
            opener.open(2, 77, changed, body)


@pytest.mark.parametrize("length", range(8 + TAG_BYTES))
def test_a_truncated_packet_is_refused(length: int) -> None:
    header = _header(2, 1)
    body = PacketSealer(KEY).seal(2, 1, header, b"12345678")
    with pytest.raises(PeerProtocolError):
        PacketOpener(KEY).open(2, 1, header, body[:length])


def test_a_packet_opens_only_under_its_channel_number_and_key() -> None:
    header = _header(2, 5)
    body = PacketSealer(KEY).seal(2, 5, header, b"payload")
    for channel, number, key in [(3, 5, KEY), (2, 6, KEY), (2, 5, bytes(32))]:
        with pytest.raises(PeerProtocolError):
            PacketOpener(key).open(channel, number, header, body)


@pytest.mark.parametrize(("channel", "number"), [(256, 0), (-1, 0), (0, -1), (0, MAX_PACKET_NUMBER + 1)])
def test_places_out_of_range_are_refused_on_both_sides(channel: int, number: int) -> None:
    with pytest.raises(ValueError):
        PacketSealer(KEY).seal(channel, number, _header(0, 0), b"")
    with pytest.raises(PeerProtocolError):
        PacketOpener(KEY).open(channel, number, _header(0, 0), bytes(TAG_BYTES))


def test_no_nonce_is_used_twice() -> None:
    sealer = PacketSealer(KEY)
    sealer.seal(1, 10, _header(1, 10), b"a")
    for number in (10, 9, 0):
        with pytest.raises(ValueError, match="used"):
            sealer.seal(1, number, _header(1, number), b"b")
        with pytest.raises(ValueError, match="used"):
            sealer.seal_packet(1, number, _header(1, number), b"b")
    sealer.seal(2, 10, _header(2, 10), b"another channel, another nonce")
    sealer.seal(1, MAX_PACKET_NUMBER, _header(1, MAX_PACKET_NUMBER), b"last")


def test_the_nonce_is_four_zero_bytes_the_channel_and_the_number() -> None:
    header = _header(0xAB, 0x01020304050607)
    body = PacketSealer(KEY).seal(0xAB, 0x01020304050607, header, b"payload")
    nonce = bytes.fromhex("00000000 AB 01020304050607")
    assert AESGCM(KEY).decrypt(nonce, body, header) == b"payload"


def test_a_clear_packet_is_refused_where_sealed_ones_are_due_and_the_reverse() -> None:
    clear = ClearSealer().seal_packet(1, 1, _header(1, 1, FORM_CLEAR), b"payload")
    with pytest.raises(PeerProtocolError, match="not sealed as agreed"):
        PacketOpener(KEY).open(1, 1, clear[:10], clear[10:])
    sealed = PacketSealer(KEY).seal_packet(1, 1, _header(1, 1), b"payload")
    with pytest.raises(PeerProtocolError, match="not sealed as agreed"):
        ClearOpener().open(1, 1, sealed[:10], sealed[10:])
    for opener in (PacketOpener(KEY), ClearOpener()):
        with pytest.raises(PeerProtocolError):
            opener.open(1, 1, b"", b"")


def test_the_clear_twin_changes_nothing() -> None:
    sealer, header = ClearSealer(), _header(1, 1, FORM_CLEAR)
    assert sealer.seal_packet(1, 1, header, memoryview(b"abc")) == header + b"abc"
    assert sealer.seal(1, 1, header, bytearray(b"abc")) == b"abc"
    assert sealer.overhead == 0
    assert ClearOpener().open(1, 1, header, memoryview(b"abc")) == b"abc"


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PacketSealer(bytes(16))


def test_a_message_sealed_once_opens_only_with_its_context() -> None:
    sealed = seal_once(KEY, b"description", b"transcript")
    assert open_once_untrusted(KEY, sealed, b"transcript") == b"description"
    for key, body, context in [
        (bytes(32), sealed, b"transcript"),
        (KEY, sealed, b"another"),
        (KEY, sealed[:-1], b"transcript"),
        (KEY, b"", b"transcript"),
    ]:
        with pytest.raises(PeerProtocolError):
            open_once_untrusted(key, body, context)
