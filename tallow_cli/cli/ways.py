"""The options about the network, the same way for every command: what may lead to the other side, and what may not.

What cannot work is found before a code is shown or spent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tallow_cli.cli.options import ports_option
from tallow_cli.errors import BadOption
from tallow_cli.link.ice_servers import ice_servers

if TYPE_CHECKING:
    from tallow_cli.session.settings import LinkSettings

PASSWORD: Final = "TALLOW_ICE_PASSWORD"  # noqa: S105  # the name of a variable
_LOOPBACK: Final = ("127.0.0.1", "::1")


def with_ways(
    link: LinkSettings,
    variables: Mapping[str, str],
    *,
    interface: str | None,
    udp_ports: str | None,
    servers: Sequence[str] | None = None,
    ice_user: str | None = None,
    ice_user_typed: bool = True,
    relay_only: bool = False,
) -> LinkSettings:
    """`link` with what these options say. Raises BadOption, also for what this machine does not have."""
    ports = ports_option("--udp-ports", udp_ports)
    if interface is not None or ports is not None:
        _check_here(interface, ports)
    return replace(
        link,
        interface=interface,
        udp_ports=ports,
        ice_servers=ice_servers(
            _each(servers),
            ice_user,
            variables.get(PASSWORD) or None,
            just_said=ice_user_typed,
        ),
        relay_only=relay_only,
    )


def check_relay_only(link: LinkSettings, server: str | None, otherwise: str) -> None:
    """Without a server somewhere else, finding each other shows an address: `otherwise` says how. Raises BadOption."""
    if link.relay_only and server is None:
        raise BadOption(
            "--relay-only", f"{otherwise} would show this machine's address; name a server by --server"
        )


def _each(servers: Sequence[str] | None) -> list[str]:
    """A variable holds them all, between spaces or commas."""
    return [url for text in servers or () for url in re.split(r"[\s,]+", text.strip(" ,")) if url]


def _check_here(interface: str | None, ports: tuple[int, int] | None) -> None:
    from tallow_cli.meeting.own_addresses import own_addresses
    from tallow_cli.webrtc.udp_ports import bound_socket, explain_ports

    addresses = own_addresses(interface=interface) or _LOOPBACK
    problems = []
    for address in addresses:
        try:
            bound_socket(address, ports).close()
        except OSError as error:
            problems.append(error)
        else:
            return
    if ports is not None:
        explain_ports(ports, problems)
