"""
The transport of connections that we have opened, or waited for, by ourselves.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["OutgoingConnection", "adopt", "tellEnds"]


def adopt(
    connected: socket.socket,
    address: Address,
    protocolFactory: IProtocolFactory,
    reactor: Any,
) -> IProtocol:
    """
    Hand a connected socket to a protocol, behind a transport.

    @param address: where its other end is.
    @raise NoProtocol: C{protocolFactory} does not want it; whatever is raised, it
        is closed.
    """
    peer = _transportAddress(address.host, address.port)
    try:
        protocol = protocolFactory.buildProtocol(peer)
        if protocol is None:
            raise NoProtocol()
    except BaseException:
        connected.close()
        raise
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    OutgoingConnection(connected, protocol, reactor, peer).begin()
    return protocol


class OutgoingConnection(Connection):
    """
    The transport of a connection to a target.
    """

    logstr = "socksproxy,outgoing"
    # No other process has this socket: to close it says all.
    _shouldShutdown = False
    _isPaused = False
    _isReading = False
    _isWriting = False
    _host: IPv4Address | IPv6Address | None = None
    _closed: Callable[[], object] | None = None

    def __init__(
        self,
        connected: socket.socket,
        protocol: IProtocol,
        reactor: Any,
        peer: IPv4Address | IPv6Address,
    ) -> None:
        super().__init__(connected, protocol, reactor)
        self._peer = peer

    def begin(self) -> None:
        """
        Let the protocol have it.
        """
        self.connected = 1
        self.protocol.makeConnection(self)
        # Most protocols here do not want to read yet: it saves a system call
        # or two not to begin with it.
        if self.connected and not self._isPaused:
            self.startReading()

    def pauseProducing(self) -> None:
        self._isPaused = True
        self.stopReading()

    def resumeProducing(self) -> None:
        self._isPaused = False
        super().resumeProducing()  # type: ignore[no-untyped-call]

    # The reactor is asked only when there is something to change.

    def startReading(self) -> None:
        self._isReading = True
        super().startReading()  # type: ignore[no-untyped-call]

    def stopReading(self) -> None:
        if self._isReading:
            self._isReading = False
            super().stopReading()  # type: ignore[no-untyped-call]

    def startWriting(self) -> None:
        self._isWriting = True
        super().startWriting()  # type: ignore[no-untyped-call]

    def stopWriting(self) -> None:
        if self._isWriting:
            self._isWriting = False
            super().stopWriting()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()

    def whenClosed(self, closed: Callable[[], object]) -> None:
        """
        @param closed: called when it is gone.
        """
        self._closed = closed

    def tellEnds(self, host: Address | None, peer: Address | None) -> None:
        """
        Another proxy has made the connection that this one stands for, and says
        from where to where.
        """
        if host is not None:
            self._host = _transportAddress(host.host, host.port)
        if peer is not None:
            self._peer = _transportAddress(peer.host, peer.port)

    def getHost(self) -> IPv4Address | IPv6Address:
        if self._host is not None:
            return self._host
        host, port, *_ = self.socket.getsockname()
        return _transportAddress(host, port)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return self._peer


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


def _transportAddress(host: str, port: int) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
