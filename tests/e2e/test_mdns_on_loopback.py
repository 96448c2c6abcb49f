"""Real multicast DNS, on the loopback interface only."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import ip_interface

import pytest
from zeroconf import NotRunningException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from tallow_cli.meeting import mdns
from tallow_cli.meeting.dns_message import Service, answer
from tallow_cli.meeting.interfaces import Interface

pytestmark = pytest.mark.e2e

LOOPBACK = ["127.0.0.1"]


@pytest.fixture
def nameplate() -> str:
    """Other test runs on this machine use the same interface."""
    return str(random.randrange(100_000_000, 1_000_000_000))


@asynccontextmanager
async def advertised(nameplate: str, port: int) -> AsyncIterator[None]:
    task = asyncio.create_task(mdns.advertise(nameplate, port, LOOPBACK))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_an_advertised_nameplate_is_resolved_and_no_other(nameplate: str) -> None:
    async with advertised(nameplate, 1234), asyncio.timeout(10):
        assert await mdns.resolve(nameplate, LOOPBACK) == ["ws://127.0.0.1:1234"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await mdns.resolve(str(int(nameplate) // 10), LOOPBACK)


async def test_who_asks_before_the_announcement_hears_it(nameplate: str) -> None:
    async with asyncio.timeout(10):
        asking = asyncio.create_task(mdns.resolve(nameplate, LOOPBACK))
        await asyncio.sleep(0.3)
        async with advertised(nameplate, 1234):
            assert await asking == ["ws://127.0.0.1:1234"]


async def test_nothing_lists_the_senders(nameplate: str) -> None:
    """Neither a browser of services, who hears the announcements too, nor one of service types."""
    seen: list[str] = []

    def on_change(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        seen.append(name)

    observer = AsyncZeroconf(interfaces=LOOPBACK)
    types = [mdns.SERVICE_TYPE, "_services._dns-sd._udp.local."]
    browser = AsyncServiceBrowser(observer.zeroconf, types, handlers=[on_change])
    try:
        async with advertised(nameplate, 1234):
            await asyncio.sleep(1.5)  # the browser has asked twice
    finally:
        await browser.async_cancel()
        await observer.async_close()
    assert not [name for name in seen if nameplate in name or "tallow" in name]


async def test_leaving_is_quick_and_tells_those_who_were_answered(nameplate: str) -> None:
    with listening() as heard:
        async with asyncio.timeout(10):
            async with advertised(nameplate, 1234):
                await mdns.resolve(nameplate, LOOPBACK)
                leaving = time.perf_counter()
            assert time.perf_counter() - leaving < 0.15
            await asyncio.sleep(0.05)
        answers = [message for message in heard() if message[2] & 0x80 and nameplate.encode() in message]
        assert answers[-1] == answer(service(nameplate, "127.0.0.1"), 0), "goodbye"
    with listening() as heard:
        async with advertised(nameplate, 1234):
            await asyncio.sleep(0.05)
        assert not [message for message in heard() if nameplate.encode() in message], "nobody had asked"


async def test_noise_on_the_group_does_no_harm(nameplate: str) -> None:
    rng = random.Random(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        noise.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK[0]))
        async with advertised(nameplate, 1234), asyncio.timeout(10):
            for _ in range(500):
                noise.sendto(rng.randbytes(rng.randrange(1, 600)), (mdns.GROUP, mdns.PORT))
                await asyncio.sleep(0)
            assert await mdns.resolve(nameplate, LOOPBACK) == ["ws://127.0.0.1:1234"]


def service(nameplate: str, *addresses: str) -> Service:
    return Service(f"{nameplate}.{mdns.SERVICE_TYPE}", f"tallow-{nameplate}.local.", 1234, addresses)


@contextmanager
def listening() -> Iterator[Callable[[], list[bytes]]]:
    """What is said on the group meanwhile."""
    with mdns._ipv4_socket(LOOPBACK[0]) as ear:

        def heard() -> list[bytes]:
            found = []
            with suppress(BlockingIOError):
                while True:
                    found.append(ear.recv(9_000))
            return found

        yield heard


# What is believed


def answered(port: int | None, *addresses: str) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        mdns.SERVICE_TYPE, f"1.{mdns.SERVICE_TYPE}", port=port, parsed_addresses=list(addresses)
    )


def near(*addresses: str) -> tuple[Interface, ...]:
    return (Interface("lan", tuple(map(ip_interface, addresses))),)


def test_only_addresses_of_a_network_this_machine_is_in_are_believed() -> None:
    """An answer must not have us knock at a local service, nor anywhere on the Internet."""
    info = answered(
        80,
        "8.8.8.8",
        "2001:4860::1",
        "fd00::1",
        "192.168.1.2",
        "192.168.2.2",
        "10.0.0.1",
        "fe80::1",
        "127.0.0.1",
        "::1",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
    )
    found = mdns._urls_untrusted(info, near("192.168.1.7/24", "fd00::7/64", "fe80::7/64"))
    assert found == ["ws://192.168.1.2:80", "ws://[fd00::1]:80"]
    assert mdns._urls_untrusted(info, near("192.168.9.7/0")) == [], "a network of everything is none"
    assert mdns._urls_untrusted(info, ()) == []


def test_an_answer_without_a_port_or_with_hundreds_of_addresses_does_no_harm() -> None:
    lan = near("10.0.0.1/24")
    assert mdns._urls_untrusted(answered(0, "10.0.0.1"), lan) == []
    many = answered(1, *(f"10.0.0.{n}" for n in range(1, 200)))
    assert len(mdns._urls_untrusted(many, lan)) == mdns.MAX_ADDRESSES


async def test_zeroconfs_own_errors_become_os_errors(nameplate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> bool:
        raise NotRunningException("stopped")

    monkeypatch.setattr(AsyncServiceInfo, "async_request", fail)
    with pytest.raises(OSError, match="multicast DNS failed: stopped"):
        await mdns.resolve(nameplate, LOOPBACK)
