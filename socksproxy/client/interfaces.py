"""
The plugs of the client's side, and the values that cross them: the server's,
seen from the other end.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from socksproxy.interfaces import Continue, Denied, ISecurityLayer
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command

__all__ = [
    "Accepted",
    "ClientStep",
    "ConversationStep",
    "IClientAuthenticator",
    "IClientNegotiation",
    "IConversation",
    "Replied",
]


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    The proxy has let us in: the request is next.

    @ivar response: is sent first, in clear; may be empty.
    @ivar securityLayer: protects all that follows, both ways.
    """

    response: bytes = b""
    securityLayer: ISecurityLayer | None = None


@dataclass(frozen=True, slots=True)
class Replied:
    """
    The proxy has granted the request.

    @ivar bound: BND.ADDR and BND.PORT, as far as its protocol has such.
    """

    bound: Address = Address.UNSPECIFIED


ClientStep = Continue | Accepted | Denied
"""
How a negotiation goes on.
"""

ConversationStep = Continue | Replied | Denied
"""
How a conversation goes on.
"""


class IClientAuthenticator(Interface):
    """
    One way to say who we are.  One object serves all connections.
    """

    method: int = Attribute("The METHOD octet that stands for it, 0 to FE.")
    isOneWay: bool = Attribute(
        "Whether the request may be sent right behind the first message, before "
        "the proxy has said anything: there is one message at the most, and no "
        "security layer."
    )

    def beginNegotiation(command: Command) -> IClientNegotiation:
        """
        The proxy has chosen this method, or will have no choice.

        @param command: what it will be asked for: a security layer may be
            another one where datagrams follow, of which some are lost.
        """


class IClientNegotiation(Interface):
    """
    One connection's negotiation.  It knows the bytes of its sub-protocol; it
    never sees the transport.
    """

    def advance(
        received: ReceiveBuffer,
    ) -> ClientStep | Deferred[ClientStep] | None:
        """
        Called at once, then whenever bytes have come, then after each
        C{Continue}; never while a Deferred that it returned is out.

        @return: the next step, or L{None}: it needs more bytes than there are
            and has taken none.  C{Denied} sends its response, then closes.
        @raise RemoteProtocolError: what came is not the sub-protocol's.
        @raise RequestFailed: the proxy refuses.
        """

    def abandon() -> None:
        """
        The connection is gone before the negotiation came to its end.  A
        Deferred that is out is cancelled too.
        """


class IConversation(Interface):
    """
    One connection's conversation with a proxy.  Bytes to values and back: no
    socket, no clock.
    """

    isRequested: bool = Attribute(
        "Whether the proxy has let us in and knows the request, so that what it "
        "says, or does not say, is about the target."
    )

    def advance(
        received: ReceiveBuffer,
    ) -> ConversationStep | Deferred[ConversationStep] | None:
        """
        As in L{IClientNegotiation.advance}.  After C{Replied} it is called again
        only where there is another reply to come, as for BIND.
        """

    def abandon() -> None:
        """
        The connection is gone, or has no use for the conversation any more.
        """
