"""Sealing and opening runs of DTLS records with OpenSSL, through pyOpenSSL.

`DirectRecords` calls the four OpenSSL functions it needs on pyOpenSSL's own cffi handles: 1.0 us to seal and
1.4 us to open a packet of 1,432 bytes, where `PublicRecords`, over pyOpenSSL's public methods, takes 1.8-2.5
and 2.8 us; most of the difference is allocation and error bookkeeping per call. This is the one module that
touches pyOpenSSL's private parts. `make_records` takes the public way by itself where they are not as
expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from OpenSSL import SSL

from tallow_cli.wire.datagram_checks import dtls_is_sound

# OpenSSL reads its input BIO in gulps of one largest record; what a gulp cuts in two is lost.
MAX_BIO_WRITE: Final = 16384
# The largest run: 65,000 bytes and a little.
MAX_RUN_BYTES: Final = 66_000
# RFC 6347 section 4.1: 2^14 bytes of content and at most 2,048 more of cipher overhead.
MAX_RECORD_BYTES: Final = 16384 + 2048


class Records(Protocol):
    """One established DTLS connection's records."""

    def seal(self, packets: Sequence[bytes]) -> bytes:
        """The packets' records back to back, in order; empty if the connection has ended."""
        ...

    def open(self, run: memoryview, segment: int, into: list[bytes]) -> bool:
        """Append the content of a run of records of `segment` bytes each, the last perhaps shorter.

        What is not authentic, repeated or no data is dropped, as is a second record in one datagram, so that none
        are kept. Returns False once the peer has closed.
        """
        ...


class PublicRecords:
    """`Records` over pyOpenSSL's public methods."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def seal(self, packets: Sequence[bytes]) -> bytes:
        try:
            for packet in packets:
                self._connection.send(packet)
            return self._connection.bio_read(MAX_RUN_BYTES)
        except SSL.Error:
            return b""

    def open(self, run: memoryview, segment: int, into: list[bytes]) -> bool:
        for start in range(0, len(run), segment):
            datagram = run[start : start + segment]
            if not dtls_is_sound(datagram):
                continue
            self._connection.bio_write(datagram)
            try:
                into.append(self._connection.recv(segment))
            except SSL.ZeroReturnError:
                return False
            except SSL.Error:
                continue  # WantReadError: a record was dropped
        return True


class DirectRecords:
    """`Records` over pyOpenSSL's cffi handles."""

    def __init__(self, connection: SSL.Connection) -> None:
        """Raises AttributeError if pyOpenSSL is not as expected."""
        lib: Any = SSL._lib  # type: ignore[attr-defined]
        ffi: Any = SSL._ffi  # type: ignore[attr-defined]
        self._keep_alive = connection  # owns the handles
        self._ssl, self._input, self._output = connection._ssl, connection._into_ssl, connection._from_ssl
        self._ssl_write, self._ssl_read, self._ssl_get_error = lib.SSL_write, lib.SSL_read, lib.SSL_get_error
        self._bio_write, self._bio_read, self._clear_error = lib.BIO_write, lib.BIO_read, lib.ERR_clear_error
        self._closed_code = lib.SSL_ERROR_ZERO_RETURN
        self._from_buffer = ffi.from_buffer
        self._sealed = ffi.new("char[]", MAX_RUN_BYTES)
        self._sealed_view = ffi.buffer(self._sealed)
        self._opened = ffi.new("char[]", MAX_RECORD_BYTES)
        self._opened_view = ffi.buffer(self._opened)

    def seal(self, packets: Sequence[bytes]) -> bytes:
        write, ssl = self._ssl_write, self._ssl
        for packet in packets:
            if write(ssl, packet, len(packet)) <= 0:
                self._clear_error()
        size = self._bio_read(self._output, self._sealed, MAX_RUN_BYTES)
        return bytes(self._sealed_view[:size]) if size > 0 else b""

    def open(self, run: memoryview, segment: int, into: list[bytes]) -> bool:
        read, ssl, opened, view, add = self._ssl_read, self._ssl, self._opened, self._opened_view, into.append
        drain, waiting = self._bio_read, self._input
        step = max(1, MAX_BIO_WRITE // segment) * segment
        for start in range(0, len(run), step):
            part = run[start : start + step]
            self._bio_write(self._input, self._from_buffer(part), len(part))
            for _ in range(-(-len(part) // segment)):
                size = read(ssl, opened, MAX_RECORD_BYTES)
                if size <= 0:
                    is_closed = self._ssl_get_error(ssl, size) == self._closed_code
                    self._clear_error()
                    if is_closed:
                        return False
                    break
                add(view[:size])
            # One gulp took all that equal records hold. What is left is what a datagram had behind its record.
            while drain(waiting, opened, MAX_RECORD_BYTES) > 0:
                continue
        return True


def make_records(connection: SSL.Connection) -> Records:
    """The fastest way this pyOpenSSL allows."""
    try:
        return DirectRecords(connection)
    except (AttributeError, TypeError):
        return PublicRecords(connection)
