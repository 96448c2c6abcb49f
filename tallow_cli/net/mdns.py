"""How two machines on one network find each other: `<nameplate>._tallow._tcp.local.` by multicast DNS (RFC 6762, 6763).

Importing zeroconf (50 ms of CPU) happens in a thread, so that neither side's event loop stands still for it.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tallow_cli.net.server_url import server_url

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

SERVICE_TYPE = "_tallow._tcp.local."
HOST_TTL_S = 120  # RFC 6762 section 10
MAX_ADDRESSES = 16  # believed of one answer
QUERY_S = 3.0  # zeroconf asks at once and then every second
RETRY_PAUSE_S = 0.25


async def advertise(nameplate: str, port: int, interfaces: Sequence[str] | None) -> None:
    """Answer for the nameplate until cancelled. `interfaces`: their addresses; None: all but loopback.

    Cancelling says goodbye once and takes milliseconds (RFC 6762 wants a repetition; a record that outlives its
    sender costs its finder one refused connection). Raises OSError where multicast does not work.
    """
    await _load_zeroconf()
    from zeroconf.asyncio import AsyncServiceInfo

    addresses = list(interfaces) if interfaces is not None else _addresses_of_this_machine()
    async with _zeroconf(interfaces) as mdns:
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            f"{nameplate}.{SERVICE_TYPE}",
            port=port,
            server=f"tallow-{nameplate}.local.",
            host_ttl=HOST_TTL_S,
            other_ttl=HOST_TTL_S,
            parsed_addresses=addresses,
        )
        # The number is random, so probing for a conflict first (0.9 s) would only delay.
        announcing = asyncio.ensure_future(
            await mdns.async_register_service(info, cooperating_responders=True)
        )
        try:
            await announcing
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            announcing.cancel()
            farewell = asyncio.ensure_future(await mdns.async_unregister_service(info))
            await asyncio.sleep(0)  # it sends at once, then would repeat for 250 ms
            farewell.cancel()
            await asyncio.gather(announcing, farewell, return_exceptions=True)


async def resolve(nameplate: str, interfaces: Sequence[str] | None) -> list[str]:
    """The ws:// URLs of whoever answers for the nameplate, likeliest first. Asks until cancelled.

    Raises OSError where multicast does not work.
    """
    await _load_zeroconf()
    from zeroconf.asyncio import AsyncServiceInfo

    async with _zeroconf(interfaces) as mdns:
        while True:
            info = AsyncServiceInfo(SERVICE_TYPE, f"{nameplate}.{SERVICE_TYPE}")
            if await info.async_request(mdns.zeroconf, QUERY_S * 1_000) and (urls := _urls_untrusted(info)):
                return urls
            await asyncio.sleep(RETRY_PAUSE_S)


def _urls_untrusted(info: AsyncServiceInfo) -> list[str]:
    """Of an answer anybody on the network may have given. A URL has no place for the zone of IPv6 link-local."""
    if not info.port:
        return []
    parsed = [ipaddress.ip_address(text) for text in info.parsed_addresses()[:MAX_ADDRESSES]]
    usable = [
        a for a in parsed if not (a.is_multicast or a.is_unspecified or (a.version == 6 and a.is_link_local))
    ]
    usable.sort(key=lambda a: (not a.is_loopback, a.version, not a.is_private))
    return [server_url(str(address), info.port) for address in usable]


@asynccontextmanager
async def _zeroconf(interfaces: Sequence[str] | None) -> AsyncIterator[AsyncZeroconf]:
    """Raises OSError, also for what zeroconf has errors of its own."""
    from zeroconf import Error, InterfaceChoice
    from zeroconf.asyncio import AsyncZeroconf

    mdns = AsyncZeroconf(interfaces=InterfaceChoice.All if interfaces is None else list(interfaces))
    try:
        yield mdns
    except Error as error:
        raise OSError(f"multicast DNS failed: {error}") from error
    finally:
        await mdns.async_close()


async def _load_zeroconf() -> None:
    await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")


def _addresses_of_this_machine() -> list[str]:
    """Those another machine may reach. Raises OSError if there is none."""
    import ifaddr

    found = [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    reachable = [str(a) for a in addresses if not a.is_loopback and not (a.version == 6 and a.is_link_local)]
    if not reachable:
        raise OSError(errno.ENETUNREACH, "this machine is on no network")
    return reachable
