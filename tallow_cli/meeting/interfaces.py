"""This machine's network interfaces, and which of their addresses are for neighbours and which for the whole world."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressInNetwork = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Interface:
    """One network card, real or virtual. Its addresses carry the length of their network's prefix."""

    name: str
    addresses: tuple[AddressInNetwork, ...]
    index: int = 0  # the system's number of it, by which its calls for IPv6 multicast name it; 0: not known

    @property
    def has_ipv6(self) -> bool:
        return any(each.version == 6 for each in self.addresses)

    @property
    def ipv4(self) -> str | None:
        """The address by which the system's calls for IPv4 multicast name it."""
        return next((str(each.ip) for each in self.addresses if each.version == 4), None)


def interfaces(named: tuple[str, ...] | None = None) -> tuple[Interface, ...]:
    """All that have addresses but loopback; or those that have one of the addresses `named`, whatever they are."""
    import ifaddr

    found = []
    for adapter in ifaddr.get_adapters():
        addresses = tuple(_in_network(ip.ip, ip.network_prefix) for ip in adapter.ips)
        if named is not None:
            chosen = any(str(each.ip) in named for each in addresses)
        else:
            chosen = not any(each.ip.is_loopback for each in addresses)
        if chosen and addresses:
            found.append(Interface(adapter.name, addresses, adapter.index or 0))
    return tuple(found)


def neighbours_addresses() -> list[str]:
    """Those of this machine by which its neighbours can name it: IPv4, then IPv6, then link-local ones with the zone
    that they are in here.
    """
    near = interfaces()
    found = [each.ip for interface in near for each in interface.addresses]
    usable = sorted(
        (ip for ip in found if is_for_neighbours(ip) and is_usable(ip)), key=lambda ip: ip.version
    )
    return [
        *map(str, usable),
        *(f"{ip}%{interface.name}" for interface in near for ip in link_local_in(interface)),
    ]


def link_local_in(interface: Interface) -> list[Address]:
    """Its IPv6 link-local addresses, which every network card with IPv6 has."""
    return [each.ip for each in interface.addresses if each.version == 6 and each.ip.is_link_local]


def is_for_neighbours(address: Address) -> bool:
    """Whether an address belongs to a network of somebody's own (private, shared, link-local), not to the Internet."""
    return not (address.is_global or address.is_loopback or address.is_multicast or address.is_unspecified)


def is_usable(address: Address) -> bool:
    """Whether it can be written into a URL and leads somewhere: IPv6 link-local addresses need a zone."""
    return not (
        address.is_multicast or address.is_unspecified or (address.version == 6 and address.is_link_local)
    )


def _in_network(ip: str | tuple[str, int, int], prefix: int) -> AddressInNetwork:
    text = ip if isinstance(ip, str) else ip[0]
    return ipaddress.ip_interface(f"{text.partition('%')[0]}/{prefix}")
