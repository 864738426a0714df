"""
What other proxies do for us: they wait for connections, and relay datagrams.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from socksproxy.client.association import ClientAssociation
from socksproxy.client.binding import ClientBinding
from socksproxy.client.errors import ProxyUnreachable
from socksproxy.client.handshake import Handshake
from socksproxy.errors import NotAllowed, RemoteProtocolError
from socksproxy.interfaces import (
    IAssociation,
    IDatagramReceiver,
    ISession,
    Request,
)
from socksproxy.outbound.outgoing import tellEnds
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType
from socksproxy.wire.socks5 import Datagram

__all__ = ["CarriedAssociation", "CarriedBinding", "Carrying"]


class CarriedBinding(ClientBinding):
    """
    An address at which another proxy listens for a client of ours.
    """

    def __init__(
        self,
        handshake: Handshake,
        protocolFactory: IProtocolFactory,
        isWanted: Callable[[Address], bool],
    ) -> None:
        """
        @param isWanted: asked about the address of whoever has connected.
        """
        self._isWanted = isWanted
        super().__init__(handshake, protocolFactory)

    def _connected(
        self, handshake: Handshake, protocolFactory: IProtocolFactory
    ) -> IProtocol:
        peer = handshake.bound
        try:
            # What a name resolves to is the other proxy's to judge.
            if peer.type != AddressType.NAME and not self._isWanted(peer):
                raise NotAllowed("a rule refuses who has connected")
        except BaseException:
            handshake.abort()
            raise
        tellEnds(handshake.transport, peer=peer)
        protocol = super()._connected(handshake, protocolFactory)
        # A relay takes what has come when it starts, and not later.
        handshake.deliver()
        return protocol


@implementer(IDatagramReceiver)
class Carrying:
    """
    A way for datagrams that leads to a proxy: the L{Carrier
    <socksproxy.client.association.Carrier>} that an L{IAssociation} makes.
    """

    def __init__(self, receiver: IDatagramReceiver) -> None:
        """
        @param receiver: is told what was dropped on the way to the proxy.
        """
        self.receiver = receiver
        self._association: IAssociation | None = None
        self._relay = Address.UNSPECIFIED
        self._received: Callable[[bytes], object] | None = None

    def by(self, association: IAssociation) -> None:
        """
        It is this that carries.
        """
        self._association = association

    def open(self, relay: Address, received: Callable[[bytes], object]) -> None:
        """
        As in L{Carrier}.
        """
        if self._association is None:
            raise ProxyUnreachable("another proxy has ended the way to it already")
        self._relay = relay
        self._received = received

    def send(self, packet: bytes) -> None:
        """
        As in L{Carrier}.
        """
        if self._association is None:
            raise OSError(errno.ENOTCONN, "it is closed")
        self._association.send(packet, self._relay)

    def close(self) -> None:
        """
        As in L{Carrier}.
        """
        association, self._association = self._association, None
        self._received = None
        if association is not None:
            association.close()

    def datagramReceived(self, data: bytes, source: Address) -> None:
        if self._received is None:
            return
        if self._relay.type == AddressType.NAME:
            # The first that answers to the name is it.
            self._relay = source
        if source == self._relay:
            self._received(data)

    def associationLost(self) -> None:
        self._association = None
        if self._received is not None:
            self.receiver.associationLost()

    def datagramRejected(self, data: bytes) -> None:
        """
        It cannot have come from the proxy: a datagram is sent there first of all.
        """

    def datagramDropped(self, data: bytes) -> None:
        try:
            self.receiver.datagramDropped(Datagram.parse(data).data)
        except RemoteProtocolError:
            pass  # It was protected, and nobody else counts those.


@implementer(IAssociation)
class CarriedAssociation:
    """
    Another proxy's association, for a client of ours.
    """

    def __init__(
        self,
        handshake: Handshake,
        carrying: Carrying,
        request: Request,
        session: ISession,
    ) -> None:
        self._receiver = carrying.receiver
        self._inner = ClientAssociation(handshake, carrying.receiver, carrying)
        self._request = request
        self._session = session

    def send(self, data: bytes, destination: Address) -> None:
        """
        What a name resolves to is the other proxy's to judge.
        """
        isName = destination.type == AddressType.NAME
        if isName or self._session.policy.permitsAddress(
            destination, self._request, self._session
        ):
            self._inner.send(data, destination)
        else:
            self._receiver.datagramDropped(data)

    def close(self) -> None:
        self._inner.close()
