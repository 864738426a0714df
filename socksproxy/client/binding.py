"""
BIND, as clients have it.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from socksproxy.client.address import transportAddress
from socksproxy.client.handshake import Handshake
from socksproxy.interfaces import IBinding
from socksproxy.wire.address import Address

__all__ = ["ClientBinding"]


@implementer(IBinding)
class ClientBinding:
    """
    An address at which a proxy listens for us.

    @ivar peer: who has connected, once somebody has.
    """

    peer = Address.UNSPECIFIED

    def __init__(self, handshake: Handshake, protocolFactory: IProtocolFactory) -> None:
        """
        @param handshake: has had the first reply just now.
        """
        self.address = handshake.reachable()
        self.accepted: Deferred[IProtocol] = handshake.converse().addCallback(
            self._connected, protocolFactory
        )

    def _connected(
        self, handshake: Handshake, protocolFactory: IProtocolFactory
    ) -> IProtocol:
        self.peer = handshake.bound
        protocol: IProtocol = handshake.handOver(
            protocolFactory, transportAddress(handshake.bound)
        )
        return protocol
