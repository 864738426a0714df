"""
The order of things in the life of one client: negotiate, ask the policy,
connect, answer, relay.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionClosed,
    ConnectionLost,
)
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.deadlines import Deadlines
from socksproxy.errors import (
    CommandNotSupported,
    NotAllowed,
    RemoteProtocolError,
    TimedOut,
    replyCodeOf,
    wordsOf,
)
from socksproxy.hubconnection import HubConnection
from socksproxy.interfaces import (
    Continue,
    Denied,
    DialectStep,
    Handover,
    IAccessPolicy,
    IBinding,
    IConversation,
    IDialect,
    ISecurityLayer,
    ISession,
    Request,
)
from socksproxy.relay.choice import isPlain, relayBetween
from socksproxy.relay.datagrams import DatagramRelay
from socksproxy.relay.relay import ProtocolRelay, RelayEnd, endWriting, keepAlive
from socksproxy.relay.splice import SpliceRelay
from socksproxy.secured import SecuredTransport
from socksproxy.server.targets import Targets
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType, Command, ReplyCode

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from socksproxy.server.factory import SOCKS5Factory

__all__ = ["Session"]

log = Logger()

_LEFT = "the client left while it waited"

EARLY_DATA = 1 << 16
"""
Bytes that a client may send before it is answered; then it has to wait.
"""


class _State(Enum):
    """
    Where a session is.
    """

    WAITING = auto()
    """
    For its turn: there are as many sessions as there may be.
    """

    HANDSHAKE = auto()
    """
    Its bytes go to the dialect.
    """

    CONNECTING = auto()
    """
    The request is known; its bytes are for the target and wait.
    """

    RELAYING = auto()
    """
    Its bytes are the relay's.
    """

    CLOSING = auto()
    """
    It was refused: what it was told goes out, what comes is dropped.
    """

    GONE = auto()


# An enumeration's attributes are dear to look up.
_CONNECT = Command.CONNECT
_SUCCEEDED = ReplyCode.SUCCEEDED
_WAITING, _HANDSHAKE, _CONNECTING, _RELAYING, _CLOSING, _GONE = _State


@implementer(ISession, IHalfCloseableProtocol)
class Session(Protocol):
    """
    One client.  It knows no dialect's bytes, and does not ask which connector,
    authenticator or relay it has.

    @ivar request: what the client wants, once that is known.
    @ivar isConnected: whether it has, or had, a connection to its target.
    @ivar line: what was logged when it was connected.
    @ivar startedAt: when that was, in seconds of the factory's clock.
    """

    transport: Any
    peer: IAddress
    isConnected = False
    request: Request | None = None
    line: str
    startedAt: float

    _dialect: IDialect | None = None
    _clientEnded = False
    # A step of the dialect, an answer of the policy or a connection that is
    # not there yet.
    _pending: Deferred[Any] | None = None
    _deadlines: Deadlines[Session] | None = None
    # The transport, once all that it carries is protected.
    _secured: SecuredTransport | None = None
    _relay: ProtocolRelay | SpliceRelay | DatagramRelay | IConversation

    def __init__(self, factory: SOCKS5Factory, address: IAddress | None) -> None:
        """
        @param address: where it seems to come from; L{peer} knows better.
        """
        self._factory = factory
        self._address = address
        # Whether all that the client was told went straight to its socket.
        self._isDirect = False
        self._state = _WAITING
        self._received = ReceiveBuffer()

    @property
    def host(self) -> IAddress:
        return self.transport.getHost()  # type: ignore[no-any-return]

    @property
    def policy(self) -> IAccessPolicy:
        return self._factory.policy

    @property
    def certificate(self) -> Certificate | None:
        if self._state is _GONE or not hasattr(self.transport, "getPeerCertificate"):
            return None
        shown = self.transport.getPeerCertificate()
        return None if shown is None else shown.to_cryptography()

    # What the transport says.

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if isinstance(transport, HubConnection):
            # To make another address would cost as much as a system call.
            assert self._address is not None
            self.peer = self._address
            self._isDirect = True
        else:
            self.peer = transport.getPeer()
            self._isDirect = isPlain(transport)
            isTCP = isinstance(self.peer, (IPv4Address, IPv6Address))
            if isTCP and hasattr(transport, "setTcpNoDelay"):
                transport.setTcpNoDelay(True)
        if self._factory.admission.opened(self):
            self._begin()
        else:
            transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        if self._secured is not None:
            data = self._unwrapped(data)
            if not data:
                return
        if self._state is _RELAYING:
            self._relay.client.dataReceived(data)
        elif self._state is not _CLOSING:
            try:
                self._received.feed(data)
            except RemoteProtocolError as wrong:
                self._refuse(str(wrong))
                return
            if self._state is _HANDSHAKE and self._pending is None:
                self._advance()
            elif len(self._received) > EARLY_DATA and (
                self.request is None or self.request.command == _CONNECT
            ):
                # Nobody would see it leave, which only CONNECT's short time allows.
                self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        self._clientEnded = True
        if self._secured is not None and self._secured.isTorn:
            self._distrust("the client's last message is cut short")
        elif self._state is _RELAYING:
            self._relay.client.readConnectionLost()
        elif self._state is _HANDSHAKE and self._pending is None:
            self._refuse("the client left during the handshake")
        elif self._state in (_CLOSING, _WAITING):
            self.transport.loseConnection()
        elif self._state is _CONNECTING:
            assert self.request is not None
            if self.request.command != _CONNECT:
                self._refuse(_LEFT)
            # Else it may have said all that it has to say.

    def writeConnectionLost(self) -> None:
        """
        All that the client was told is out, the end of it included.
        """
        if self._state is _RELAYING:
            self._relay.client.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state is _RELAYING:
            if self._secured is not None and self._secured.isTorn:
                # A transport that cannot be half-closed has not told of an end.
                reason = Failure(ConnectionLost())
            self._relay.client.connectionLost(reason)
            return
        if self._state is _HANDSHAKE:
            why = "the client left during the handshake"
            if not reason.check(ConnectionClosed):
                why = f"TLS failed: {wordsOf(reason.value)}"
            self._factory.sessionRefused(self, why, None)
        self._state = _GONE
        self._cancelPending()
        self._over()

    # What the factory says.

    def turnCame(self) -> None:
        """
        There is room for it now.
        """
        self._begin()
        self.transport.resumeProducing()
        self._advance()

    def handshakeExpired(self) -> None:
        self._refuse("the handshake took too long")

    def connectExpired(self) -> None:
        # Most often this fails at once, with what is known by now.
        self._cancelPending()
        if self._state is _CONNECTING:
            self._fail(TimedOut("nobody answered in time"))

    def lasted(self) -> None:
        """
        It relays for a while now.
        """
        # The TCP connections of others are kept alive already.
        if isinstance(self._relay, (ProtocolRelay, SpliceRelay)):
            self._relay.keepAlive()

    def closingExpired(self) -> None:
        self.transport.abortConnection()

    def drain(self) -> None:
        """
        The server stops: a conversation need not go on for ever.
        """
        if self._state is _RELAYING and IConversation.providedBy(self._relay):
            self._relay.drain()

    def abort(self, reason: str) -> None:
        """
        End it now, whatever it is at.
        """
        if self._state is _RELAYING:
            self._relay.abort(reason)
        else:
            self._state = _CLOSING
            self.transport.abortConnection()

    # The handshake.

    def _begin(self) -> None:
        self._state = _HANDSHAKE
        self._giveTime(self._factory.handshakes)

    def _giveTime(self, deadlines: Deadlines[Session] | None) -> None:
        """
        A new deadline takes the place of the last one.
        """
        last, self._deadlines = self._deadlines, deadlines
        if last is not None:
            last.stop(self)
        if deadlines is not None:
            deadlines.start(self)

    def _advance(self) -> None:
        """
        Let the dialect see what has come, as long as it makes anything of it.
        """
        dialect = self._dialect
        if dialect is None:
            first = self._received.peek(1)
            if first is None:
                return
            dialect = self._dialect = self._factory.dialectFor(first[0], self)
            if dialect is None:
                self._refuse(f"first byte {first[0]:#04x} is of no known protocol")
                return
        goesOn = True
        while goesOn:
            try:
                step = dialect.advance(self._received)
            except RemoteProtocolError as wrong:
                self._refuse(str(wrong))
                return
            except Exception:
                self._refuseForOurFault(Failure())
                return
            if step is None:
                if self._clientEnded:
                    self._refuse("the client left during the handshake")
                return
            goesOn = self._take(step)

    def _take(self, step: DialectStep | Deferred[DialectStep]) -> bool:
        """
        @return: whether the handshake goes on at once.
        """
        if isinstance(step, Continue):
            self._send(step.response)
            if step.securityLayer is not None:
                self._secure(step.securityLayer)
            return self._state is _HANDSHAKE
        if isinstance(step, Request):
            self._requested(step)
        elif isinstance(step, Denied):
            self._refuse(step.reason, step.response)
        elif isinstance(step, Handover):
            self._handOver(step.conversation)
        else:
            self._pending = step
            self.transport.pauseProducing()
            step.addCallback(self._stepCame).addErrback(self._stepFailed)
        return False

    def _send(self, data: bytes) -> None:
        """
        Send one answer.  A socket takes it at once, which spares the reactor
        two rounds; the transport gets what it does not take.
        """
        if self._isDirect:
            try:
                sent = self.transport.socket.send(data)
            except OSError:
                sent = 0  # The transport will find out whether it is gone.
            if sent == len(data):
                return
            self._isDirect = False
            data = data[sent:]
        self.transport.write(data)

    def _secure(self, layer: ISecurityLayer) -> None:
        """
        From here on all is protected, both ways, what has come already too.
        """
        self._isDirect = False
        self._secured = self.transport = SecuredTransport(self.transport, layer)
        self._received.feed(self._unwrapped(self._received.takeAll()))

    def _unwrapped(self, data: bytes) -> bytes:
        """
        @return: what was in the client's messages, nothing if none is whole.
        """
        assert self._secured is not None
        try:
            return self._secured.unwrap(data)
        except RemoteProtocolError as wrong:
            self._distrust(str(wrong))
            return b""

    def _distrust(self, reason: str) -> None:
        """
        What came is not, or not wholly, what the client has sent.
        """
        if self._state is _RELAYING:
            self._relay.abort(reason)
        elif self._state is _CLOSING:
            self.transport.loseConnection()
        else:
            self._refuse(reason)

    def _stepCame(self, step: DialectStep) -> None:
        self._pending = None
        if self._state is _HANDSHAKE:
            self.transport.resumeProducing()
            if self._take(step):
                self._advance()

    def _stepFailed(self, failure: Failure) -> None:
        self._pending = None
        if self._state is _HANDSHAKE:
            self.transport.resumeProducing()
            self._refuseForOurFault(failure)

    # The request.

    def _requested(self, request: Request) -> None:
        self.request = request
        self._state = _CONNECTING
        self._giveTime(self._factory.connects)
        if request.command != _CONNECT and not self._factory.serves(request.command):
            self._fail(CommandNotSupported(f"command {int(request.command):#04x}"))
        elif request.destination.port == 0 and request.command == _CONNECT:
            self._fail(NotAllowed("nothing listens on port 0"))
        else:
            try:
                permitted = self._factory.policy.permitsRequest(request, self)
            except Exception:
                self._connectFailed(Failure())
                return
            if isinstance(permitted, bool):
                self._connect(permitted)
            else:
                self._pending = permitted
                permitted.addCallback(self._connect).addErrback(self._connectFailed)

    def _connect(self, permitted: bool) -> None:
        if self._state is not _CONNECTING:
            return
        self._pending = None
        if not permitted:
            self._fail(NotAllowed("a rule refuses the request"))
            return
        factory, request = self._factory, self.request
        assert request is not None
        try:
            if request.command == _CONNECT:
                connecting = factory.connector.connect(
                    request, self, factory.targetFactory
                )
            elif request.command == Command.UDP_ASSOCIATE:
                self._associate(request)
                return
            elif request.command == Command.BIND:
                assert factory.binder is not None
                connecting = factory.binder.bind(
                    request, self, factory.targetFactory
                ).addCallback(self._listens)
            else:
                self._lookUp(request)
                return
        except Exception:
            self._connectFailed(Failure())
            return
        self._pending = connecting
        connecting.addCallbacks(self._connected, self._connectFailed)

    def _listens(self, binding: IBinding) -> Deferred[IProtocol]:
        """
        BIND's first answer: the client can tell the target where to connect to.
        """
        accepted = binding.accepted
        if self._state is _CONNECTING and self._clientEnded:
            self._refuse(_LEFT)
        if self._state is not _CONNECTING:
            accepted.cancel()
            return accepted
        assert self._dialect is not None
        try:
            answer = self._dialect.answer(_SUCCEEDED, binding.address)
        except Exception:
            accepted.addErrback(lambda _: None)
            accepted.cancel()
            raise
        self._giveTime(self._factory.binds)
        self._send(answer)
        return accepted

    def _connectFailed(self, failure: Failure) -> None:
        self._pending = None
        if self._state is _RELAYING:
            log.failure("The relay could not be started.", failure)
            self.abort("internal error")
        if self._state is not _CONNECTING:
            return
        exception = failure.value
        assert exception is not None
        if isinstance(exception, (CancelledError, ConnectingCancelledError)):
            exception = TimedOut("nobody answered in time")
        if replyCodeOf(exception) is None:
            log.failure(
                "{request.destination} of {client} failed.",
                failure,
                request=self.request,
                client=self.peer,
            )
        self._fail(exception)

    def _fail(self, exception: BaseException) -> None:
        """
        Answer the request with the reply that C{exception} causes.
        """
        code, reason = self._factory.causeOf(exception)
        assert self._dialect is not None
        answer = self._dialect.answer(code, Address.UNSPECIFIED, exception)
        self._refuse(reason, answer, code)

    def _lookUp(self, request: Request) -> None:
        names = self._factory.names
        assert names is not None
        isReverse = request.command == Command.RESOLVE_PTR
        looking = (names.nameOf if isReverse else names.addressOf)(request, self)
        self._pending = looking
        looking.addCallback(self._found).addErrback(self._connectFailed)

    def _found(self, answer: Address) -> None:
        self._pending = None
        if self._state is _CONNECTING:
            assert self._dialect is not None
            response = self._dialect.answer(_SUCCEEDED, answer)
            self._factory.sessionAnswered(self, answer)
            self._close(response)

    def _associate(self, request: Request) -> None:
        associations = self._factory.associations
        assert associations is not None
        self._pending = associating = associations.associate(request, self)
        associating.addCallback(self._associated).addErrback(self._connectFailed)

    def _associated(self, relay: DatagramRelay) -> None:
        self._pending = None
        if self._state is _CONNECTING and self._clientEnded:
            self._refuse(_LEFT)
        if self._state is not _CONNECTING:
            relay.close()
            return
        assert self._dialect is not None
        self._giveTime(None)
        self._send(self._dialect.answer(_SUCCEEDED, relay.address))
        self._relay = relay
        self._state = _RELAYING
        self.isConnected = True
        self._dialect = None
        del self._received
        # To be written like those of TCP connections.
        kind = IPv6Address if relay.address.type == AddressType.IPV6 else IPv4Address
        address = kind("UDP", relay.address.host, relay.address.port)
        self._factory.sessionConnected(self, address)
        # It may be silent for as long as the association lasts.
        keepAlive(self.transport)
        layer = None if self._secured is None else self._secured.layer
        relay.start(self.transport, self._relayFinished, layer)

    # The relay.

    def _connected(self, target: IProtocol) -> None:
        self._pending = None
        try:
            self._startRelay(target)
        except Exception:
            self._connectFailed(Failure())

    def _startRelay(self, target: IProtocol) -> None:
        if not isinstance(target, RelayEnd):
            raise TypeError(
                f"the connector's protocol is {target!r}, not one that the "
                "protocolFactory it was given has built"
            )
        if self._state is not _CONNECTING:
            target.abort()
            return
        assert self._dialect is not None and self.request is not None
        try:
            transport = target.transport
            if self.request.command != _CONNECT:
                # BIND's second answer tells who it is that has connected.
                bound = _addressOf(transport.getPeer())
            elif isinstance(transport, HubConnection):
                bound = transport.bound
            else:
                bound = _addressOf(transport.getHost())
            answer = self._dialect.answer(_SUCCEEDED, bound)
        except Exception:
            target.abort()
            raise
        self._giveTime(None)
        self._send(answer)
        self._relay = relayBetween(
            self.transport,
            self._received.takeAll(),
            self._clientEnded,
            target,
            self._factory.idleWatch,
            self._relayFinished,
            self._factory.hub if self._isDirect else None,
        )
        self._state = _RELAYING
        self.isConnected = True
        # There can be very many of these, with nothing to do.
        self._dialect = None
        del self._received
        self._factory.sessionConnected(self, target.transport.getPeer())
        self._relay.start()

    def _relayFinished(self, reason: str) -> None:
        self._state = _GONE
        relay: Any = self._relay
        self._factory.sessionFinished(self, relay, reason)
        self._over()

    # What is more than one request.

    def _handOver(self, conversation: IConversation) -> None:
        self._giveTime(None)
        self._state = _RELAYING
        self._relay = conversation
        early = self._received.takeAll()
        self._dialect = None
        del self._received
        conversation.start(
            self.transport,
            early,
            self._clientEnded,
            Targets(self._factory, self),
            self._conversationFinished,
        )

    def _conversationFinished(self) -> None:
        self._state = _GONE
        # Whoever has logged in during the conversation was its own affair.
        self.request = None
        self._over()

    # The end.

    def _refuseForOurFault(self, failure: Failure) -> None:
        log.failure("The handshake with {client} failed.", failure, client=self.peer)
        self._refuse("internal error")

    def _refuse(
        self, reason: str, response: bytes = b"", code: ReplyCode | None = None
    ) -> None:
        """
        Tell the client and close.
        """
        self._factory.sessionRefused(self, reason, code)
        self._close(response)

    def _close(self, response: bytes) -> None:
        """
        A close with bytes of the client unread would be a reset, which can
        overtake the answer: so writing ends first, and what still comes is
        dropped until the client closes too.
        """
        self._state = _CLOSING
        self._cancelPending()
        self._giveTime(self._factory.closings)
        transport = self.transport
        if response:
            self._send(response)
        if self._clientEnded:
            transport.loseConnection()
        else:
            endWriting(transport)
            transport.resumeProducing()

    def _cancelPending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()

    def _over(self) -> None:
        # They refer to each other: this way there is no work for the collector.
        if self._deadlines is not None:
            self._giveTime(None)
        dialect, self._dialect = self._dialect, None
        try:
            if self.request is not None:
                self.request.identity.logout()
            elif dialect is not None:
                dialect.abandon()
        except Exception:
            log.failure("The logout of {client} failed.", client=self.peer)
        self._factory.sessionClosed(self)


def _addressOf(address: IAddress) -> Address:
    """
    BND.ADDR and BND.PORT of a connection's own end, as far as it has such.
    """
    if isinstance(address, IPv4Address):
        return Address(AddressType.IPV4, address.host, address.port)
    if isinstance(address, IPv6Address):
        return Address.ip(address.host, address.port)
    return Address.UNSPECIFIED
