"""A UDP socket read and written in batches, in asyncio's place.

asyncio wakes once per datagram (10 us and more each); this transport empties the socket at each wake-up, lets
Linux glue datagrams together on the way in (`UDP_GRO`) and cut them apart on the way out (`UDP_SEGMENT`), and
hands runs of equal datagrams to its receiver. STUN goes to aioice's protocol as before, at once, so that
consent survives load.

It is a `asyncio.DatagramTransport`, so it can stand where aioice expects one. Sending never raises: like the
network, it drops what cannot be sent. Where GSO or GRO is missing or fails it does without, by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tallow_cli.wire.datagram_checks import DTLS_FIRST_BYTES, STUN_LAST_FIRST_BYTE
from tallow_cli.wire.socket_watch import SocketWatch
from tallow_cli.wire.udp_buffers import GrantedBuffers, grow_buffers

# linux/udp.h; the same numbers on every architecture.
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
# linux/in.h, in6.h, errqueue.h
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_DONT: Final = 0
_PMTUDISC_PROBE: Final = 3
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_MSG_ERRQUEUE: Final = 0x2000
_EXTENDED_ERROR: Final = struct.Struct("@IBBBBII")
_GRO_SIZE: Final = struct.Struct("@i")

MAX_DATAGRAM_BYTES: Final = 65535
# Whoever sends data waits for `on_writable`; what is sent all the same, answers to the peer's chunks for one, is not
# kept without end.
MAX_BACKLOG_RUNS: Final = 256
# One wake-up reads at most this many times and bytes, so that timers and STUN on other sockets get their turn: 1 MiB is
# about 3 ms of decrypting.
MAX_READS: Final = 128
MAX_READ_BYTES: Final = 16 * MAX_DATAGRAM_BYTES
# What the handling of a hostile STUN message may raise in aioice beside what it means to. None is known that gets past
# `ice_wall`; the fuzzer holds `stumbles` at 0.
_STUN_ERRORS: Final = (ValueError, KeyError, IndexError, struct.error, AssertionError)

Address = tuple[Any, ...]


class DatagramReceiver(Protocol):
    """Takes the datagrams that carry data."""

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        """A run of datagrams of `segment` bytes each, only the last may be shorter. `run` is valid only
        during the call."""
        ...

    def batch_ended(self) -> None:
        """This wake-up gave all it had: time to act on it."""
        ...

    def port_unreachable(self, address: Address) -> None:
        """The machine at `address` says that nobody listens there (ICMP)."""
        ...


class StunHandler(Protocol):
    """What this transport needs of aioice's protocol."""

    def datagram_received(self, data: bytes, addr: Address) -> None: ...

    def admits(self, addr: Address) -> bool:
        """Whether data from there may be handed on: the address was checked (ICE)."""
        ...

    def connection_lost(self, exc: Exception | None) -> None: ...


@dataclass(slots=True)
class UdpCounters:
    """What happened on one socket, for tests, --verbose and benchmarks."""

    datagrams_received: int = 0
    reads: int = 0
    datagrams_sent: int = 0
    writes: int = 0
    dropped_at_send: int = 0
    dropped_at_receipt: int = 0
    stumbles: int = 0  # of those, the ones aioice raised an error for: checks of ours let them through
    times_blocked: int = 0


