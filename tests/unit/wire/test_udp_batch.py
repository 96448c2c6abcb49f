"""BatchSocket between real sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tallow_cli.wire.udp_batch import MAX_BACKLOG_RUNS, BatchSocket

STUN_REQUEST = b"\x00\x01" + bytes(18)


class Stun:
    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.lost = asyncio.Event()
        self.strangers: set[tuple[Any, ...]] = set()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.datagrams.append(data)
        if data.endswith(b"bad"):
            raise ValueError

    def admits(self, addr: tuple[Any, ...]) -> bool:
        return addr[:2] not in self.strangers

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Receiver:
    """Cuts runs into datagrams, and says when `count` have come."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.runs: list[int] = []
        self.batches: list[int] = []
        self.unreachable: list[tuple[Any, ...]] = []
        self.changed = asyncio.Event()
        self._in_batch = 0

    def datagrams_received(self, run: memoryview, segment: int) -> None:
        self.datagrams += [bytes(run[n : n + segment]) for n in range(0, len(run), segment)]
        self.runs.append(-(-len(run) // segment))
        self._in_batch += self.runs[-1]

    def batch_ended(self) -> None:
        self.batches.append(self._in_batch)
        self._in_batch = 0
        self.changed.set()

    def port_unreachable(self, address: tuple[Any, ...]) -> None:
        self.unreachable.append(address)
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def pair(
    *, offload: bool = True, family: int = socket.AF_INET
) -> AsyncIterator[tuple[BatchSocket, BatchSocket, Receiver, Stun]]:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    ends: list[BatchSocket] = []
    stuns = [Stun(), Stun()]
    for stun in stuns:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, 0))
        ends.append(BatchSocket(sock, stun, offload=offload))
    receiver = ends[1].receiver = Receiver()
    ends[0].receiver = Receiver()
    try:
        yield ends[0], ends[1], receiver, stuns[1]
    finally:
        for end, stun in zip(ends, stuns, strict=True):
            end.close()
            async with asyncio.timeout(5):
                await stun.lost.wait()


def record(number: int, size: int) -> bytes:
    """Something whose first byte is a DTLS record's."""
    return b"\x17" + number.to_bytes(4, "big") + bytes(size - 5)


def where(end: BatchSocket) -> tuple[Any, ...]:
    address: tuple[Any, ...] = end.get_extra_info("sockname")
    return address[:2]


