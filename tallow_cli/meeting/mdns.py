"""How two machines on one network find each other: `<nameplate>._tallow._tcp.local.` by multicast DNS (RFC 6762, 6763).

The sender answers for that name and for no other. It announces nothing and lists nothing: whoever does not know the
number learns neither that nor that somebody sends, and on each interface only that interface's own addresses are
told. Our own few lines answer, because a general responder has to list its services (RFC 6763 section 4).

The receiver asks with zeroconf, whose import (50 ms of CPU) happens in a thread so that the event loop goes on.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import ipaddress
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from tallow_cli.meeting.dns_message import MAX_MESSAGE_BYTES, Service, answer, asks_for, questions_untrusted
from tallow_cli.meeting.interfaces import (
    Interface,
    interfaces,
    is_for_neighbours,
    is_usable,
    link_local_in,
)
from tallow_cli.meeting.server_url import server_url

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

SERVICE_TYPE = "_tallow._tcp.local."
GROUP, GROUP_IPV6, PORT = "224.0.0.251", "ff02::fb", 5353
TTL_S = 120  # RFC 6762 section 10, for records that hold a host's name
ANSWER_INTERVAL_S = 1.0  # RFC 6762 section 6: no record more often on one interface
RESCAN_S = 5.0  # for interfaces that came and went: a laptop changes its network while it waits
MAX_ADDRESSES = 16  # believed of one answer
QUERY_S = 3.0  # zeroconf asks at once and then every second
RETRY_PAUSE_S = 0.25
_READS = 16  # datagrams taken in one turn of the loop
_IPV6_MULTICAST_ALL = 29  # <linux/in6.h>
_IP_MULTICAST_ALL = 49  # <linux/in.h>: what other sockets have joined is not for this one


async def advertise(nameplate: str, port: int, named: Sequence[str] | None, *, public: bool = False) -> None:
    """Answer for the nameplate until cancelled.

    `named` limits it to these addresses and their interfaces; None is all but loopback. Addresses of the Internet are
    told only if the server listens there (`public`). Cancelling says goodbye, to those who were answered.
    Raises OSError where multicast does not work.
    """
    responder = _Responder(nameplate, port, named, public)
    try:
        if not responder.follow_interfaces():
            raise responder.problem or OSError(errno.ENETUNREACH, "this machine is on no network")
        while True:
            await asyncio.sleep(RESCAN_S)
            responder.follow_interfaces()
    finally:
        responder.close()


class _Responder:
    def __init__(self, nameplate: str, port: int, named: Sequence[str] | None, public: bool) -> None:
        self.problem: OSError | None = None  # why the last interface that could not be used could not
        self._nameplate = nameplate
        self._port = port
        self._named = None if named is None else tuple(named)
        self._public = public
        self._ears: dict[Interface, list[_Ear]] = {}

    def follow_interfaces(self) -> bool:
        """Listen on those there are now; whether there is one."""
        present = set(interfaces(self._named))
        for interface in set(self._ears) - present:
            _close(self._ears.pop(interface))
        for interface in present - set(self._ears):
            if ears := self._ears_on(interface):
                self._ears[interface] = ears
        return bool(self._ears)

    def close(self) -> None:
        for ears in self._ears.values():
            _close(ears)
        self._ears.clear()

    def _ears_on(self, interface: Interface) -> list[_Ear]:
        """One for each family that the interface has: a network may carry either alone."""
        service = self._service(interface)
        if not service.addresses:
            return []
        ears = []
        groups: list[tuple[str, Callable[[], socket.socket]]] = []
        if interface.ipv4 is not None:
            groups.append((GROUP, partial(_ipv4_socket, interface.ipv4)))
        if interface.has_ipv6 and interface.index:
            groups.append((GROUP_IPV6, partial(_ipv6_socket, interface.index)))
        for group, made in groups:
            try:
                ears.append(_Ear(made(), group, service))
            except OSError as error:
                self.problem = error
        return ears

    def _service(self, interface: Interface) -> Service:
        told = [each.ip for each in interface.addresses if is_usable(each.ip)]
        if self._named is not None:
            told = [ip for ip in told if str(ip) in self._named]
        elif not self._public:
            told = [ip for ip in told if is_for_neighbours(ip)] + link_local_in(interface)
        return Service(
            name=f"{self._nameplate}.{SERVICE_TYPE}",
            host=f"tallow-{self._nameplate}.local.",
            port=self._port,
            addresses=[str(ip) for ip in told],
        )


class _Ear:
    """Hears the questions to a group on one interface and answers there. Takes over the socket."""

    def __init__(self, heard: socket.socket, group: str, service: Service) -> None:
        self._service = service
        self._answer = answer(service, TTL_S)
        self._answered_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._socket = heard
        self._group = group
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        if self._answered_at is not None:
            self._send(answer(self._service, 0))
        self._socket.close()

    def _readable(self) -> None:
        with suppress(BlockingIOError, InterruptedError):
            for _ in range(_READS):
                self._heard(self._socket.recv(MAX_MESSAGE_BYTES))

    def _heard(self, message: bytes) -> None:
        now = self._loop.time()
        if self._answered_at is not None and now - self._answered_at < ANSWER_INTERVAL_S:
            return
        if any(asks_for(question, self._service) for question in questions_untrusted(message)):
            self._answered_at = now
            self._send(self._answer)

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # the interface may have gone; who asked asks again
            self._socket.sendto(message, (self._group, PORT))


def _close(ears: Sequence[_Ear]) -> None:
    for ear in ears:
        ear.close()


@contextmanager
def _shared_socket(family: socket.AddressFamily) -> Iterator[socket.socket]:
    """A socket whose port others may have too; closed if what is done with it fails."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # On Linux a group of sockets that share a port by SO_REUSEPORT may get a datagram once, and the ear of another
        # interface would have it; SO_REUSEADDR is enough there.
        if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield made
    except OSError:
        made.close()
        raise


