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
from socksproxy.interfaces import IConnector, ISession, Request
from socksproxy.outbound.dialer import Attempt, Dialer
from socksproxy.outbound.resolver import IResolver, SystemResolver
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["DirectConnector", "OutgoingConnection"]


@implementer(IConnector)
class DirectConnector:
    """
    Resolves, asks the policy about each address, and dials.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: IResolver | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>} and, for the resolver,
            L{IReactorThreads <twisted.internet.interfaces.IReactorThreads>}.
        @param resolver: L{SystemResolver} unless given.
        """
        self._reactor = reactor
        self._resolver = SystemResolver(reactor) if resolver is None else resolver
        self._dialer = Dialer(reactor) if dialer is None else dialer

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
        OutgoingConnection(attempt.socket, protocol, self._reactor, peer).begin()
        return protocol


class OutgoingConnection(Connection):
    """
    The transport of a connection that a L{Dialer} has made.
    """

    logstr = "socksproxy,outgoing"

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
        self.startReading()  # type: ignore[no-untyped-call]
        self.protocol.makeConnection(self)

    def getHost(self) -> IPv4Address | IPv6Address:
        host, port, *_ = self.socket.getsockname()
        return _transportAddress(host, port)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return self._peer


def _transportAddress(host: str, port: int) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
