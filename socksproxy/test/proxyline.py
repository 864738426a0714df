"""
Proxies in memory, for the tests of those who connect through them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.testing import MemoryTransport

__all__ = ["Line", "MemoryEndpoint", "Recorder", "ended", "join", "recorders"]


class Line(MemoryTransport):
    """
    A transport that knows its protocol, as those of the reactor do.

    @ivar protocol: who is told what comes.
    """

    protocol: Any = None

    def receive(self, data: bytes) -> None:
        """
        C{data} has come.
        """
        self.protocol.dataReceived(data)

    def taken(self) -> bytes:
        """
        What was written since this was asked last.
        """
        written = b"".join(self.writes)
        self.writes.clear()
        return written

    def gone(self, reason: Exception | None = None) -> None:
        """
        The connection is lost.
        """
        self.lose(self.protocol, reason)


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    Leads to a proxy, when the test says so.

    @ivar line: that of the last connection.
    @ivar waiting: what the last C{connect} returned.
    @ivar cancelled: whether that was cancelled.
    """

    line: Line
    waiting: Deferred[IProtocol]
    cancelled = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        As in L{IStreamClientEndpoint}.
        """
        self._factory = protocolFactory
        self.waiting = Deferred(self._cancel)
        return self.waiting

    def arrive(self, line: Line | None = None) -> Line:
        """
        There is a connection to the proxy.
        """
        self.line = Line() if line is None else line
        self._factory.doStart()
        protocol: Any = self._factory.buildProtocol(self.line.getPeer())
        self.line.protocol = protocol
        protocol.makeConnection(self.line)
        self.waiting.callback(protocol)
        return self.line

    def _cancel(self, waiting: Deferred[IProtocol]) -> None:
        self.cancelled = True


class Recorder(Protocol):
    """
    Somebody's protocol.

    @ivar received: all that has come.
    @ivar log: what it was told, in its order.
    @ivar lost: why its connection is gone.
    """

    transport: Any
    lost: Failure | None = None
    greeting = b""

    def __init__(self) -> None:
        self.received = b""
        self.log: list[object] = []

    def connectionMade(self) -> None:
        self.log.append("made")
        if self.greeting:
            self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.log.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        self.log.append("lost")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """
    One that goes on when the other side has ended.
    """

    def readConnectionLost(self) -> None:
        self.log.append("read lost")

    def writeConnectionLost(self) -> None:
        self.log.append("write lost")


class _Recorders(Factory):
    """
    @ivar addresses: what it was told.
    @ivar built: what it has built.
    """

    noisy = False

    def __init__(self, kind: type[Recorder]) -> None:
        self._kind = kind
        self.addresses: list[IAddress | None] = []
        self.built: list[Recorder] = []

    def buildProtocol(self, addr: IAddress | None) -> Recorder:
        self.addresses.append(addr)
        built = self._kind()
        self.built.append(built)
        return built


def recorders(kind: type[Recorder] = Recorder) -> _Recorders:
    """
    A factory of such.
    """
    return _Recorders(kind)


def ended(line: Line) -> bool:
    """
    Whether we have closed it.
    """
    return line.aborted or bool(line.disconnecting)


def join(client: Line, server: Line, size: int) -> None:
    """
    Deliver what each has written to the other, C{size} bytes at a time, until
    nobody has anything to say.
    """
    while any(line.writes for line in (client, server)):
        for here, there in ((client, server), (server, client)):
            data = here.taken()
            for start in range(0, len(data), size):
                there.receive(data[start : start + size])
