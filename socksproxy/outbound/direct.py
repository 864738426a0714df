"""
Straight to the target: the default L{IConnector
<socksproxy.interfaces.IConnector>}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.tcp import Connection
from zope.interface import implementer

from socksproxy.errors import NotAllowed
from socksproxy.interfaces import (
    IAssociation,
    IAssociator,
    IConnector,
    IDatagramReceiver,
    ISession,
    Request,
)
from socksproxy.outbound.associator import Associator
from socksproxy.outbound.dialer import Attempt, Dialer
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.resolver import IResolver, Resolver
from socksproxy.outbound.system import SystemSource
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["DirectConnector", "OutgoingConnection"]


@implementer(IConnector, IAssociator)
class DirectConnector:
    """
    Resolves, asks the policy about each address, and dials.  Others serve UDP
    ASSOCIATE for it.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: IResolver | None = None,
        dialer: Dialer | None = None,
        hub: Any = None,
        localEnd: LocalEnd = ANY_LOCAL_END,
        associator: IAssociator | None = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>} and, for the resolver,
            L{IReactorThreads <twisted.internet.interfaces.IReactorThreads>}.
        @param resolver: the system's unless given.
        @param hub: for the L{Dialer} and the L{Associator}, as is C{localEnd}.
        @param associator: an L{Associator} with all of these unless given.
        """
        self._reactor = reactor
        if resolver is None:
            resolver = Resolver(reactor, SystemSource(reactor))
        self._resolver = resolver
        self._dialer = dialer or Dialer(reactor, hub=hub, localEnd=localEnd)
        self._associator = associator or Associator(reactor, resolver, hub, localEnd)

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        return self._associator.associate(request, session, receiver)

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        destination = request.destination
        if destination.type == AddressType.NAME:
            resolved = self._resolver.resolve(destination)
            connected = resolved.addCallback(self._dial, request, session)
        else:
            connected = self._dial([destination], request, session)
        return connected.addCallback(self._adopt, protocolFactory)

    def _dial(
        self, addresses: list[Address], request: Request, session: ISession
    ) -> Deferred[Attempt]:
        permits = session.policy.permitsAddress
        permitted = [a for a in addresses if permits(a, request, session)]
        if not permitted:
            return fail(NotAllowed("a rule refuses the address"))
        return self._dialer.dial(permitted)

    def _adopt(self, attempt: Attempt, protocolFactory: IProtocolFactory) -> IProtocol:
        """
        Hand a connected socket to a protocol, behind a transport.
        """
        peer = _transportAddress(attempt.address.host, attempt.address.port)
        try:
            protocol = protocolFactory.buildProtocol(peer)
            if protocol is None:
                raise NoProtocol()
        except BaseException:
            attempt.socket.close()
            raise
        attempt.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        attempt.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        OutgoingConnection(attempt.socket, protocol, self._reactor, peer).begin()
        return protocol


class OutgoingConnection(Connection):
    """
    The transport of a connection that a L{Dialer} has made.
    """

    logstr = "socksproxy,outgoing"
    _isPaused = False
    _isReading = False
    _isWriting = False

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

    def getHost(self) -> IPv4Address | IPv6Address:
        host, port, *_ = self.socket.getsockname()
        return _transportAddress(host, port)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return self._peer


def _transportAddress(host: str, port: int) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
