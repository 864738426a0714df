"""
Client endpoints through a proxy, each over any endpoint that leads to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.client.address import destinationOf, resolveIPv4, transportAddress
from socksproxy.client.association import ClientAssociation, UDPCarrier
from socksproxy.client.binding import ClientBinding
from socksproxy.client.handshake import Handshake
from socksproxy.client.httpconnect import Headers, HTTPConnectConversation
from socksproxy.client.interfaces import IClientAuthenticator, IConversation
from socksproxy.client.login import PasswordLogin
from socksproxy.client.reach import TIMEOUT, connectTo, limited, reach
from socksproxy.client.socks4 import SOCKS4Conversation
from socksproxy.client.socks5 import ANYBODY, SOCKS5Conversation
from socksproxy.errors import TimedOut
from socksproxy.interfaces import IBinding, IDatagramReceiver
from socksproxy.wire.constants import AddressType, Command

__all__ = [
    "HTTPConnectClientEndpoint",
    "SOCKS4ClientEndpoint",
    "SOCKS5ClientEndpoint",
]


class _ThroughProxy:
    """
    What the endpoints have in common.
    """

    _optimistic = False

    def __init__(
        self,
        reactor: Any,
        proxyEndpoint: IStreamClientEndpoint,
        host: str | bytes,
        port: int,
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._inner = proxyEndpoint
        self._destination = destinationOf(host, port)
        self._timeout = timeout

    def _reach(self, conversation: IConversation) -> Deferred[Handshake]:
        return reach(self._reactor, self._inner, conversation, self._timeout)

    def _connectBy(
        self, conversation: IConversation, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        if self._optimistic:
            return self._connectEarly(conversation, protocolFactory)
        address = transportAddress(self._destination)
        reached = reach(
            self._reactor, self._inner, conversation, self._timeout, protocolFactory
        )
        return reached.addCallback(Handshake.handOver, protocolFactory, address)

    def _connectEarly(
        self, conversation: IConversation, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """
        The protocol has the connection as soon as there is one to the proxy.
        """

        def connected(handshake: Handshake) -> IProtocol:
            waiting = handshake.converse()
            limited(waiting, self._reactor, conversation, self._timeout)
            waiting.addErrback(handshake.refused)
            address = transportAddress(self._destination)
            protocol: IProtocol = handshake.handOver(protocolFactory, address)
            return protocol

        connecting = connectTo(self._inner, conversation, protocolFactory)
        limited(connecting, self._reactor, conversation, self._timeout)
        return connecting.addCallback(connected)


@implementer(IStreamClientEndpoint)
class SOCKS5ClientEndpoint(_ThroughProxy):
    """
    Connects through a SOCKS5 proxy (RFC 1928).
    """

    def __init__(
        self,
        reactor: Any,
        proxyEndpoint: IStreamClientEndpoint,
        host: str | bytes,
        port: int,
        authenticators: Sequence[IClientAuthenticator] = ANYBODY,
        timeout: float = TIMEOUT,
        optimistic: bool = False,
    ) -> None:
        """
        @param reactor: provides L{IReactorTime}, and L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>} for L{associate}.
        @param proxyEndpoint: leads to the proxy.
        @param host: the text of an IP address, or a name, which the proxy
            resolves.
        @param authenticators: what is offered; the proxy chooses.
        @param timeout: in seconds, from the first attempt to connect to the proxy
            until its reply; 0 is no limit.
        @param optimistic: everything is sent to the proxy at once, and the
            protocol is connected without waiting for a reply: what it writes goes
            out right behind the request, which spares a connection two or three
            round trips.  A refusal reaches the protocol as the reason of
            C{connectionLost}.
        @raise ValueError: there is no such host or port, or C{optimistic} does
            not go with what is offered: it wants one method of one message.
        """
        super().__init__(reactor, proxyEndpoint, host, port, timeout)
        self._authenticators = authenticators
        self._optimistic = optimistic
        self._conversation(Command.CONNECT)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        As in L{IStreamClientEndpoint}.  Fails with a L{RequestFailed
        <socksproxy.errors.RequestFailed>}.
        """
        return self._connectBy(self._conversation(Command.CONNECT), protocolFactory)

    def bind(self, protocolFactory: IProtocolFactory) -> Deferred[IBinding]:
        """
        Have the proxy wait for a connection from the host that this leads to;
        C{0.0.0.0} leaves it open where from.

        @return: fires when the proxy listens.  The deadline is that of
            L{connect}; then there is none any more.
        """
        reached = self._reach(self._conversation(Command.BIND))
        return reached.addCallback(ClientBinding, protocolFactory)

    def associate(self, receiver: IDatagramReceiver) -> Deferred[ClientAssociation]:
        """
        Have the proxy relay datagrams.

        @return: fires when datagrams can be sent, to whatever targets: what this
            leads to is only said to the proxy as where they will come from, so
            it is most often C{0.0.0.0} and port 0.
        """
        reached = self._reach(self._conversation(Command.UDP_ASSOCIATE))
        return reached.addCallback(
            ClientAssociation, receiver, UDPCarrier(self._reactor)
        )

    def _conversation(self, command: Command) -> SOCKS5Conversation:
        return SOCKS5Conversation(
            command, self._destination, self._authenticators, self._optimistic
        )


