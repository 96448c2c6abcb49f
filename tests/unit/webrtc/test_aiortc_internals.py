"""Pins what Tallow uses of aiortc and aioice beyond their public interface."""

from __future__ import annotations

import inspect

import aioice
import pytest
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCSctpTransport,
)
from aiortc.rtcdtlstransport import State
from OpenSSL import SSL

from tallow_cli.errors import Loss
from tallow_cli.webrtc.aiortc_internals import DtlsTransport, IceConnection
from tallow_cli.webrtc.ice_consent import Consent


async def test_loopback_is_gathered_where_there_is_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: [])
    connection = IceConnection(ice_controlling=True)
    await connection.gather_candidates()
    try:
        assert "127.0.0.1" in {candidate.host for candidate in connection.local_candidates}
    finally:
        await connection.close()


async def test_loopback_is_left_out_where_there_is_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.9"])
    connection = IceConnection(ice_controlling=True)
    await connection.gather_candidates()
    try:
        assert [candidate.host for candidate in connection.local_candidates] == ["127.0.0.9"]
    finally:
        await connection.close()


async def test_what_is_still_being_read_from_the_peer_comes_before_its_port_is_called_closed() -> None:
    connection = IceConnection(ice_controlling=True)
    connection.consent = consent = Consent(0.0, lambda: 0.5)
    for tenth in range(10):
        consent.refused(tenth / 10)
        if tenth == 5:
            connection.enqueue_untrusted(b"\x17" + bytes(40))
    assert consent.lost(1.0) is None
    consent.refused(1.1)
    assert consent.lost(1.1) == Loss.PEER_GONE
    await connection.close()


def test_data_channels_call_only_four_methods_of_their_transport() -> None:
    source = inspect.getsource(RTCDataChannel)
    called = {name for name in dir(RTCSctpTransport) if f"transport.{name}(" in source}
    assert called == {
        "_data_channel_open",
        "_data_channel_add_negotiated",
        "_data_channel_close",
        "_data_channel_send",
    }


class _Ice:
    """Stands where an RTCIceTransport does before anything is sent."""

    _connection = None


async def test_a_certificate_that_cannot_be_read_is_not_the_one_described_and_late_data_is_dropped() -> None:
    class Ssl:
        def get_peer_certificate(self, as_cryptography: bool) -> object:
            raise ValueError("error parsing asn1 value")

        def send(self, data: bytes) -> int:
            raise SSL.SysCallError(-1, "Unexpected EOF")

    dtls = DtlsTransport(_Ice(), RTCCertificate.generateCertificate(), "server")  # type: ignore[arg-type]
    dtls._ssl = Ssl()  # type: ignore[assignment]
    dtls._set_state(State.CONNECTED)
    await dtls._send_data(b"late")
    dtls._validate_peer_identity(RTCDtlsParameters([RTCDtlsFingerprint("sha-256", "00")]))
    assert dtls.state == "failed"
