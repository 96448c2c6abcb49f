"""Which of this machine's addresses the system takes for a destination: the source tells the route."""

from __future__ import annotations

import socket


def source_address(destination: tuple[str, int]) -> str | None:
    """The address datagrams to `destination` would come from; None where no route leads there."""
    family = socket.AF_INET6 if ":" in destination[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(destination)
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return None
