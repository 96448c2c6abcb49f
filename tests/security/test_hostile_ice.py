"""STUN servers that lie, and peers that list addresses which are not theirs: bounded, never stuck, never a traceback.

Real sockets on this machine. TURN servers: tests/security/test_relay_in_the_path.py.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aioice import stun

from tallow_cli.errors import NoPathError, PeerProtocolError
from tallow_cli.link.description import MAX_CANDIDATES, CandidateInfo, decode_untrusted, encode
from tallow_cli.link.link import IceServer, LinkOptions
from tests.support.link_end import TIMEOUT_S, LinkEnd, two_links

Answer = Callable[[bytes], bytes]
_COOKIE = 0x2112_A442


def success(request: bytes, *attributes: tuple[int, bytes], kind: int = 0x0101) -> bytes:
    body = b"".join(
        struct.pack("!HH", number, len(value)) + value + b"\0" * (-len(value) % 4)
        for number, value in attributes
    )
    return struct.pack("!HHI", kind, len(body), _COOKIE) + request[8:20] + body


def mapped(address: str, port: int, *, family: int | None = None) -> Answer:
    """XOR-MAPPED-ADDRESS with this in it."""
    version = 6 if ":" in address else 4

    def answer(request: bytes) -> bytes:
        packed = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address)
        key = struct.pack("!I", _COOKIE) + request[8:20]
        hidden = bytes(a ^ b for a, b in zip(packed, key, strict=False))
        first = struct.pack("!BBH", 0, family or (2 if version == 6 else 1), port ^ (_COOKIE >> 16))
        return success(request, (0x0020, first + hidden))

    return answer


def error(code: int, *more: tuple[int, bytes]) -> Answer:
    first = struct.pack("!HBB", 0, code // 100, code % 100) + b"no"
    return lambda request: success(request, (0x0009, first), *more, kind=0x0111)


HERE = struct.pack("!BBH4B", 0, 1, 3478, 127, 0, 0, 1)
LIES: dict[str, Answer] = {
    "port 0": mapped("192.0.2.9", 0),
    "multicast": mapped("224.0.0.251", 5353),
    "broadcast": mapped("255.255.255.255", 9),
    "nowhere": mapped("0.0.0.0", 9),
    "the other family": mapped("2001:db8::9", 9),
    "a family that is none": mapped("192.0.2.9", 9, family=7),
    "IPv6's family for four bytes": mapped("192.0.2.9", 9, family=2),
    "IPv4's family for sixteen bytes": mapped("2001:db8::9", 9, family=1),
    "an attribute cut off": lambda request: success(request, (0x0020, b"\0\1\0")),
    "no attribute": success,
    "only what is not hidden": lambda request: success(request, (0x0001, struct.pack("!BBH4B", 0, 1, 9, 192, 0, 2, 9))),
    "400": error(400),
    "401": error(401, (0x0014, b"realm"), (0x0015, b"nonce")),
    "300 Try Alternate to itself": error(300, (0x8023, HERE)),
    "500": error(500),
    "an error without a code": lambda request: success(request, kind=0x0111),
    "the request itself": lambda request: request,
    "a number that was not asked": lambda request: mapped("192.0.2.9", 9)(request[:8] + b"x" * 12),
    "nothing": lambda _request: b"",
    "a header and no end": lambda request: request[:20] + b"\x80\x22\xff\xff",
    "64 KiB of it": lambda request: success(request, *[(0x8022, b"x" * 700)] * 90),
}  # fmt: skip


class Liar(asyncio.DatagramProtocol):
    """Answers each request many times."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for _ in range(20):
            self.transport.sendto(self._answer(data), addr)


