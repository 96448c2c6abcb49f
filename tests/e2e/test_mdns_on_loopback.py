"""Real multicast DNS, on the loopback interface only."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from zeroconf import NotRunningException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from tallow_cli.net import mdns

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


async def test_leaving_says_goodbye_and_is_quick(nameplate: str) -> None:
    """The 250 ms that zeroconf takes to repeat its goodbye would be felt at the end of every transfer."""
    changes: asyncio.Queue[ServiceStateChange] = asyncio.Queue()

    def on_change(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if name == f"{nameplate}.{mdns.SERVICE_TYPE}":
            changes.put_nowait(state_change)

    observer = AsyncZeroconf(interfaces=LOOPBACK)
    browser = AsyncServiceBrowser(observer.zeroconf, mdns.SERVICE_TYPE, handlers=[on_change])
    try:
        async with asyncio.timeout(10):
            async with advertised(nameplate, 1234):
                assert await changes.get() is ServiceStateChange.Added
                leaving = time.perf_counter()
            assert time.perf_counter() - leaving < 0.15
            while await changes.get() is not ServiceStateChange.Removed:
                pass
    finally:
        await browser.async_cancel()
        await observer.async_close()


def answer(port: int | None, *addresses: str) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        mdns.SERVICE_TYPE, f"1.{mdns.SERVICE_TYPE}", port=port, parsed_addresses=list(addresses)
    )


def test_an_answer_is_put_in_order_and_what_leads_nowhere_left_out() -> None:
    info = answer(
        80,
        "8.8.8.8",
        "2001:4860::1",
        "192.168.1.2",
        "fe80::1",
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
        "fd00::1",
    )
    assert mdns._urls_untrusted(info) == [
        "ws://127.0.0.1:80",
        "ws://192.168.1.2:80",
        "ws://8.8.8.8:80",
        "ws://[fd00::1]:80",
        "ws://[2001:4860::1]:80",
    ]


def test_an_answer_without_a_port_or_with_hundreds_of_addresses_does_no_harm() -> None:
    assert mdns._urls_untrusted(answer(0, "192.0.2.1")) == []
    assert len(mdns._urls_untrusted(answer(1, *(f"10.0.0.{n}" for n in range(1, 200))))) == mdns.MAX_ADDRESSES


async def test_zeroconfs_own_errors_become_os_errors(nameplate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> bool:
        raise NotRunningException("stopped")

    monkeypatch.setattr(AsyncServiceInfo, "async_request", fail)
    with pytest.raises(OSError, match="multicast DNS failed: stopped"):
        await mdns.resolve(nameplate, LOOPBACK)