@implementer(IStreamClientEndpoint)
class SOCKS4ClientEndpoint(_ThroughProxy):
    """
    Connects through a SOCKS4 proxy; a name goes to it by SOCKS4a.
    """

    def __init__(
        self,
        reactor: Any,
        proxyEndpoint: IStreamClientEndpoint,
        host: str | bytes,
        port: int,
        userId: bytes = b"",
        timeout: float = TIMEOUT,
        socks4a: bool = True,
    ) -> None:
        """
        @param userId: what the proxy is told of who we are.
        @param socks4a: whether the proxy resolves names.  Otherwise it is done
            here, by the reactor's resolver.
        @raise ValueError: there is no such host, port or user id.
        """
        super().__init__(reactor, proxyEndpoint, host, port, timeout)
        self._userId = userId
        self._resolvesHere = not socks4a and self._destination.type != AddressType.IPV4
        SOCKS4Conversation(Command.CONNECT, self._destination, userId)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        As in L{IStreamClientEndpoint}.  Fails with a L{RequestFailed
        <socksproxy.errors.RequestFailed>}.
        """
        asking = self._conversation(Command.CONNECT)
        return asking.addCallback(self._connectBy, protocolFactory)

    def bind(self, protocolFactory: IProtocolFactory) -> Deferred[IBinding]:
        """
        As in L{SOCKS5ClientEndpoint.bind}.
        """
        reached = self._conversation(Command.BIND).addCallback(self._reach)
        return reached.addCallback(ClientBinding, protocolFactory)

    def _conversation(self, command: Command) -> Deferred[SOCKS4Conversation]:
        """
        @return: fires when the address is known.
        """
        if self._resolvesHere:
            resolved = resolveIPv4(self._reactor, self._destination)
            if self._timeout:
                resolved.addTimeout(self._timeout, self._reactor, _unresolved)
        else:
            resolved = succeed(self._destination)
        return resolved.addCallback(
            lambda destination: SOCKS4Conversation(command, destination, self._userId)
        )


def _unresolved(result: object, seconds: float) -> object:
    if isinstance(result, Failure):
        raise TimedOut("the name was not resolved in time")
    return result


@implementer(IStreamClientEndpoint)
class HTTPConnectClientEndpoint(_ThroughProxy):
    """
    Connects through an HTTP proxy, by CONNECT.
    """

    def __init__(
        self,
        reactor: Any,
        proxyEndpoint: IStreamClientEndpoint,
        host: str | bytes,
        port: int,
        login: PasswordLogin | None = None,
        headers: Headers = (),
        timeout: float = TIMEOUT,
    ) -> None:
        """
        @param login: sent at once, as Basic.
        @param headers: more of them, for the proxy.
        @raise ValueError: there is no such host or port, or HTTP cannot carry
            them.
        """
        super().__init__(reactor, proxyEndpoint, host, port, timeout)
        self._login = login
        self._headers = headers
        self._conversation()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        As in L{IStreamClientEndpoint}.  Fails with a L{RequestFailed
        <socksproxy.errors.RequestFailed>}.
        """
        return self._connectBy(self._conversation(), protocolFactory)

    def _conversation(self) -> HTTPConnectConversation:
        return HTTPConnectConversation(self._destination, self._login, self._headers)
