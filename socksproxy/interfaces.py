"""
Every plug of the server, and the values that cross it.

What a peer sends arrives here as values; what a plug answers is a value too.
Whoever may take its time can return a Deferred; a plain answer stays plain,
and costs nothing.  The values are named tuples: no more changeable than frozen
dataclasses, and made in half the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
)
from zope.interface import Attribute, Interface

from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, ReplyCode

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "ANONYMOUS",
    "Continue",
    "Denied",
    "DialectStep",
    "Granted",
    "Handover",
    "IAccessPolicy",
    "IAssociation",
    "IAssociator",
    "IAuthenticator",
    "IBinder",
    "IBinding",
    "IConnector",
    "IConversation",
    "IDatagramReceiver",
    "IDialect",
    "IDialectFactory",
    "ILogins",
    "INameResolver",
    "INegotiation",
    "ISecurityLayer",
    "ISession",
    "ITargets",
    "Identity",
    "NegotiationStep",
    "Request",
]


def _nothing() -> None:
    """
    Nobody wants to know of the logout.
    """


class Identity(NamedTuple):
    """
    Who the client is, as its authenticator found out.

    @ivar name: as in log lines and rules; empty for a client that did not log
        in.
    @ivar avatar: what the L{twisted.cred} realm gave, if there was one.
    @ivar logout: called once, when the session is over.
    """

    name: str
    avatar: object = None
    logout: Callable[[], object] = _nothing


ANONYMOUS = Identity("")
"""
The client that was not asked who it is.
"""


class Request(NamedTuple):
    """
    What a client wants, whichever dialect it was said in.

    @ivar command: a L{Command}, or the number of one that is not known.
    @ivar destination: the address that it named, not resolved.
    @ivar identity: who it is.
    """

    command: Command | int
    destination: Address
    identity: Identity = ANONYMOUS


class ISecurityLayer(Interface):
    """
    Per-message protection of everything that follows a negotiation (RFC 1961
    section 4).
    """

    def wrap(data: bytes) -> bytes:
        """
        Protect bytes that go to the client.

        @param data: 1 to 32,768 bytes.
        """

    def unwrap(received: ReceiveBuffer) -> bytes | None:
        """
        Take one protected message and return what was in it; L{None}: more
        bytes are needed, none was taken.

        @raise RemoteProtocolError: it was not protected as it should be.
        """

    def wrapDatagram(datagram: bytes) -> bytes:
        """
        Protect one whole datagram that goes to the client.

        @raise ValueError: then it would be too long.
        """

    def unwrapDatagram(datagram: bytes) -> bytes:
        """
        What was in one datagram of the client.

        @raise RemoteProtocolError: it was not protected as it should be.
        """


class Continue(NamedTuple):
    """
    Nothing is decided yet: send C{response} and go on.

    @ivar securityLayer: protects all that follows C{response}, both ways.
    """

    response: bytes
    securityLayer: ISecurityLayer | None = None


class Granted(NamedTuple):
    """
    The client is who it says.

    @ivar response: is sent first, in clear; may be empty.
    @ivar securityLayer: protects all that follows, both ways.
    """

    identity: Identity
    response: bytes = b""
    securityLayer: ISecurityLayer | None = None


class Denied(NamedTuple):
    """
    It ends here: send C{response}, then close.

    @ivar reason: for the log; nothing secret and nothing that the peer chose.
    """

    reason: str
    response: bytes = b""


NegotiationStep = Continue | Granted | Denied
"""
How a negotiation goes on.
"""


class Handover(NamedTuple):
    """
    One request and one answer are not all: the rest of the connection is
    C{conversation}'s, with what has come already and was not taken.
    """

    conversation: IConversation


DialectStep = Continue | Request | Denied | Handover
"""
How a conversation goes on: a request is what it leads to, most often.
"""


class ISession(Interface):
    """
    One client's connection, as plugs see it.
    """

    peer: IAddress = Attribute("The client's address, an L{IAddress}.")
    host: IAddress = Attribute("The address at which it reached us, an L{IAddress}.")
    policy: IAccessPolicy = Attribute(
        "The L{IAccessPolicy} that every address is put before."
    )
    certificate: Certificate | None = Attribute(
        "What the client has shown, and TLS found valid: a "
        "C{cryptography.x509.Certificate}.  L{None}: it was not asked, or has left."
    )


class IAuthenticator(Interface):
    """
    One way to find out who a client is.  One object serves all connections;
    the order of a server's authenticators is its order of preference.
    """

    method: int = Attribute("The METHOD octet that stands for it, 0 to FE.")

    def beginNegotiation(session: ISession) -> INegotiation | None:
        """
        The client has offered this method and the server would take it.

        @return: L{None} not to offer it to this client after all: the server
            looks at its next authenticator.
        """


class ILogins(Interface):
    """
    What names and passwords are worth, whichever dialect they were said in.  An
    authenticator that asks for such provides it too.
    """

    def login(
        username: bytes, password: bytes, session: ISession
    ) -> Deferred[Identity]:
        """
        @return: fires with who the client is.  Fails with a L{LoginFailed
            <twisted.cred.error.LoginFailed>}: it is not that, or it could not be
            found out, which was logged then; what to answer is the same.
            The session cancels it when the client leaves.
        """


class INegotiation(Interface):
    """
    One connection's negotiation.  It knows the bytes of its sub-protocol; it
    never sees the transport.  The server has answered METHOD already.
    """

    def advance(
        received: ReceiveBuffer,
    ) -> NegotiationStep | Deferred[NegotiationStep] | None:
        """
        Called at once, then whenever bytes have come, then after each
        C{Continue}; never while a Deferred that it returned is out.

        @return: the next step, or L{None}: it needs more bytes than there are
            and has taken none.
        @raise RemoteProtocolError: what came is not the sub-protocol's.  To
            answer before the close, return C{Denied} instead.
        """

    def abandon() -> None:
        """
        The connection is gone before the negotiation came to its end.  A
        Deferred that is out is cancelled too.
        """


class IConnector(Interface):
    """
    CONNECT: the way to the target.
    """

    def connect(
        request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """
        Connect to C{request.destination} and hand the connection to a protocol
        of C{protocolFactory}: the shape of
        L{IStreamClientEndpoint.connect
        <twisted.internet.interfaces.IStreamClientEndpoint.connect>}, so that
        connectors nest as endpoints do.

        Every address that is about to be dialled is put before
        C{session.policy.permitsAddress} first.

        The session cancels the Deferred when the client leaves or
        C{connectTimeout} is over; then all that was opened is closed.

        @return: fires with the connected protocol.  Fails with a
            L{RequestFailed <socksproxy.errors.RequestFailed>} or anything else
            that L{replyCodeOf <socksproxy.errors.replyCodeOf>} knows; all else
            is taken for a fault of the connector: logged, and answered with
            01.
        """


class IBinder(Interface):
    """
    BIND: waits for a connection from the target.  A connector that can do this
    provides it too.
    """

    def bind(
        request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        """
        Listen for one connection, whose other end C{request.destination} is, as
        far as that is known (RFC 1928 section 4).

        The address of whoever connects is put before
        C{session.policy.permitsAddress}.

        @return: fires when it listens.  Fails, and is cancelled, as in
            L{IConnector.connect}.
        """


class IBinding(Interface):
    """
    One listening address.
    """

    address: Address = Attribute(
        "Where the target can connect to: an IP address.  The first reply."
    )
    accepted: Deferred[IProtocol] = Attribute(
        "Fires with the connected protocol once the target has connected; nobody "
        "else can connect from then on.  It fails, and is cancelled, as in "
        "L{IConnector.connect}: the listening address is closed in any case."
    )


class IAssociator(Interface):
    """
    UDP ASSOCIATE: the way to targets for datagrams.  A connector that can do this
    provides it too.
    """

    def associate(
        request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        """
        Make a way to whatever targets the client will name.

        @return: fires when datagrams can be sent.  Fails, and is cancelled, as in
            L{IConnector.connect}.
        """


class INameResolver(Interface):
    """
    Tor's RESOLVE and RESOLVE_PTR: look-ups for their own sake.  A connector that
    can do this provides it too.  Both fail, and are cancelled, as in
    L{IConnector.connect}.
    """

    def addressOf(request: Request, session: ISession) -> Deferred[Address]:
        """
        @return: fires with one address of C{request.destination}, which
            C{session.policy.permitsAddress} permits.
        """

    def nameOf(request: Request, session: ISession) -> Deferred[Address]:
        """
        @return: fires with the name of C{request.destination}, an address, which
            C{session.policy.permitsAddress} permits.
        """


class IDatagramReceiver(Interface):
    """
    Who gets the datagrams that targets send.
    """

    def datagramReceived(data: bytes, source: Address) -> None:
        """
        @param data: the payload; may be empty.
        @param source: where it truly came from: an IP address.
        """

    def datagramDropped(data: bytes) -> None:
        """
        One that L{IAssociation.send} was given was not sent after all.

        @param data: its payload.
        """

    def associationLost() -> None:
        """
        There is no way for datagrams any more, and nobody here has closed it.
        """

    def datagramRejected(data: bytes) -> None:
        """
        One that came is kept from the client: it did not ask for it.

        @param data: its payload.
        """


class IAssociation(Interface):
    """
    The targets' side of one association.
    """

    def send(data: bytes, destination: Address) -> None:
        """
        Send one datagram, or drop it, and tell the receiver: when
        C{session.policy.permitsAddress}, asked for every datagram, says no to the
        address, when its name does not resolve, when there is no room.  It never
        raises.

        @param destination: an IP address or a name.
        """

    def close() -> None:
        """
        The client has gone: nothing is sent or received any more.
        """


class IAccessPolicy(Interface):
    """
    May they?
    """

    def permitsRequest(request: Request, session: ISession) -> bool | Deferred[bool]:
        """
        Asked once for each request, by name, identity and command, before
        anything is looked up.
        """

    def permitsAddress(address: Address, request: Request, session: ISession) -> bool:
        """
        Asked for every address, resolved if need be, before it is dialled.
        """


class IDialect(Interface):
    """
    One connection's conversation in one proxy protocol, from its first byte to
    the answer to its request.  Bytes to values and back: no socket, no clock.
    """

    def advance(
        received: ReceiveBuffer,
    ) -> DialectStep | Deferred[DialectStep] | None:
        """
        As in L{INegotiation.advance}.

        @raise RemoteProtocolError: there is no way to answer what came.
        """

    def answer(
        code: ReplyCode, bound: Address, cause: BaseException | None = None
    ) -> bytes:
        """
        The answer to the request.

        @param bound: BND.ADDR and BND.PORT; a name for RESOLVE_PTR only.
        @param cause: what the request failed with, for a dialect that can say
            more of it than C{code} does.
        @raise RequestFailed: there is no way to say this success; what to answer
            then is asked for next.
        """

    def abandon() -> None:
        """
        The connection is gone and there was no request: let go of whatever
        the conversation has led to, a login among it.
        """


class IDialectFactory(Interface):
    """
    One proxy protocol that a server speaks.  One object serves all connections.
    """

    firstBytes: bytes = Attribute(
        "What its conversations can begin with, an octet each.  Of two protocols "
        "that want the same octet the first has it."
    )

    def buildDialect(
        session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> IDialect:
        """
        A client has connected and sent such an octet, which is still there to be
        taken.

        @param authenticators: the server's, in its order of preference.
        """


class ITargets(Interface):
    """
    What an L{IConversation} has from the server: the same way to targets as every
    request, under the same rules, limits and deadlines, and in the same log.
    """

    clock: IReactorTime = Attribute("Where time comes from.")
    idleWatch: Any = Attribute(
        "The L{IdleWatch <socksproxy.relay.idle.IdleWatch>} of the server's relays."
    )
    requestTimeout: float = Attribute(
        "Seconds that a client has for a request, and as many that whoever judges its "
        "login has; 0: any."
    )
    closeTimeout: float = Attribute(
        "Seconds that a client has to take its last answer; 0: any."
    )

    def connect(
        request: Request, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """
        As in L{IConnector.connect}, but the policy is asked about the request
        first, it has its deadline, and what it fails with is always something
        that L{replyCodeOf <socksproxy.errors.replyCodeOf>} knows: it was logged.
        At most one connection may be open, or on its way, at a time.
        """

    def finished(counts: Any, reason: str) -> None:
        """
        The connection that C{connect} has made is over.

        @param counts: an L{IWatched <socksproxy.relay.idle.IWatched>}.
        @param reason: in words for the log.
        """

    def refused(reason: str) -> None:
        """
        The client asked for something that did not come to be a request.

        @param reason: as in L{Denied}.
        """


class IConversation(Interface):
    """
    What a dialect hands a connection over to.
    """

    client: Any = Attribute(
        "Who is told what the client's transport tells, an L{IHalfCloseableProtocol "
        "<twisted.internet.interfaces.IHalfCloseableProtocol>} too."
    )

    def start(
        transport: ITCPTransport,
        early: bytes,
        ended: bool,
        targets: ITargets,
        finished: Callable[[], object],
    ) -> None:
        """
        @param early: what the client has sent already.
        @param ended: whether it has ended its side, too.
        @param finished: called once, when the client's connection is gone, and
            all that was opened for it.
        """

    def drain() -> None:
        """
        The server stops: end it as soon as nobody waits for anything.
        """

    def abort(reason: str) -> None:
        """
        End it now, and all that was opened for it.
        """
