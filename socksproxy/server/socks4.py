"""
The dialect of SOCKS version 4 and 4a: a request and its reply.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from socksproxy.errors import AddressTypeNotSupported, RemoteProtocolError
from socksproxy.interfaces import (
    Continue,
    Denied,
    DialectStep,
    IAuthenticator,
    Identity,
    IDialect,
    ISession,
    Request,
)
from socksproxy.server.logins import identityUnasked
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import SOCKS5_VERSION, AddressType, Command, ReplyCode
from socksproxy.wire.socks4 import Code, Reply
from socksproxy.wire.socks4 import Request as RequestMessage
from socksproxy.wire.socks5 import Greeting

__all__ = ["SOCKS4Dialect"]

_COMMANDS = {1: Command.CONNECT, 2: Command.BIND, 0xF0: Command.RESOLVE}
"""
The last one is Tor's.
"""

_REFUSAL = Reply(Code.REFUSED).encode()

_NOT_VERSION_5 = Continue(bytes((0, Code.REFUSED)))
"""
To a greeting.  Java reads so many bytes, sees that this is not version 5, and
sends a SOCKS4 request over the same connection.
"""


@implementer(IDialect)
class SOCKS4Dialect:
    """
    One conversation.  A user id is not a login: where one is demanded, the answer
    is 91.
    """

    def __init__(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> None:
        self._session = session
        self._authenticators = authenticators
        self._command: Command | None = None

    def advance(
        self, received: ReceiveBuffer
    ) -> DialectStep | Deferred[DialectStep] | None:
        if received.peek(1) == bytes((SOCKS5_VERSION,)):
            return None if Greeting.parse(received) is None else _NOT_VERSION_5
        try:
            message = RequestMessage.parse(received)
        except RemoteProtocolError as wrong:
            return Denied(str(wrong), _REFUSAL)
        if message is None:
            return None
        command = self._command = _COMMANDS.get(message.command)
        if command is None:
            return Denied(f"command {message.command:#04x} of SOCKS4", _REFUSAL)
        identity = identityUnasked(self._authenticators, self._session)
        if isinstance(identity, Deferred):
            return identity.addCallback(_decide, command, message.destination)
        return _decide(identity, command, message.destination)

    def answer(
        self, code: ReplyCode, bound: Address, cause: BaseException | None = None
    ) -> bytes:
        isGranted = code == ReplyCode.SUCCEEDED
        isAll = self._command == Command.RESOLVE
        if isGranted and isAll and bound.type != AddressType.IPV4:
            raise AddressTypeNotSupported("SOCKS4 has no words for such an address")
        return Reply(Code.GRANTED if isGranted else Code.REFUSED, bound).encode()

    def abandon(self) -> None:
        """
        Whoever was let in has made its request.
        """


def _decide(
    identity: Identity | None, command: Command, destination: Address
) -> DialectStep:
    if identity is None:
        return Denied("a login is demanded, and SOCKS4 has none", _REFUSAL)
    return Request(command, destination, identity)
