"""The emulated link as a process: `python -m tallow_cli.bench.link_process`.

    parent → link    LinkProcessSettings, one JSON line
    link → parent    {"event": "ports", "address": …, "facing_sender": …, "facing_receiver": …}
    link → parent    {"event": "counters", "forward": …, "back": …}, once standard input ends

Each benchmark process is told one of the two ports in place of the other's addresses, so that all of STUN, DTLS
and SCTP passes through here. A port serves whoever of this machine speaks to it first, and nobody else.

One thread and `select`: its timeouts are as fine as the clock, where epoll's are whole milliseconds, and asyncio
would cost more than the datagrams do.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tallow_cli.bench.emulated_link import LinkCounters, LinkSpec, counters_of
from tallow_cli.bench.process import leave_ctrl_c_to_parent, say
from tallow_cli.meeting.addresses import primary_address
from tallow_cli.netem.link import IP_UDP_OVERHEAD_BYTES, Link
from tallow_cli.wire.udp_buffers import grow_buffers

_LOOPBACK: Final = "127.0.0.1"
# How many datagrams to read before looking whether others are due: 64 take about half a millisecond.
_BATCH: Final = 64
# How long the end of standard input may stay unnoticed.
_LONGEST_WAIT_S: Final = 0.05
_LARGEST_DATAGRAM: Final = 65536

# Linux, asm-generic/socket.h and linux/sock_diag.h: nine counters of a socket, the last one its drops.
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=9I")

Address = tuple[str, int]
Say = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class LinkProcessSettings:
    """What the process is told."""

    spec: LinkSpec
    seed: int


class End:
    """The socket that one benchmark process speaks to. Close it."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((address, 0))
        self.sock.setblocking(False)
        grow_buffers(self.sock)
        self._address = address
        self._peer: Address | None = None
        self.unsent = 0  # datagrams that the kernel did not take
        self._buffer = memoryview(bytearray(_LARGEST_DATAGRAM))

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    def read_into(self, link: Link) -> None:
        """Offer what waits to be read to the link that leads away from here."""
        recvfrom_into, buffer = self.sock.recvfrom_into, self._buffer
        for _ in range(_BATCH):
            try:
                length, source = recvfrom_into(buffer)
            except BlockingIOError:
                return
            except OSError:  # Windows reports here that an earlier datagram found nobody
                continue
            if source == self._peer or self._is_met(source):
                link.send(time.monotonic(), bytes(buffer[:length]), length + IP_UDP_OVERHEAD_BYTES)

    def _is_met(self, source: Address) -> bool:
        """Whether this is the first to speak; then it is the peer from now on."""
        if self._peer is not None or self._address not in (source[0], _LOOPBACK):
            return False
        self._peer = source
        return True

    def write_from(self, link: Link) -> None:
        """Send what has arrived at this end. As on any path, what nobody takes is lost."""
        for datagram in link.receive(time.monotonic()):
            if self._peer is not None:
                try:
                    self.sock.sendto(datagram, self._peer)
                except OSError:
                    self.unsent += 1

    def close(self) -> None:
        self.sock.close()

    def overrun(self) -> int:
        """How many datagrams the kernel dropped because they were not read in time; 0 where it does not say."""
        if sys.platform != "linux":
            return 0
        drops: int = _MEMINFO.unpack(self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8]
        return drops


def emulate(settings: LinkProcessSettings, stopping: threading.Event, say: Say = say) -> None:
    """Say the two ports, carry datagrams between them until told to stop, and say what was done."""
    address = primary_address() or _LOOPBACK
    with closing(End(address)) as sender, closing(End(address)) as receiver:
        say("ports", {"address": address, "facing_sender": sender.port, "facing_receiver": receiver.port})
        forward, back = _carry(settings, sender, receiver, stopping)
    say("counters", msgspec.to_builtins({"forward": forward, "back": back}))


def _carry(
    settings: LinkProcessSettings, sender: End, receiver: End, stopping: threading.Event
) -> tuple[LinkCounters, LinkCounters]:
    rng = random.Random(settings.seed)
    forward, back = (
        Link(settings.spec.config, random.Random(rng.random()), keeps_delays=False) for _ in range(2)
    )
    while not stopping.is_set():
        sender.read_into(forward)
        receiver.read_into(back)
        receiver.write_from(forward)
        sender.write_from(back)
        select.select((sender.sock, receiver.sock), (), (), _wait_s(forward, back))
    return (
        counters_of(forward.stats, sender.overrun() + receiver.unsent),
        counters_of(back.stats, receiver.overrun() + sender.unsent),
    )


def _wait_s(*links: Link) -> float:
    due = [link.next_timeout() for link in links]
    left = min((at for at in due if at is not None), default=float("inf")) - time.monotonic()
    return min(max(left, 0.0), _LONGEST_WAIT_S)


def main() -> None:
    """The process. It ends with its parent, not with the Ctrl-C that the parent has to deal with first."""
    leave_ctrl_c_to_parent()
    settings = msgspec.json.decode(sys.stdin.readline(), type=LinkProcessSettings)
    stopping = threading.Event()

    def stop_with_parent() -> None:
        sys.stdin.read()
        stopping.set()

    threading.Thread(target=stop_with_parent, daemon=True).start()
    emulate(settings, stopping)


if __name__ == "__main__":
    main()
