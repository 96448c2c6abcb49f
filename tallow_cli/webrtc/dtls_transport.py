"""aiortc's DTLS transport as both engines need it: patient with the network, and not impatient with its own end.

OpenSSL repeats a flight of the handshake that nobody answered after 1, 2, 4, 8 s, and offers no way to say otherwise.
At 30 % loss each way half of all tries fail, and there are two round trips: one handshake in ten took longer than 10 s.
So the datagrams of the flight that waits for an answer are sent again from here, as they were: whoever has them knows
their record numbers and drops them, as it would what the network had doubled (RFC 6347 section 4.1.2.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, repeat
from typing import Final

from aiortc import RTCCertificate, RTCDtlsParameters, RTCDtlsTransport, RTCIceTransport
from aiortc.rtcdtlstransport import State
from OpenSSL import SSL

# Of about 1,000 bytes each.
_REPEATS_S: Final = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.5, 0.5)
_LATER_S: Final = 0.5
_DATAGRAM_BYTES: Final = 1500  # aiortc's


class DtlsTransport(RTCDtlsTransport):
    """See the module. After its end it drops what is sent, as a datagram network does: aiortc raises there,
    ConnectionError or what OpenSSL says, inside tasks nobody awaits, which then complain on stderr.
    """

    def __init__(self, transport: RTCIceTransport, certificate: RTCCertificate, role: str) -> None:
        super().__init__(transport, [certificate])
        self._set_role(role)
        self._flight: list[bytes] = []  # datagrams of the handshake sent since one was received
        self._flight_is_over = False
        self._repeating: asyncio.Task[None] | None = None

    async def start(self, remoteParameters: RTCDtlsParameters) -> None:
        """Shake hands with the peer of these fingerprints; `state` says what came of it. Cancelling ends it."""
        self._repeating = asyncio.create_task(self._repeat_flight(chain(_REPEATS_S, repeat(_LATER_S))))
        try:
            await super().start(remoteParameters)
        finally:
            self._repeating.cancel()
        if self._role == "server" and self.encrypted:
            # The client waits for it, and nothing says that it has come. OpenSSL repeats it when asked once more.
            self._repeating = asyncio.create_task(self._repeat_flight(_REPEATS_S))

    async def _repeat_flight(self, pauses_s: Iterable[float]) -> None:
        for pause_s in pauses_s:
            await asyncio.sleep(pause_s)
            for datagram in self._flight.copy():
                with suppress(ConnectionError):
                    await self.transport._send(datagram)

    async def _write_ssl(self) -> None:
        if self.encrypted or self._ssl is None:
            await super()._write_ssl()
            return
        try:
            datagram = self._ssl.bio_read(_DATAGRAM_BYTES)
        except SSL.Error:
            return
        if self._flight_is_over:
            self._flight.clear()
            self._flight_is_over = False
        self._flight.append(datagram)
        await self.transport._send(datagram)

    async def _send_data(self, data: bytes) -> None:
        try:
            await super()._send_data(data)
        except (ConnectionError, SSL.Error):
            return

    def _validate_peer_identity(self, remoteParameters: RTCDtlsParameters) -> None:
        """aiortc's, which has the certificate parsed: one that OpenSSL takes and `cryptography` does not is not the
        one described.
        """
        try:
            super()._validate_peer_identity(remoteParameters)
        except ValueError:
            self._set_state(State.FAILED)

    async def _recv_next(self) -> None:
        """aiortc's, which reads 1,500 bytes of a record; the rest would be taken for the next one, and so on."""
        self._flight_is_over = True
        await super()._recv_next()
        # Not during the handshake, where what is pending is no data.
        while self.encrypted and self._ssl is not None and self._ssl.pending():
            try:
                self._ssl.recv(self._ssl.pending())
            except SSL.Error:
                return

    async def stop(self) -> None:
        """Stop, and wait for the tasks to be gone."""
        tasks = [task for task in (self._task, self._repeating) if task is not None]
        if self._repeating is not None:
            self._repeating.cancel()
        await super().stop()
        await asyncio.gather(*tasks, return_exceptions=True)
