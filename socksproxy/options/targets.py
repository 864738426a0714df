"""
Options for how targets are reached, and how they reach us.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any, ClassVar

from twisted.python import usage

from socksproxy.options.named import named
from socksproxy.options.numbers import portRange
from socksproxy.outbound.associator import Associator, Filter
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.reachable import ANY_PORT, NOWHERE_ELSE, Advertised
from socksproxy.outbound.resolver import IResolver
from socksproxy.relay.hub import Hub

__all__ = ["TargetOptions"]


def _filter(text: str) -> Filter:
    """
    Whose datagrams reach a client.
    """
    try:
        return Filter(text)
    except ValueError:
        raise ValueError(f"{text!r} is not none, address or port") from None


@named
class TargetOptions:
    """
    What the command line says of targets.
    """

    optFlags: ClassVar[list[list[Any]]] = [
        ["no-bind", None, "Answer BIND with reply 07, command not supported."],
        ["no-udp", None, "Do not serve UDP ASSOCIATE."],
    ]
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "bind-interface",
            None,
            None,
            "Network interface by which connections to targets go out, whatever the "
            "routes say (Linux).",
        ],
        [
            "bind-ports",
            None,
            None,
            "Ports that BIND listens on, as in 20000-20999 [default: the system's "
            "choice].",
            portRange,
        ],
        [
            "udp-ports",
            None,
            None,
            "UDP ports for clients to send their datagrams to, A-B, for a firewall to "
            "let through [default: any].",
            portRange,
        ],
        [
            "udp-filter",
            None,
            None,
            "Which datagrams reach a client: none lets all of them through, address "
            "those of hosts that it has sent to, port those of their very ports "
            "[default: none].",
            _filter,
        ],
    ]

    def opt_bind_address(self: Any, address: str) -> None:
        """
        Address of this machine from which connections to targets come. May be
        given twice: one for IPv4 and one for IPv6; with one alone nothing goes
        out by the other.
        """
        self._setAddress("bind-address", ANY_LOCAL_END, address)

    def opt_advertise(self: Any, address: str) -> None:
        """
        Address at which others reach this machine, where it is not its own: that
        of a NAT that passes --bind-ports and --udp-ports on. May be given twice:
        one for IPv4 and one for IPv6.
        """
        if address in ("0.0.0.0", "::"):
            raise usage.UsageError(f"--advertise {address}: that is nobody's address")
        self._setAddress("advertise", NOWHERE_ELSE, address)

    def _setAddress(
        self: Any, option: str, nothing: LocalEnd | Advertised, address: str
    ) -> None:
        """
        Of each family there can be one.

        @param nothing: what there is before the first.
        """
        found = self.get(option, nothing)
        try:
            family = f"ipv{ipaddress.ip_address(address).version}"
        except ValueError:
            raise usage.UsageError(
                f"--{option} {address}: this is not an IP address"
            ) from None
        if getattr(found, family) is not None:
            raise usage.UsageError(
                f"--{option} {address}: there is one of its family already"
            )
        self[option] = replace(found, **{family: address})

    def localEnd(self: Any) -> LocalEnd:
        """
        That of connections to targets.
        """
        found: LocalEnd = self.get("bind-address", ANY_LOCAL_END)
        interface = self["bind-interface"]
        return found if interface is None else replace(found, interface=interface)

    def advertised(self: Any) -> Advertised:
        """
        Where others reach this machine.
        """
        found: Advertised = self.get("advertise", NOWHERE_ELSE)
        return found

    def directConnector(
        self: Any, reactor: Any, resolver: IResolver, names: IResolver
    ) -> DirectConnector:
        """
        @param names: finds the names of addresses.
        """
        hub, localEnd = Hub.of(reactor), self.localEnd()
        filter = self["udp-filter"] or Filter.NONE
        return DirectConnector(
            reactor,
            resolver,
            hub=hub,
            localEnd=localEnd,
            bindPorts=self["bind-ports"] or ANY_PORT,
            advertised=self.advertised(),
            associator=Associator(reactor, resolver, hub, localEnd, filter),
            names=names,
        )
