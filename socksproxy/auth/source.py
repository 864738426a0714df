"""
Where a client comes from, as far as it tells one from another.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from twisted.internet.interfaces import IAddress

__all__ = ["ipOf", "sourceOf"]

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_PREFIX = 64
"""
Bits of an IPv6 address that its owner cannot choose (RFC 4291 section 2.5.1).
"""


def ipOf(address: IAddress) -> IP | None:
    """
    Its IP address; an IPv4 address also where it was mapped to an IPv6 one.
    L{None}: it has none, as a UNIX socket's.
    """
    host = getattr(address, "host", None)
    return None if host is None else _parsed(host)


def sourceOf(address: IAddress) -> str | None:
    """
    What is counted as one: an IPv4 address, or the /64 of an IPv6 address, as
    text; C{::1} is alone in its network.  L{None}: as from L{ipOf}.
    """
    host = getattr(address, "host", None)
    return None if host is None else _source(host)


@lru_cache(maxsize=4096)
def _parsed(host: str) -> IP | None:
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(ip, "ipv4_mapped", None)
    return ip if mapped is None else mapped


@lru_cache(maxsize=4096)
def _source(host: str) -> str | None:
    ip = _parsed(host)
    if not isinstance(ip, ipaddress.IPv6Address) or ip.is_loopback:
        return None if ip is None else str(ip)
    return str(ipaddress.ip_network((int(ip), _PREFIX), strict=False))
