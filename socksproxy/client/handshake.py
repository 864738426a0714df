"""
The protocol of a connection to a proxy until the proxy has answered, and the
only one here that knows the transport.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from socksproxy.client.errors import LoginRefused, ProxyProtocolError
from socksproxy.client.interfaces import ConversationStep, IConversation, Replied
from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import Denied, ISecurityLayer
from socksproxy.secured import SecuredTransport
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer

__all__ = ["Handshake"]


@implementer(IHalfCloseableProtocol)
class Handshake(Protocol):
    """
    One conversation with a proxy, and what is left of the connection
    afterwards.

    @ivar bound: what the last reply said.
    @ivar proxy: where the proxy is, if that is not what the transport says.
    """

    transport: Any
    bound = Address.UNSPECIFIED
    proxy: Address | None = None

    # The transport, once all that it carries is protected.
    _secured: SecuredTransport | None = None
    # Whoever waits for a reply.
    _result: Deferred[Handshake] | None = None
    # Whether that is TLS's.
    _isSecuring = False
    # A step of the conversation that takes its time.
    _pending: Deferred[Any] | None = None
    _user: IProtocol | None = None
    # Whether the result is being told just now.
    _isTelling = False
    _ended = False
    _lost: Failure | None = None

    def __init__(self, conversation: IConversation) -> None:
        self.conversation = conversation
        self._received = ReceiveBuffer()

    @property
    def layer(self) -> ISecurityLayer | None:
        """
        What protects the connection, and what travels beside it.
        """
        return None if self._secured is None else self._secured.layer

    @property
    def _isTorn(self) -> bool:
        return self._secured is not None and self._secured.isTorn

    def secure(self) -> Deferred[Handshake]:
        """
        Where there is TLS that begins just now, wait until it is known who the
        proxy is, and say nothing.

        @return: as L{converse}, which would not tell that from what it waits for.
        """
        # Not sooner: to an endpoint's own wrapper nobody is both a listener and able
        # to half-close, and it would take the proxy's end for the connection's.
        alsoProvides(self, IHandshakeListener)
        self._isSecuring = True
        result = self._result = Deferred(self._cancelled)
        if self._lost is not None:
            self._fail(_closed(self._lost))
        return result

    def converse(self) -> Deferred[Handshake]:
        """
        Go on until there is a reply; where there is another one to come, until
        that one.

        @return: fires with this.  Fails with a L{RequestFailed
            <socksproxy.errors.RequestFailed>}; the connection is closed then, as
            it is when this is cancelled.
        """
        result = self._result = Deferred(self._cancelled)
        if self._lost is not None or self._ended:
            self._fail(_closed(self._lost))
        else:
            self._advance()
        return result

    def handOver(self, protocolFactory: IProtocolFactory, address: IAddress) -> Any:
        """
        Let a protocol have the connection as it is, from now on.  While there
        is no reply yet, the protocol can send; it hears of the reply only when
        that is a refusal: by C{connectionLost}.

        @param address: what the factory is told.
        @return: the protocol, which has not received anything yet: what has
            come is delivered once whoever waits for the reply has been told.
        @raise NoProtocol: the factory does not want it; whatever is raised, the
            connection is closed.
        """
        try:
            protocol = protocolFactory.buildProtocol(address)
            if protocol is None:
                raise NoProtocol()
        except BaseException:
            self.abort()
            raise
        self._user = protocol
        transport = self.transport
        if self._result is None:
            self._switch(protocol)
        protocol.makeConnection(transport)
        if self._result is None and not self._isTelling:
            self.deliver()
        return protocol

    def deliver(self) -> None:
        """
        Give the protocol what came behind the reply, without waiting for whoever
        is being told of it.
        """
        user = self._user
        if user is None or self._result is not None:
            return
        early = self._received.takeAll()
        if early:
            user.dataReceived(early)
        if self._lost is not None:
            user.connectionLost(self._lost)
        elif self._ended:
            self._ended = False
            self.readConnectionLost()

    def refused(self, reason: Failure) -> None:
        """
        Tell the protocol that has the connection already that this was in vain.
        """
        user, self._user = self._user, None
        if user is not None:
            user.connectionLost(reason)

    def reachable(self) -> Address:
        """
        What the last reply said, with the proxy's own address where it left that
        out.
        """
        bound = self.bound
        if bound.host not in ("0.0.0.0", "::"):
            return bound
        if self.proxy is not None:
            return Address(self.proxy.type, self.proxy.host, bound.port)
        try:
            return Address.ip(self.transport.getPeer().host, bound.port)
        except (AttributeError, ValueError):
            return bound

    def abort(self) -> None:
        """
        Nobody has a use for the connection.
        """
        transport = self.transport
        if self._lost is None:
            getattr(transport, "abortConnection", transport.loseConnection)()

    # What the transport says.

    def dataReceived(self, data: bytes) -> None:
        try:
            data = self._unprotected(data)
            if self._result is None and self._user is not None:
                if data:
                    self._user.dataReceived(data)
                return
            self._received.feed(data)
        except RemoteProtocolError as wrong:
            self._fail(ProxyProtocolError(str(wrong)))
            return
        if self._result is not None and self._pending is None:
            self._advance()

    def handshakeCompleted(self) -> None:
        if self._isSecuring and self._result is not None:
            self._isSecuring = False
            self._succeed()

    def readConnectionLost(self) -> None:
        if self._result is not None:
            self._fail(_closed())
        elif self._isTorn:
            self._fail(_cutShort())
        elif self._user is None:
            self._ended = True
        elif IHalfCloseableProtocol.providedBy(self._user):
            self._user.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        if IHalfCloseableProtocol.providedBy(self._user):
            self._user.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._isTorn and reason.check(ConnectionDone):
            reason = Failure(_cutShort())
        self._lost = reason
        if self._result is not None:
            self._fail(_closed(reason))
        else:
            self.refused(reason)

    # The conversation.

    def _advance(self) -> None:
        while self._result is not None:
            try:
                step = self.conversation.advance(self._received)
            except RemoteProtocolError as wrong:
                self._fail(ProxyProtocolError(str(wrong)))
                return
            except Exception as failure:
                self._fail(failure)
                return
            if step is None:
                return
            if isinstance(step, Deferred):
                self._pending = step
                self.transport.pauseProducing()
                step.addCallbacks(self._stepCame, self._stepFailed)
                return
            self._take(step)

    def _take(self, step: ConversationStep) -> None:
        if isinstance(step, Replied):
            self.bound = step.bound
            self._succeed()
            return
        if step.response:
            self.transport.write(step.response)
        if isinstance(step, Denied):
            self._fail(LoginRefused(step.reason), isTold=bool(step.response))
        elif step.securityLayer is not None:
            self._secured = self.transport = SecuredTransport(
                self.transport, ISecurityLayer(step.securityLayer)
            )
            early = self._received.takeAll()
            try:
                self._received.feed(self._unprotected(early))
            except RemoteProtocolError as wrong:
                self._fail(ProxyProtocolError(str(wrong)))

    def _unprotected(self, data: bytes) -> bytes:
        """
        What was in C{data}, as far as it has come to its end.
        """
        return data if self._secured is None else self._secured.unwrap(data)

    def _stepCame(self, step: ConversationStep) -> None:
        self._pending = None
        if self._result is not None:
            self.transport.resumeProducing()
            self._take(step)
            self._advance()

    def _stepFailed(self, failure: Failure) -> None:
        self._pending = None
        if self._result is not None:
            assert failure.value is not None
            self._fail(failure.value)

    def _succeed(self) -> None:
        result, self._result = self._result, None
        assert result is not None
        user = self._user
        if user is not None:
            self._switch(user)
        self._isTelling = True
        result.callback(self)
        self._isTelling = False
        self.deliver()

    def _fail(self, failure: BaseException, isTold: bool = False) -> None:
        """
        @param isTold: whether the proxy shall get what it was sent last.
        """
        result, self._result = self._result, None
        self._letGo()
        if isTold:
            self.transport.loseConnection()
        else:
            self.abort()
        if result is not None:
            result.errback(Failure(failure))
        else:
            self.refused(Failure(failure))

    def _cancelled(self, result: Deferred[Handshake]) -> None:
        self._result = None
        self._letGo()
        self.abort()

    def _letGo(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        self.conversation.abandon()

    def _switch(self, user: IProtocol) -> None:
        """
        Have the transport tell C{user} what it has to tell, where it is one that
        can be told so.  Otherwise it tells this, which passes it on.
        """
        if self._secured is not None:
            return
        for name in ("wrappedProtocol", "protocol"):
            told = getattr(self.transport, name, None)
            # An endpoint's own wrapper has done its work by now.
            if told is self or getattr(told, "_wrappedProtocol", None) is self:
                setattr(self.transport, name, user)
                return


def _closed(reason: Failure | None = None) -> ProxyProtocolError:
    words = "the proxy closed the connection before it answered"
    if reason is None or reason.check(ConnectionDone):
        return ProxyProtocolError(words)
    # TLS has reasons that want to be known.
    return ProxyProtocolError(f"{words}: {reason.getErrorMessage()}")


def _cutShort() -> ProxyProtocolError:
    # Somebody in between may have done it.
    return ProxyProtocolError("the proxy's last protected message is cut short")