def _ipv4_socket(interface: str) -> socket.socket:
    """A socket that hears the group on the interface with this address and speaks to it there. Raises OSError."""
    ours = socket.inet_aton(interface)
    with _shared_socket(socket.AF_INET) as made:
        if sys.platform == "linux":
            made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        # Bound to the group, it takes no unicast datagram from the other responders of this machine.
        made.bind((GROUP if sys.platform == "linux" else "", PORT))
        made.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(GROUP), ours)
        )
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, ours)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)  # RFC 6762 section 11
        made.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1
        )  # another user of this machine may ask
        return made


def _ipv6_socket(index: int) -> socket.socket:
    """As `_ipv4_socket`, on the interface of this number (RFC 3493 section 5.2)."""
    with _shared_socket(socket.AF_INET6) as made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "linux":
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        made.bind((GROUP_IPV6 if sys.platform == "linux" else "", PORT, 0, index))
        group = socket.inet_pton(socket.AF_INET6, GROUP_IPV6) + struct.pack("@I", index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        return made


async def resolve(nameplate: str, named: Sequence[str] | None) -> list[str]:
    """The ws:// URLs of whoever answers for the nameplate, likeliest first. Asks until cancelled.

    `named` limits it to the interfaces with these addresses. Raises OSError where multicast does not work.
    """
    await _load_zeroconf()
    from zeroconf.asyncio import AsyncServiceInfo

    async with _zeroconf(named) as mdns:
        while True:
            info = AsyncServiceInfo(SERVICE_TYPE, f"{nameplate}.{SERVICE_TYPE}")
            if await info.async_request(mdns.zeroconf, QUERY_S * 1_000):
                near = interfaces(None if named is None else tuple(named))
                if urls := _urls_untrusted(info, near):
                    return urls
            await asyncio.sleep(RETRY_PAUSE_S)


def _urls_untrusted(info: AsyncServiceInfo, near: Sequence[Interface]) -> list[str]:
    """Of an answer anybody on the network may have given: only addresses in a network that this machine is in too.

    So nobody can have us knock at a server elsewhere, nor (unless loopback is among `near`) at one of our own.
    """
    if not info.port:
        return []
    parsed = [ipaddress.ip_address(text) for text in info.parsed_scoped_addresses()[:MAX_ADDRESSES]]
    networks = [each.network for interface in near for each in interface.addresses if each.network.prefixlen]
    usable = [a for a in parsed if is_usable(a) and any(a in network for network in networks)]
    usable.sort(key=lambda a: a.version)
    indexes = {str(interface.index) for interface in near if interface.has_ipv6}
    zoned = [
        a
        for a in parsed
        if isinstance(a, ipaddress.IPv6Address) and a.is_link_local and a.scope_id in indexes
    ]
    return [server_url(str(address), info.port) for address in (*usable, *zoned)]


@asynccontextmanager
async def _zeroconf(named: Sequence[str] | None) -> AsyncIterator[AsyncZeroconf]:
    """Raises OSError, also for what zeroconf has errors of its own."""
    from zeroconf import Error, InterfaceChoice, IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    if named is not None:
        mdns = AsyncZeroconf(interfaces=list(named))
    else:
        near = interfaces()
        has_ipv4, has_ipv6 = any(each.ipv4 for each in near), any(each.has_ipv6 for each in near)
        both = IPVersion.All if has_ipv4 else IPVersion.V6Only
        mdns = AsyncZeroconf(
            interfaces=InterfaceChoice.All, ip_version=both if has_ipv6 else IPVersion.V4Only
        )
    try:
        yield mdns
    except Error as error:
        raise OSError(f"multicast DNS failed: {error}") from error
    finally:
        await mdns.async_close()


async def _load_zeroconf() -> None:
    await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