class BatchSocket(asyncio.DatagramTransport):
    """Owns `sock` (non-blocking, bound) and watches it on the running loop until `close`.

    `offload`: use GSO and GRO where the system has them. `data_first_bytes`: what datagrams for the receiver begin with
    (RFC 7983); the others are STUN, or dropped. `on_writable` is called when a backlog
    (`is_blocked`) has gone.
    """

    in_datagrams = True

    def __init__(
        self,
        sock: socket.socket,
        stun: StunHandler,
        *,
        offload: bool = True,
        data_first_bytes: bytes = DTLS_FIRST_BYTES,
    ) -> None:
        super().__init__()
        self.counters = UdpCounters()
        self.on_writable: Callable[[], None] | None = None
        self.receiver: DatagramReceiver | None = None
        self._sock = sock
        self._stun = stun
        self._data_first_bytes = data_first_bytes
        self._loop = asyncio.get_running_loop()
        self._closed = False
        # Room for a whole run and one more datagram behind it.
        self._buffer = bytearray(2 * MAX_DATAGRAM_BYTES)
        self._view = memoryview(self._buffer)
        self._backlog: deque[tuple[bytes, int, Address]] = deque()
        self.buffers: GrantedBuffers = grow_buffers(sock)
        self.has_gro = self.has_gso = False
        if offload:
            self.use_offload()
        self.is_ipv6 = sock.family == socket.AF_INET6
        self.sets_dont_fragment = self.set_dont_fragment(True)
        self._watch = SocketWatch(sock, self._ready)
        self.reads_errors = self._watch.survives_errors and _enable_errors(sock)

    def use_offload(self) -> None:
        """Use GSO and GRO from now on, where the system has them."""
        self.has_gro = _enable_gro(self._sock)
        self.has_gso = _supports_gso(self._sock)

    # asyncio.DatagramTransport, for aioice

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self._sock
        if name == "sockname" and not self._closed:
            return self._sock.getsockname()
        return default

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram now, past any backlog, or drop it: for STUN, which repeats itself."""
        if self._closed or addr is None:
            return
        try:
            self._sock.sendto(data, addr)
        except BlockingIOError:
            self.counters.dropped_at_send += 1
        except OSError:
            if not self._sent_at_second_try(data, addr):
                self.counters.dropped_at_send += 1

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching and close the socket. The STUN handler is told from the loop, as asyncio does."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        self._backlog.clear()
        self._sock.close()
        self._loop.call_soon(self._stun.connection_lost, None)

    # Sending

    def set_dont_fragment(self, wanted: bool) -> bool:
        """Set or clear the don't-fragment bit, and whether that was possible.

        Set, the kernel's own idea of the path MTU does not stop us: RFC 8899 wants to find out by itself.
        """
        if self._closed:
            return False
        value = _PMTUDISC_PROBE if wanted else _PMTUDISC_DONT
        if self.is_ipv6:
            return _set(self._sock, socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, value)
        return _set(self._sock, socket.IPPROTO_IP, _IP_MTU_DISCOVER, value)

    @property
    def is_blocked(self) -> bool:
        """The kernel's buffer is full. What is sent now waits here; better to wait for `on_writable`."""
        return bool(self._backlog)

    def send_run(self, run: bytes, segment: int, address: Address) -> None:
        """Send a run of datagrams of `segment` bytes each, the last perhaps shorter: at most 64, 65,000
        bytes.
        """
        if self._closed:
            return
        if self._backlog:
            if len(self._backlog) < MAX_BACKLOG_RUNS:
                self._backlog.append((run, segment, address))
            else:
                self.counters.dropped_at_send += 1
            return
        rest = self._transmit(run, segment, address)
        if rest:
            self.counters.times_blocked += 1
            self._backlog.append((rest, segment, address))
            self._watch.want_writes(True)

    def _transmit(self, run: bytes, segment: int, address: Address) -> bytes:
        """Give the kernel what it takes; returns the rest, empty but for a full buffer."""
        if self.has_gso and len(run) > segment:
            try:
                self._send_glued(run, segment, address)
            except BlockingIOError:
                return run
            except OSError as error:
                return self._after_failed_gso(error, run, segment, address)
            return b""
        return self._transmit_singly(run, segment, address)

    def _send_glued(self, run: bytes, segment: int, address: Address) -> None:
        self._sock.sendmsg([run], [(_SOL_UDP, _UDP_SEGMENT, struct.pack("@H", segment))], 0, address)
        self.counters.writes += 1
        self.counters.datagrams_sent += -(-len(run) // segment)

    def _after_failed_gso(self, error: OSError, run: bytes, segment: int, address: Address) -> bytes:
        """EIO: the device cannot checksum the segments. EINVAL: so too on some kernels, or a segment is above
        the path MTU, which the single datagrams then show. Others are pending errors of earlier datagrams."""
        dropped_before = self.counters.dropped_at_send
        rest = self._transmit_singly(run, segment, address)
        if (
            error.errno in (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP)
            and self.counters.dropped_at_send == dropped_before
        ):
            self.has_gso = False
        return rest

    def _transmit_singly(self, run: bytes, segment: int, address: Address) -> bytes:
        sendto = self._sock.sendto
        counters = self.counters
        for start in range(0, len(run), segment):
            try:
                sendto(run[start : start + segment], address)
            except BlockingIOError:
                return run[start:]
            except OSError as error:
                if error.errno == errno.EMSGSIZE or not self._sent_at_second_try(
                    run[start : start + segment], address
                ):
                    counters.dropped_at_send += 1
                continue
            counters.writes += 1
            counters.datagrams_sent += 1
        return b""

    def _sent_at_second_try(self, datagram: bytes, address: Address) -> bool:
        """After an error that may belong to an earlier datagram: it is reported once."""
        with contextlib.suppress(OSError):
            self._sock.sendto(datagram, address)
            return True
        return False

    def _ready(self) -> None:
        if self._backlog:
            self._writable()
        self._readable()

    def _writable(self) -> None:
        while self._backlog:
            run, segment, address = self._backlog.popleft()
            rest = self._transmit(run, segment, address)
            if rest:
                self._backlog.appendleft((rest, segment, address))
                return
        self._watch.want_writes(False)
        if self.on_writable is not None:
            self.on_writable()

    # Receiving

    def _readable(self) -> None:
        if self._closed:
            return
        if self.has_gro:
            self._read_glued()
        else:
            self._read_singly()
        if self.receiver is not None:
            self.receiver.batch_ended()

    def _read_glued(self) -> None:
        """What the kernel has glued, and what it has not (a relay sends one by one) glued here as in `_read_singly`."""
        filled, segment, sender, taken = 0, 0, None, 0
        for _ in range(MAX_READS):
            if self._closed:
                return
            try:
                size, ancillary, _, address = self._sock.recvmsg_into([self._view[filled:]], 64)
            except BlockingIOError:
                self._read_errors()
                break
            except OSError:
                self._read_errors()
                continue
            its_segment = size
            for level, kind, data in ancillary:
                if level == _SOL_UDP and kind == _UDP_GRO and len(data) >= _GRO_SIZE.size:
                    its_segment = _GRO_SIZE.unpack_from(data)[0]
            self.counters.reads += 1
            if its_segment <= 0:
                continue
            taken += size
            is_last = size == its_segment < segment
            if filled and (address != sender or (its_segment != segment and not is_last)):
                self._hand_on(filled, segment, sender or ())
                self._buffer[:size] = self._buffer[filled : filled + size]
                filled = 0
            if not filled:
                segment, sender = its_segment, address
            filled += size
            if filled % segment or filled + segment > MAX_DATAGRAM_BYTES:
                self._hand_on(filled, segment, sender or ())
                filled = 0
            if taken >= MAX_READ_BYTES:
                break
        if filled and not self._closed:
            self._hand_on(filled, segment, sender or ())

    def _read_singly(self) -> None:
        """Like `_read_glued`, with the gluing done here: datagrams of one size and sender make a run."""
        filled, segment, sender = 0, 0, None
        for _ in range(MAX_READS):
            if self._closed:
                return
            try:
                size, address = self._sock.recvfrom_into(self._view[filled:])
            except BlockingIOError:
                self._read_errors()
                break
            except OSError:
                self._read_errors()
                continue
            self.counters.reads += 1
            if filled and (size > segment or address != sender):
                self._hand_on(filled, segment, sender or ())
                self._buffer[:size] = self._buffer[filled : filled + size]
                filled = 0
            if not filled:
                segment, sender = size, address
            filled += size
            if filled and (size < segment or filled + segment > MAX_DATAGRAM_BYTES):
                self._hand_on(filled, segment, sender or ())
                filled = 0
        if filled:
            self._hand_on(filled, segment, sender or ())

    def _hand_on(self, size: int, segment: int, address: Address) -> None:
        """Demultiplex by the first byte of each datagram (RFC 7983); data is taken from checked addresses only."""
        firsts = self._buffer[0:size:segment]
        self.counters.datagrams_received += len(firsts)
        receiver = self.receiver if self._stun.admits(address) else None
        if receiver is not None and not firsts.translate(None, self._data_first_bytes):
            receiver.datagrams_received(self._view[:size], segment)
            return
        for start in range(0, size, segment):
            end = min(start + segment, size)
            first = self._buffer[start]
            if first <= STUN_LAST_FIRST_BYTE:
                self._receive_stun(bytes(self._view[start:end]), address)
            elif receiver is not None and first in self._data_first_bytes:
                receiver.datagrams_received(self._view[start:end], end - start)
            else:
                self.counters.dropped_at_receipt += 1

    def _receive_stun(self, datagram: bytes, address: Address) -> None:
        try:
            self._stun.datagram_received(datagram, address)
        except _STUN_ERRORS:
            self.counters.dropped_at_receipt += 1
            self.counters.stumbles += 1

    def _read_errors(self) -> None:
        """Empty the socket's error queue (ICMP), or polling would report it for ever."""
        while self.reads_errors and not self._closed:
            try:
                _, ancillary, _, address = self._sock.recvmsg(1, 512, _MSG_ERRQUEUE)
            except OSError:
                return
            if self.receiver is not None and any(
                _is_refusal(level, kind, data, address) for level, kind, data in ancillary
            ):
                self.receiver.port_unreachable(address)


def _is_refusal(level: int, kind: int, data: bytes, address: Address) -> bool:
    """Whether this is ICMP from the machine at `address` itself that the port is unreachable; not what a router or a
    firewall on the way may say."""
    if (level, kind) == (socket.IPPROTO_IP, _IP_RECVERR):
        offender = (socket.AF_INET, 20, 24)  # where its address stands in the sockaddr behind the error
    elif (level, kind) == (socket.IPPROTO_IPV6, _IPV6_RECVERR):
        offender = (socket.AF_INET6, 24, 40)
    else:
        return False
    family, first, end = offender
    if len(data) < end or _EXTENDED_ERROR.unpack_from(data)[0] != errno.ECONNREFUSED:
        return False
    said_by = socket.inet_ntop(family, data[first:end])
    return said_by == str(address[0]).partition("%")[0]


def _set(sock: socket.socket, level: int, option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _enable_gro(sock: socket.socket) -> bool:
    return hasattr(sock, "recvmsg_into") and _set(sock, _SOL_UDP, _UDP_GRO, 1)


def _supports_gso(sock: socket.socket) -> bool:
    # Setting the socket-wide segment size to 0 changes nothing, and fails where the kernel knows no GSO.
    return hasattr(sock, "sendmsg") and _set(sock, _SOL_UDP, _UDP_SEGMENT, 0)


def _enable_errors(sock: socket.socket) -> bool:
    if sock.family == socket.AF_INET6:
        return _set(sock, socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    return _set(sock, socket.IPPROTO_IP, _IP_RECVERR, 1)
