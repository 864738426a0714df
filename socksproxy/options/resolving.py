"""
Options for looking names up.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from socksproxy.options.named import named
from socksproxy.options.numbers import portNumber, positive, seconds
from socksproxy.outbound.files import nameServer
from socksproxy.outbound.resolver import (
    CACHE,
    NEGATIVE_CACHE,
    IAddressSource,
    Resolver,
)
from socksproxy.outbound.system import (
    THREADS,
    ReverseSystemSource,
    SystemSource,
)
from socksproxy.wire.address import Address

__all__ = ["ResolvingOptions"]


def _servers(text: str) -> tuple[Address, ...] | None:
    """
    The name servers to ask, none for those of the system's; L{None}: the
    system is asked.
    """
    kind, given, servers = text.partition(":")
    if kind == "dns" and (servers or not given):
        return tuple(map(_nameServer, servers.split(","))) if servers else ()
    if text == "system":
        return None
    raise ValueError(f"{text!r} is not system, dns or dns:SERVER[:PORT],...")


def _nameServer(text: str) -> Address:
    found = re.fullmatch(r"(?:\[(.+)\]|([^:]+))(?::(.+))?", text)
    try:
        if found is None or found[3] == "0":
            raise ValueError
        port = portNumber(found[3] or "53")
        return nameServer(found[1] or found[2], port)
    except ValueError:
        raise ValueError(
            f"{text!r} is not the IP address of a name server, as in 192.0.2.1, "
            "192.0.2.1:5353 or [2001:db8::1]:53"
        ) from None


@named
class ResolvingOptions:
    """
    What the command line says of names.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "resolver",
            None,
            None,
            "How names are looked up: system, dns for the servers of resolv.conf, or "
            "dns:SERVER[:PORT][,SERVER[:PORT]...], IPv6 servers in brackets "
            "[default: system].",
            _servers,
        ],
        [
            "resolver-threads",
            None,
            THREADS,
            "Names that the system looks up at a time; more have to wait.",
            positive,
        ],
        [
            "resolver-cache",
            None,
            CACHE,
            "Seconds for which addresses are remembered, or less where DNS says so; "
            "0 is not at all.",
            seconds,
        ],
        [
            "resolver-negative-cache",
            None,
            NEGATIVE_CACHE,
            "The same for names that have no address.",
            seconds,
        ],
    ]

    def resolver(self: Any, reactor: Any, isReverse: bool = False) -> Resolver:
        """
        @param isReverse: whether it finds the names of addresses.
        """
        source: IAddressSource
        servers = self["resolver"]
        if servers is None:
            kind = ReverseSystemSource if isReverse else SystemSource
            source = kind(reactor, self["resolver-threads"])
        else:
            # What few want is loaded for them alone.
            from socksproxy.outbound.dns import DNSSource, ReverseDNSSource

            source = (ReverseDNSSource if isReverse else DNSSource)(reactor, servers)
        return Resolver(
            reactor, source, self["resolver-cache"], self["resolver-negative-cache"]
        )
