"""Whether two addresses of a connection lie on one local network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Written out rather than `ipaddress.is_private`: that also covers documentation, benchmarking and other
# reserved ranges, and its extent changed between Python releases.
_LOCAL_IPV4 = (
    IPv4Network("127.0.0.0/8"),  # loopback
    IPv4Network("10.0.0.0/8"),  # RFC 1918
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),  # link-local, RFC 3927
)
_LOCAL_IPV6 = (
    IPv6Network("::1/128"),  # loopback
    IPv6Network("fe80::/10"),  # link-local, RFC 4291
    IPv6Network("fc00::/7"),  # unique local addresses, RFC 4193
)
_LINK_PREFIX_BITS = 64  # an IPv6 subnet is a /64 (RFC 4291 section 2.5.4): one link, so one LAN


def detect_lan(local_address: str, remote_address: str) -> bool:
    """Return whether the path between these two IP addresses stays on a local network.

    True when both are loopback (127.0.0.0/8, ::1), RFC 1918 private, link-local (169.254.0.0/16, fe80::/10)
    or unique local (fc00::/7); when both are global IPv6 addresses of the same /64; and when both are the same
    address, whichever it is: that is one machine. IPv4-mapped IPv6 addresses count as the IPv4 address inside;
    a zone (`fe80::1%eth0`) is ignored.

    False for anything else: public addresses, carrier-grade NAT and overlay networks (100.64.0.0/10), host
    names, text that is no address. A VPN between two private networks cannot be told from a LAN by its
    addresses and counts as one; the measured RTT then corrects the choices made from it.
    """
    local, remote = _parse(local_address), _parse(remote_address)
    if local is None or remote is None:
        return False
    if local == remote or (_is_local(local) and _is_local(remote)):
        return True
    if (
        isinstance(local, IPv6Address)
        and isinstance(remote, IPv6Address)
        and local.is_global
        and remote.is_global
    ):
        shift = IPv6Address(0).max_prefixlen - _LINK_PREFIX_BITS
        return int(local) >> shift == int(remote) >> shift
    return False


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _LOCAL_IPV4)
    return any(address in network for network in _LOCAL_IPV6)
