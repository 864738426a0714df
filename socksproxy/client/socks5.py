"""
The conversation of RFC 1928, as clients have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socksproxy.client.errors import NoAcceptableMethod, ProxyProtocolError, failureOf
from socksproxy.client.interfaces import (
    Accepted,
    ClientStep,
    ConversationStep,
    IClientAuthenticator,
    IClientNegotiation,
    IConversation,
    Replied,
)
from socksproxy.client.login import NoLogin
from socksproxy.interfaces import Continue, Denied
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, Method
from socksproxy.wire.socks5 import Greeting, Reply, Request, Selection

__all__ = ["SOCKS5Conversation"]

ANYBODY: Sequence[IClientAuthenticator] = (NoLogin(),)

_Read = Callable[[ReceiveBuffer], ConversationStep | Deferred[ConversationStep] | None]


@implementer(IConversation)
class SOCKS5Conversation:
    """
    Greeting, negotiation, request, and as many replies as are asked for.
    """

    isRequested = False

    def __init__(
        self,
        command: Command,
        destination: Address,
        authenticators: Sequence[IClientAuthenticator] = ANYBODY,
        isPipelined: bool = False,
    ) -> None:
        """
        @param authenticators: what is offered; the proxy chooses.
        @param isPipelined: whether everything is sent at once, without waiting
            for what the proxy says to it.
        @raise ValueError: there is nothing to offer, or a choice, or more than
            one message, where everything is sent at once.
        """
        if not authenticators:
            raise ValueError("a greeting has to offer a method")
        if isPipelined and (len(authenticators) > 1 or not authenticators[0].isOneWay):
            raise ValueError(
                "only one method can be offered, and one that takes a single "
                "message, when the request does not wait for the proxy's choice"
            )
        self._command = command
        self._request = Request(command, destination).encode()
        self._authenticators = authenticators
        self._isPipelined = isPipelined
        self._negotiation: IClientNegotiation | None = None
        self._isAccepted = False
        self._read: _Read = self._greet

    def advance(
        self, received: ReceiveBuffer
    ) -> ConversationStep | Deferred[ConversationStep] | None:
        return self._read(received)

    def abandon(self) -> None:
        negotiation, self._negotiation = self._negotiation, None
        if negotiation is not None:
            negotiation.abandon()

    # What is next, by what was last.

    def _greet(self, received: ReceiveBuffer) -> ConversationStep:
        self._read = self._readSelection
        methods = bytes(a.method for a in self._authenticators)
        greeting = Greeting(methods).encode()
        if not self._isPipelined:
            return Continue(greeting)
        self._negotiation = self._authenticators[0].beginNegotiation(self._command)
        opening = self._negotiation.advance(ReceiveBuffer())
        assert isinstance(opening, (Accepted, Continue)), opening
        self._isAccepted = isinstance(opening, Accepted)
        return Continue(greeting + opening.response + self._request)

    def _readSelection(
        self, received: ReceiveBuffer
    ) -> ConversationStep | Deferred[ConversationStep] | None:
        selection = Selection.parse(received)
        if selection is None:
            return None
        if selection.method == Method.NO_ACCEPTABLE_METHODS:
            raise NoAcceptableMethod("the proxy accepts none of the methods offered")
        for authenticator in self._authenticators:
            if authenticator.method == selection.method:
                break
        else:
            raise ProxyProtocolError("the proxy chose a method that was not offered")
        if self._isAccepted:
            return self._expectReply()
        if self._negotiation is None:
            self._negotiation = authenticator.beginNegotiation(self._command)
        self._read = self._negotiate
        return self._negotiate(received)

    def _negotiate(
        self, received: ReceiveBuffer
    ) -> ConversationStep | Deferred[ConversationStep] | None:
        assert self._negotiation is not None
        step = self._negotiation.advance(received)
        if isinstance(step, Deferred):
            return step.addCallback(self._decide)
        return None if step is None else self._decide(step)

    def _decide(self, step: ClientStep) -> ConversationStep:
        if isinstance(step, (Continue, Denied)):
            return step
        self._negotiation = None
        if self._isPipelined:
            return self._expectReply()
        if step.response or step.securityLayer is not None:
            # The request may have to be protected.
            self._read = self._sendRequest
            return Continue(step.response, step.securityLayer)
        return self._expectReply(self._request)

    def _sendRequest(self, received: ReceiveBuffer) -> ConversationStep:
        return self._expectReply(self._request)

    def _expectReply(self, response: bytes = b"") -> ConversationStep:
        self.isRequested = True
        self._read = self._readReply
        return Continue(response)

    def _readReply(self, received: ReceiveBuffer) -> ConversationStep | None:
        reply = Reply.parse(received)
        if reply is None:
            return None
        if reply.code:
            raise failureOf(reply.code)
        return Replied(reply.bound)
