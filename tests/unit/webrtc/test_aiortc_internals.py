"""Pins what Tallow uses of aiortc and aioice beyond their public interface."""

from __future__ import annotations

import inspect

import aioice
import pytest
from aiortc import RTCDataChannel, RTCSctpTransport

from tallow_cli.errors import Loss
from tallow_cli.webrtc.aiortc_internals import IceConnection
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
