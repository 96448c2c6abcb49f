"""UDP sockets on ports of somebody's choice: where a firewall lets in a few, these are the only ones of use."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from tallow_cli.errors import BadOption


def bound_socket(address: str, ports: tuple[int, int] | None) -> socket.socket:
    """A UDP socket on this address and the first free of these ports, both ends included; None: any. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        first, last = ports or (0, 0)
        for port in range(first, last + 1):
            try:
                sock.bind((address, port))
            except OSError as error:
                if port == last or error.errno != errno.EADDRINUSE:
                    raise
            else:
                break
    except OSError:
        sock.close()
        raise
    return sock


def explain_ports(ports: tuple[int, int], problems: Sequence[OSError]) -> None:
    """Why none of them could be bound, if that is because of the ports. Raises BadOption."""
    first, last = ports
    reasons = {error.errno for error in problems}
    which = f"port {first}" if first == last else f"the ports {first}-{last}"
    if errno.EADDRINUSE in reasons:
        busy = f"{which} is in use" if first == last else f"all of {which} are in use"
        raise BadOption("--udp-ports", f"{busy} by other programs; name others, or more")
    if errno.EACCES in reasons or errno.EPERM in reasons:
        raise BadOption("--udp-ports", f"only root may use {which} here; name ports from 1024 on")
