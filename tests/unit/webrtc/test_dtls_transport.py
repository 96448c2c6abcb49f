"""webrtc.dtls_transport: a handshake that does not wait for OpenSSL's timers, and an end that nothing disturbs."""

from __future__ import annotations

from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtcdtlstransport import State
from OpenSSL import SSL

from tallow_cli.webrtc.dtls_transport import DtlsTransport


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
