"""
The dialect of RFC 1928: greeting, negotiation, request, reply.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import (
    Continue,
    Denied,
    DialectStep,
    Granted,
    IAuthenticator,
    Identity,
    IDialect,
    INegotiation,
    ISession,
    NegotiationStep,
    Request,
)
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, Method, ReplyCode
from socksproxy.wire.socks5 import Greeting, Reply, Selection
from socksproxy.wire.socks5 import Request as RequestMessage

__all__ = ["SOCKS5Dialect"]

_COMMANDS: dict[int, Command] = {int(command): command for command in Command}

_SELECTIONS = [Continue(Selection(method).encode()) for method in range(256)]

_NONE_ACCEPTABLE = Denied(
    "no acceptable authentication method",
    Selection(Method.NO_ACCEPTABLE_METHODS).encode(),
)


@implementer(IDialect)
class SOCKS5Dialect:
    """
    One conversation: a greeting, then a negotiation, then a request.
    """

    def __init__(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> None:
        """
        @param authenticators: in the server's order of preference.
        """
        self._session = session
        self._authenticators = authenticators
        self._negotiation: INegotiation | None = None
        self._identity: Identity | None = None

    def advance(
        self, received: ReceiveBuffer
    ) -> DialectStep | Deferred[DialectStep] | None:
        if self._identity is not None:
            return self._readRequest(received, self._identity)
        if self._negotiation is not None:
            return self._negotiate(received, self._negotiation)
        return self._readGreeting(received)

    def answer(
        self, code: ReplyCode, bound: Address, cause: BaseException | None = None
    ) -> bytes:
        return Reply(code, bound).encode()

    def abandon(self) -> None:
        if self._identity is not None:
            self._identity.logout()
        elif self._negotiation is not None:
            self._negotiation.abandon()

    def _readGreeting(self, received: ReceiveBuffer) -> DialectStep | None:
        greeting = Greeting.parse(received)
        if greeting is None:
            return None
        for authenticator in self._authenticators:
            if authenticator.method in greeting.methods:
                self._negotiation = authenticator.beginNegotiation(self._session)
                if self._negotiation is not None:
                    return _SELECTIONS[authenticator.method]
        return _NONE_ACCEPTABLE

    def _negotiate(
        self, received: ReceiveBuffer, negotiation: INegotiation
    ) -> DialectStep | Deferred[DialectStep] | None:
        step = negotiation.advance(received)
        if isinstance(step, Granted):
            if step.response or step.securityLayer is not None:
                return self._decide(step)
            # Nothing to send: on with the request, which may be here already.
            self._identity = step.identity
            return self._readRequest(received, step.identity) if received else None
        if isinstance(step, Deferred):
            return step.addCallback(self._decide)
        return None if step is None else self._decide(step)

    def _decide(self, step: NegotiationStep) -> DialectStep:
        if isinstance(step, Granted):
            self._identity = step.identity
            return Continue(step.response, step.securityLayer)
        if isinstance(step, Denied):
            self._negotiation = None
        return step

    def _readRequest(
        self, received: ReceiveBuffer, identity: Identity
    ) -> DialectStep | None:
        try:
            message = RequestMessage.parse(received)
        except RemoteProtocolError as wrong:
            return Denied(str(wrong), self.answer(wrong.reply, Address.UNSPECIFIED))
        if message is None:
            return None
        command = _COMMANDS.get(message.command, message.command)
        return Request(command, message.destination, identity)