@asynccontextmanager
async def no_complaints() -> AsyncIterator[None]:
    """Nothing is left to the event loop to print."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    await asyncio.sleep(0.02)
    assert complaints == []


async def test_a_stun_server_that_lies_costs_a_second_and_adds_no_address() -> None:
    loop = asyncio.get_running_loop()

    async def told(answer: Answer) -> tuple[list[str], str]:
        server, _ = await loop.create_datagram_endpoint(lambda: Liar(answer), local_addr=("127.0.0.1", 0))
        url = f"stun:127.0.0.1:{server.get_extra_info('sockname')[1]}"
        options = LinkOptions(ice_servers=(IceServer(url),), own_addresses=("127.0.0.1",))
        end = await LinkEnd.prepare("host", options)
        try:
            described = decode_untrusted(encode(end.description))
            return [each.type for each in described.candidates], described.survey.stun
        finally:
            await end.close()
            server.close()

    async with no_complaints(), asyncio.timeout(20):
        results = await asyncio.gather(*map(told, LIES.values()))
    assert dict(zip(LIES, results, strict=True)) == dict.fromkeys(LIES, (["host"], "silent"))


def evil(address: str, port: int, number: int = 0) -> CandidateInfo:
    return CandidateInfo(
        address, port, "srflx" if number % 2 else "host", (1 << 31) - 1 - number, f"evil{number}"
    )


@pytest.mark.parametrize(
    "address",
    ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::", "fe80::1%eth0", "example.com", "1"],
)
def test_addresses_that_no_machine_has_end_the_session(address: str) -> None:
    with pytest.raises(PeerProtocolError):
        decode_untrusted(encode(_description(evil(address, 9))))


def test_thousands_of_addresses_end_the_session_before_any_is_tried() -> None:
    many = [evil(f"10.{n >> 8}.{n & 255}.1", 9, n) for n in range(MAX_CANDIDATES + 1)]
    with pytest.raises(PeerProtocolError):
        decode_untrusted(encode(_description(*many)))


def _description(*candidates: CandidateInfo) -> Any:
    from tests.unit.link.test_description import description

    return description(candidates=candidates)


async def test_addresses_of_others_are_checked_ten_times_at_most_and_the_peer_is_found_all_the_same() -> None:
    async with no_complaints(), two_links(connect=False) as (a, b):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
            victim.bind(("127.0.0.1", 0))
            victim.setblocking(False)
            port = victim.getsockname()[1]
            others = [
                evil("127.0.0.1", port, 0),
                evil("127.255.255.255", 9, 1),  # a network's broadcast address
                evil("127.0.0.1", 53, 2),
                evil("127.0.0.1", 1, 3),
                evil("::ffff:127.0.0.1", port, 4),
                evil("240.0.0.1", 9, 5),
                evil("192.0.2.1", 9, 6),
                evil("2001:db8::1", 9, 7),
            ]
            listed = msgspec.structs.replace(b.description, candidates=(*others, *b.description.candidates))
            await asyncio.gather(
                a.connect(decode_untrusted(encode(listed)), TIMEOUT_S),
                b.connect(decode_untrusted(encode(a.description)), TIMEOUT_S),
            )
            seen = []
            while True:
                try:
                    seen.append(victim.recv(2_048))
                except BlockingIOError:
                    break
        sockets = len(a.ice._connection._protocols)
        assert len(seen) <= 10 * sockets
        assert all(
            len(each) < 200 and stun.parse_message(each).message_method == stun.Method.BINDING
            for each in seen
        )


async def test_a_peer_with_nothing_but_lies_is_no_path_and_each_of_them_is_counted() -> None:
    async with no_complaints(), two_links(connect=False) as (a, b):
        lies = [evil(f"192.0.2.{n}", 9, n) for n in range(1, MAX_CANDIDATES + 1)]
        listed = msgspec.structs.replace(b.description, candidates=tuple(lies))
        with pytest.raises(NoPathError) as refused:
            await a.connect(decode_untrusted(encode(listed)), 1.5)
        found = refused.value.findings
        assert found is not None
        checks = found["checks"]
        assert isinstance(checks, dict)
        assert (checks["answered"], checks["heard"]) == (0, False)
        assert checks["pairs"] <= 100
