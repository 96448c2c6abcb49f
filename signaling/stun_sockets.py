"""The STUN responder on real UDP sockets, beside the server's own and under the same addresses.

Where one socket stands for every address of the machine, an answer leaves from the address its request came to: a NAT
lets nothing else in.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

from signaling.listener import SocketAddress, bound_sockets
from signaling.stun import MAX_REQUEST_BYTES, StunResponder

_AT_A_TIME: Final = 64  # datagrams in one turn of the loop
# `socket` has no names for these; the numbers are those of Linux.
_IP_PKTINFO: Final = 8 if sys.platform == "linux" else None
_IPV6_RECVPKTINFO: Final = getattr(socket, "IPV6_RECVPKTINFO", None)
_IPV6_PKTINFO: Final = getattr(socket, "IPV6_PKTINFO", None)
_ANCILLARY_BYTES: Final = 256
# The control messages that say where a datagram was sent to, and from where to answer.
_WHERE_TO: Final = {(socket.IPPROTO_IP, _IP_PKTINFO), (socket.IPPROTO_IPV6, _IPV6_PKTINFO)}


class StunSockets:
    """Answers on its sockets until `close`. One event loop's."""

    def __init__(self, responder: StunResponder) -> None:
        self._loop = asyncio.get_running_loop()
        self._responder = responder
        self._sockets: list[socket.socket] = []

    def listen(self, addresses: list[SocketAddress], port: int) -> int:
        """Answer at these addresses too, all at one port (0: a free one), which is returned. Raises OSError."""
        bound = bound_sockets(addresses, port, kind=socket.SOCK_DGRAM)
        for each in bound:
            each.setblocking(False)
            _ask_for_destinations(each)
            self._sockets.append(each)
            self._loop.add_reader(each.fileno(), self._readable, each)
        chosen: int = bound[0].getsockname()[1]
        return chosen

    def close(self) -> None:
        for each in self._sockets:
            self._loop.remove_reader(each.fileno())
            each.close()
        self._sockets = []

    def _readable(self, listening: socket.socket) -> None:
        for _ in range(_AT_A_TIME):
            try:
                data, ancillary, flags, source = listening.recvmsg(MAX_REQUEST_BYTES + 1, _ANCILLARY_BYTES)
            except OSError:  # nothing more, or an ICMP error of an earlier answer
                return
            if flags & socket.MSG_TRUNC:
                continue
            reply = self._responder.receive(self._loop.time(), data, str(source[0]), int(source[1]))
            if reply is None:
                continue
            back = [each for each in ancillary if (each[0], each[1]) in _WHERE_TO]
            try:
                listening.sendmsg([reply], back, 0, source)
            except OSError:  # it is a datagram: whoever asked asks again
                continue


def _ask_for_destinations(listening: socket.socket) -> None:
    """Have the system say to which of this machine's addresses a datagram came, where it can."""
    host = listening.getsockname()[0]
    if listening.family == socket.AF_INET6 and host == "::" and _IPV6_RECVPKTINFO is not None:
        listening.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    elif listening.family == socket.AF_INET and host == "0.0.0.0" and _IP_PKTINFO is not None:  # noqa: S104
        listening.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
