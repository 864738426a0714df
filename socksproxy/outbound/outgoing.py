"""
Connections that we have opened, or waited for, by ourselves.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from socksproxy.hubconnection import HubConnection
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["adopt"]


def adopt(
    connected: socket.socket,
    address: Address,
    protocolFactory: IProtocolFactory,
    reactor: Any,
    hub: Any = None,
) -> IProtocol:
    """
    Hand a connected socket to a protocol, behind a transport.

    @param connected: non-blocking.
    @param address: where its other end is.
    @param hub: as L{HubConnection} takes it.
    @raise NoProtocol: C{protocolFactory} does not want it; whatever is raised, it
        is closed.
    """
    isIPv6 = address.type == AddressType.IPV6
    peer = (IPv6Address if isIPv6 else IPv4Address)("TCP", address.host, address.port)
    try:
        protocol = protocolFactory.buildProtocol(peer)
        if protocol is None:
            raise NoProtocol()
    except BaseException:
        if hub is not None:
            hub.forget(connected.fileno())
        connected.close()
        raise
    HubConnection(
        connected, protocol, reactor, hub, (address.host, address.port)
    ).begin()
    return protocol
