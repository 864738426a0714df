"""
Connections that we have opened, or waited for, by ourselves.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from socksproxy.hubconnection import HubConnection, transportAddress
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["adopt", "tellEnds"]


def adopt(
    connected: socket.socket,
    address: Address,
    protocolFactory: IProtocolFactory,
    reactor: Any,
    hub: Any = None,
    told: int | None = None,
) -> IProtocol:
    """
    Hand a connected socket to a protocol, behind a transport.

    @param connected: non-blocking.
    @param address: where its other end is.
    @param hub: as L{HubConnection} takes it.
    @param told: as L{HubConnection.begin} takes it.
    @raise NoProtocol: C{protocolFactory} does not want it; whatever is raised, it
        is closed.
    """
    peer = (address.host, address.port)
    try:
        protocol = protocolFactory.buildProtocol(transportAddress(*peer))
        if protocol is None:
            raise NoProtocol()
    except BaseException:
        if hub is not None:
            hub.forget(connected.fileno())
        connected.close()
        raise
    HubConnection(connected, protocol, reactor, hub, peer).begin(told)
    return protocol


def tellEnds(
    transport: Any, host: Address | None = None, peer: Address | None = None
) -> None:
    """
    What another proxy has said of the ends of the connection that it has made for
    us.  A TLS transport passes it on; what is none of ours does not want to know.
    """
    told = getattr(transport, "tellEnds", None)
    if told is not None:
        told(*(a if _isTelling(a) else None for a in (host, peer)))


def _isTelling(address: Address | None) -> bool:
    """
    Whether it is an address, and not one that stands for none.
    """
    return (
        address is not None
        and address.type != AddressType.NAME
        and address.host not in ("0.0.0.0", "::")
    )