@pytest.fixture(params=[True, False], ids=["offload", "plain"])
def offload(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_runs_arrive_whole_in_order_and_in_few_batches(offload: bool) -> None:
    async with pair(offload=offload) as (a, b, receiver, _):
        sent = [record(number, 1228) for number in range(200)]
        for start in range(0, 200, 50):
            a.send_run(b"".join(sent[start : start + 50]), 1228, where(b))
        await receiver.until(lambda: len(receiver.datagrams) == 200)
        assert receiver.datagrams == sent
        assert len(receiver.batches) < 50
        assert a.counters.datagrams_sent == b.counters.datagrams_received == 200


async def test_datagrams_that_come_one_by_one_are_handed_on_as_runs(offload: bool) -> None:
    """As a relay sends them."""
    async with pair(offload=offload) as (a, b, receiver, _):
        sizes = [1228] * 30 + [600] + [1228] * 10 + [1400] * 9
        sent = [record(number, size) for number, size in enumerate(sizes)]
        for datagram in sent:
            a.sendto(datagram, where(b))
        await receiver.until(lambda: len(receiver.datagrams) == len(sent))
        assert receiver.datagrams == sent
        assert receiver.runs == [31, 10, 9]


async def test_the_last_of_a_run_may_be_shorter_and_sizes_may_change(offload: bool) -> None:
    async with pair(offload=offload) as (a, b, receiver, _):
        sent: list[bytes] = []
        for size, count, last in ((1228, 5, 40), (600, 3, 600), (1400, 2, 1399), (60, 1, 60), (1400, 4, 7)):
            run = [record(len(sent) + n, size) for n in range(count)] + [record(len(sent) + count, last)]
            sent += run
            a.send_run(b"".join(run), size, where(b))
        await receiver.until(lambda: len(receiver.datagrams) == len(sent))
        assert receiver.datagrams == sent


async def test_datagrams_as_large_as_loopback_carries_are_not_cut(offload: bool) -> None:
    async with pair(offload=offload) as (a, b, receiver, _):
        sent = [record(number, 16384 + 37) for number in range(6)]
        for each in sent:
            a.send_run(each, len(each), where(b))
        await receiver.until(lambda: len(receiver.datagrams) == 6)
        assert receiver.datagrams == sent


async def test_stun_between_data_goes_to_stun_and_bad_stun_harms_nothing(offload: bool) -> None:
    async with pair(offload=offload) as (a, b, receiver, stun):
        for number in range(20):
            a.send_run(record(number, 100), 100, where(b))
            a.sendto(STUN_REQUEST, where(b))
            a.sendto(STUN_REQUEST + b"bad", where(b))
            a.sendto(b"\xffnoise", where(b))
            a.sendto(b"", where(b))
        await receiver.until(lambda: len(receiver.datagrams) == 20 and len(stun.datagrams) == 40)
        assert stun.datagrams == [STUN_REQUEST, STUN_REQUEST + b"bad"] * 20
        assert b.counters.dropped_at_receipt == 40


async def test_stun_hidden_as_the_short_tail_of_a_glued_run_is_found(offload: bool) -> None:
    async with pair(offload=offload) as (a, b, receiver, stun):
        a.send_run(record(0, 100) + record(1, 100) + STUN_REQUEST, 100, where(b))
        await receiver.until(lambda: bool(stun.datagrams))
        assert stun.datagrams == [STUN_REQUEST]
        assert receiver.datagrams == [record(0, 100), record(1, 100)]


async def test_ipv6_works_too(offload: bool) -> None:
    async with pair(offload=offload, family=socket.AF_INET6) as (a, b, receiver, _):
        a.send_run(record(0, 900) + record(1, 900), 900, where(b))
        await receiver.until(lambda: len(receiver.datagrams) == 2)


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
async def test_when_the_route_cannot_do_gso_the_run_is_sent_singly_and_gso_stays_off(
    code: int,
) -> None:
    async with pair() as (a, b, receiver, _):
        if not a.has_gso:
            pytest.skip("no GSO here")

        a._sock = RefusingSocket(a._sock, code)  # type: ignore[assignment]  # a double that refuses runs
        sent = [record(number, 500) for number in range(10)]
        a.send_run(b"".join(sent), 500, where(b))
        assert not a.has_gso
        await receiver.until(lambda: len(receiver.datagrams) == 10)
        assert receiver.datagrams == sent


async def test_a_full_kernel_buffer_keeps_the_rest_in_order_and_says_when_there_is_room(
    offload: bool,
) -> None:
    async with pair(offload=offload) as (a, b, receiver, _):
        a._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        writable = asyncio.Event()
        a.on_writable = writable.set
        blocked = BlockingSocket(a._sock)
        a._sock = blocked  # type: ignore[assignment]
        sent = [record(number, 1000) for number in range(60)]
        a.send_run(b"".join(sent[:20]), 1000, where(b))
        assert a.is_blocked
        a.send_run(b"".join(sent[20:40]), 1000, where(b))
        a.send_run(b"".join(sent[40:]), 1000, where(b))
        blocked.is_full = False
        async with asyncio.timeout(5):
            await writable.wait()
        assert not a.is_blocked
        await receiver.until(lambda: len(receiver.datagrams) == 60)
        assert receiver.datagrams == sent


class RefusingSocket:
    """A socket whose route takes no runs."""

    def __init__(self, sock: socket.socket, code: int) -> None:
        self._sock = sock
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendmsg(self, *_args: Any) -> int:
        raise OSError(self._code, "no")


class BlockingSocket:
    """A socket that takes three datagrams (or no run), then is full until it is told otherwise."""

    def __init__(self, sock: socket.socket) -> None:
        self.is_full = True
        self._sock = sock
        self._taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        self._taken += 1
        if self.is_full and self._taken > 3:
            raise BlockingIOError
        return self._sock.sendto(data, address)

    def sendmsg(self, *args: Any) -> int:
        if self.is_full:
            raise BlockingIOError
        return self._sock.sendmsg(*args)


async def test_the_dont_fragment_bit_is_set_from_the_start_and_can_be_cleared() -> None:
    async with pair() as (a, _, _, _):
        if not a.sets_dont_fragment:
            pytest.skip("not on this system")
        ip_mtu_discover, always_off, probe = 10, 0, 3
        assert a._sock.getsockopt(socket.IPPROTO_IP, ip_mtu_discover) == probe
        assert a.set_dont_fragment(False)
        assert a._sock.getsockopt(socket.IPPROTO_IP, ip_mtu_discover) == always_off


async def test_a_closed_port_is_reported_and_sending_goes_on() -> None:
    async with pair() as (a, b, _, stun):
        if not a.reads_errors:
            pytest.skip("no IP_RECVERR here")
        own = a.receiver
        assert isinstance(own, Receiver)
        address = where(b)
        b.close()
        await stun.lost.wait()
        for _ in range(3):
            a.send_run(record(0, 100), 100, address)
            await own.until(lambda: bool(own.unreachable))
            assert {each[:2] for each in own.unreachable} == {address}
            own.unreachable.clear()


async def test_after_close_sending_is_silent_and_closing_again_harmless() -> None:
    async with pair() as (a, b, _, _):
        address = where(b)
        a.close()
        a.send_run(record(0, 100), 100, address)
        a.sendto(b"x", address)
        a.close()
        assert a.is_closing()


async def test_data_of_strangers_is_dropped_and_their_stun_is_not(offload: bool) -> None:
    async with pair(offload=offload) as (a, b, receiver, stun):
        stun.strangers.add(where(a))
        run = b"".join(record(number, 100) for number in range(10))
        a.send_run(run, 100, where(b))
        a.sendto(STUN_REQUEST, where(b))
        async with asyncio.timeout(5):
            while not stun.datagrams:
                await asyncio.sleep(0.005)
        assert (receiver.datagrams, stun.datagrams, b.counters.dropped_at_receipt) == ([], [STUN_REQUEST], 10)
        stun.strangers.clear()
        a.send_run(run, 100, where(b))
        await receiver.until(lambda: len(receiver.datagrams) == 10)


async def test_what_is_sent_while_the_kernels_buffer_is_full_is_not_kept_without_end() -> None:
    async with pair() as (a, b, _, _):
        a._backlog.append((record(0, 100), 100, where(b)))
        for number in range(2 * MAX_BACKLOG_RUNS):
            a.send_run(record(number, 100), 100, where(b))
        assert len(a._backlog) == MAX_BACKLOG_RUNS
        assert a.counters.dropped_at_send == MAX_BACKLOG_RUNS + 1
