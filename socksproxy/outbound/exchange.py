"""
Questions to one name server, in the messages of L{twisted.names}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ClientFactory
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import HostUnreachable
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["Exchange"]

MAX_DATAGRAM = 4096
"""
More than any server sends who was not told that it may.
"""

STREAM_SECONDS = 5.0
"""
What a server has for all of its answers once it is asked over TCP.
"""


@implementer(IReadDescriptor)
class Exchange:
    """
    Questions to one server and its answers: over UDP, or, once it has said
    that an answer does not fit, over TCP.

    The port is chosen by the system, a new one for each exchange, the
    identifiers at random, and what did not come from the server or does not
    repeat the question is no answer: there is much to guess for somebody who
    wants to forge one (RFC 5452).
    """

    def __init__(
        self,
        reactor: Any,
        server: Address,
        answered: Callable[[dns.Query, dns.Message], object],
        over: Callable[[Exception | None], object],
    ) -> None:
        """
        @param answered: called with each answer.
        @param over: called once there are all answers, or there will be no
            more.
        """
        self._reactor = reactor
        self._server = server
        self._answered = answered
        self._over = over
        self._owed: dict[int, dns.Query] = {}
        self._socket: socket.socket | None = None
        self._stream: Any = None

    def start(self, queries: Sequence[dns.Query], seconds: float) -> Exception | None:
        """
        @return: why it failed at once.
        """
        for query in queries:
            number = dns.randomSource()
            while number in self._owed:
                number = dns.randomSource()
            self._owed[number] = query
        isIPv6 = self._server.type == AddressType.IPV6
        try:
            self._socket = asking = socket.socket(
                socket.AF_INET6 if isIPv6 else socket.AF_INET, socket.SOCK_DGRAM
            )
        except OSError as wrong:
            return wrong
        try:
            asking.setblocking(False)
            asking.connect((self._server.host, self._server.port))
            for question in self.questions():
                asking.send(question)
        except OSError as wrong:
            asking.close()
            return _unreachable(wrong)
        self._timer = self._reactor.callLater(seconds, self._end)
        self._reactor.addReader(self)
        return None

    def questions(self) -> list[bytes]:
        """
        The messages that ask for what is owed.
        """
        asked = []
        for number, query in self._owed.items():
            message = dns.Message(number, recDes=1)
            message.queries = [query]
            asked.append(message.toStr())
        return asked

    def received(self, data: bytes) -> None:
        """
        The server, or somebody who says so, has sent a message.
        """
        message = dns.Message()
        try:
            message.fromStr(data)
        except (ValueError, EOFError):
            return
        query = self._owed.get(message.id)
        if query is None or not message.answer or message.queries != [query]:
            return
        if message.trunc and self._stream is None:
            self._askByStream()
            return
        del self._owed[message.id]
        self._answered(query, message)
        if not self._owed:
            self._end()

    def close(self) -> None:
        """
        Nobody wants to know any more.
        """
        self._owed.clear()
        if self._timer.active():
            self._timer.cancel()
        self._closeSocket()
        if self._stream is not None:
            self._stream.disconnect()

    def _end(self, failure: Exception | None = None) -> None:
        self.close()
        self._over(failure)

    def _closeSocket(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "socksproxy dns"

    def doRead(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError as wrong:
            self._end(_unreachable(wrong))
        else:
            self.received(data)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw an error on the socket, as a rule that nobody listens.
        """
        if self._socket is not None:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._end(_unreachable(OSError(code, os.strerror(code))))

    def _askByStream(self) -> None:
        self._closeSocket()
        self._timer.reset(STREAM_SECONDS)
        self._stream = self._reactor.connectTCP(
            self._server.host, self._server.port, _StreamFactory(self), STREAM_SECONDS
        )

    def streamLost(self, reason: Failure) -> None:
        """
        There is no connection, or not any more.
        """
        if self._owed:
            self._end(_unreachable(reason.value))


def _unreachable(wrong: object) -> HostUnreachable:
    return HostUnreachable(f"a name server does not answer: {wrong}")


class _Stream(Int16StringReceiver):
    """
    The same over TCP (RFC 7766).
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def connectionMade(self) -> None:
        for question in self._exchange.questions():
            self.sendString(question)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        self._exchange.received(string)


class _StreamFactory(ClientFactory):
    noisy = False

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def buildProtocol(self, addr: object) -> _Stream:
        return _Stream(self._exchange)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._exchange.streamLost(reason)

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        self._exchange.streamLost(reason)
