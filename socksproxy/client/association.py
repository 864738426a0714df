"""
UDP ASSOCIATE, as clients have it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.client.address import transportAddress
from socksproxy.client.errors import ProxyProtocolError, ProxyUnreachable
from socksproxy.client.handshake import Handshake
from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import IAssociation, IDatagramReceiver
from socksproxy.udpsocket import SocketAddress, UDPSocket
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType
from socksproxy.wire.socks5 import Datagram

__all__ = ["Carrier", "ClientAssociation", "UDPCarrier"]


class Carrier(Protocol):
    """
    Carries packets to a proxy's relay and back.
    """

    def open(self, relay: Address, received: Callable[[bytes], object]) -> None:
        """
        Carry to C{relay} from now on, and what it sends to C{received}.

        @raise OSError: this machine has no way.
        @raise ProxyFailed: nor has the proxy.
        """

    def send(self, packet: bytes) -> None:
        """
        @raise OSError: it was not sent.
        """

    def close(self) -> None:
        """
        Carry nothing any more; it may not have been opened at all.
        """


class UDPCarrier:
    """
    Carries by a socket of its own.
    """

    def __init__(
        self,
        reactor: Any,
        hub: Any = None,
        bind: Callable[[socket.socket], object] | None = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, where there is no hub.
        @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}.
        @param bind: gives the socket its local end.
        """
        self._reactor = reactor
        self._hub = hub
        self._bind = bind
        self._socket: UDPSocket | None = None

    def open(self, relay: Address, received: Callable[[bytes], object]) -> None:
        """
        As in L{Carrier}.
        """
        if relay.type == AddressType.NAME:
            raise ProxyUnreachable("where the proxy takes datagrams is but a name")
        isIPv6 = relay.type == AddressType.IPV6
        family = socket.AF_INET6 if isIPv6 else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        self._relay = (relay.host, relay.port)
        self._received = received
        try:
            if self._bind is not None:
                self._bind(made)
            if not made.getsockname()[1]:
                made.bind(("::" if isIPv6 else "0.0.0.0", 0))
            opened = UDPSocket(self._reactor, self._hub, made, self._came)
            opened.lockTo(self._relay)
        except OSError:
            made.close()
            raise
        self._socket = opened
        opened.start()

    def send(self, packet: bytes) -> None:
        """
        As in L{Carrier}.
        """
        if self._socket is None:
            raise OSError(errno.ENOTCONN, "it is closed")
        self._socket.send(packet)

    def close(self) -> None:
        """
        As in L{Carrier}.
        """
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def _came(self, packet: bytes, source: SocketAddress) -> None:
        if source[:2] == self._relay:
            self._received(packet)


@implementer(IAssociation)
class ClientAssociation:
    """
    A way to whatever targets for datagrams, for as long as the connection over
    which it was asked for lasts.

    A fragment that comes is dropped: RFC 1928 leaves that open, and no proxy is
    known that sends such.

    @ivar relay: where the proxy takes datagrams.
    """

    def __init__(
        self, handshake: Handshake, receiver: IDatagramReceiver, carrier: Carrier
    ) -> None:
        """
        @param handshake: has had its reply just now.
        @raise ProxyFailed: the proxy does not say where it takes datagrams.
        @raise OSError: or C{carrier} knows no way; whatever is raised, the
            connection is closed.
        """
        self.relay = handshake.reachable()
        self._handshake = handshake
        self._receiver = receiver
        self._carrier = carrier
        self._isOver = False
        try:
            if not self.relay.port:
                raise ProxyProtocolError("the proxy takes datagrams nowhere")
            carrier.open(self.relay, self._came)
        except BaseException:
            handshake.abort()
            raise
        handshake.handOver(_ControlFactory(self._lost), transportAddress(self.relay))

    def send(self, data: bytes, destination: Address) -> None:
        """
        As in L{IAssociation}.

        @param destination: a name is resolved by the proxy.
        """
        try:
            packet = Datagram(destination, data).encode()
            if self._handshake.layer is not None:
                packet = self._handshake.layer.wrapDatagram(packet)
            self._carrier.send(packet)
        except (OSError, ValueError):
            # There is no room, here or in the packet.
            self._receiver.datagramDropped(data)

    def close(self) -> None:
        """
        As in L{IAssociation}.
        """
        if not self._isOver:
            self._isOver = True
            self._carrier.close()
            self._handshake.abort()

    def _lost(self) -> None:
        if not self._isOver:
            self._isOver = True
            self._carrier.close()
            self._receiver.associationLost()

    def _came(self, packet: bytes) -> None:
        try:
            if self._handshake.layer is not None:
                packet = self._handshake.layer.unwrapDatagram(packet)
            datagram = Datagram.parse(packet)
        except RemoteProtocolError:
            return
        if not datagram.fragment:
            self._receiver.datagramReceived(datagram.data, datagram.address)


class _Control(TwistedProtocol):
    """
    The connection that an association lasts as long as.
    """

    def __init__(self, lost: Callable[[], object]) -> None:
        self._lost = lost

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost()


class _ControlFactory(Factory):
    """
    The one protocol of an association.
    """

    noisy = False

    def __init__(self, lost: Callable[[], object]) -> None:
        self._lost = lost

    def buildProtocol(self, addr: object) -> _Control:
        return _Control(self._lost)
