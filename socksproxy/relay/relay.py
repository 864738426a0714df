"""
The relay for any two transports: producers and consumers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.relay.idle import IdleWatch, IWatched

__all__ = ["ProtocolRelay", "RelayEnd", "endWriting", "isReset", "keepAlive"]


def keepAlive(transport: Any) -> None:
    """
    Have the system find out, in its own time, whether the peer is still there.
    """
    if hasattr(transport, "setTcpKeepAlive"):
        try:
            transport.setTcpKeepAlive(True)
        except OSError:
            pass  # Some systems refuse it where the connection was reset.


def endWriting(transport: Any) -> None:
    """
    Send all that is waiting, then the EOF, and go on receiving.

    TLS in Twisted knows no such thing; C{loseConnection} comes close to it: the
    close alert goes out, and data is received until the peer answers it.
    """
    if ISSLTransport.providedBy(transport):
        transport.loseConnection()
    else:
        transport.loseWriteConnection()


def isReset(transport: Any) -> bool:
    """
    Whether an end that a reactor has told of is none: it takes a reset for one
    that comes while reading is paused, if it goes on in the same round.
    """
    sock = getattr(transport, "socket", None)
    return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


@implementer(IHalfCloseableProtocol, IPushProducer)
class RelayEnd(Protocol):
    """
    One of the two connections of a session.  It stops its transport from
    reading until a relay starts; what comes all the same waits here.

    @ivar received: bytes that came over this connection and were relayed.
    @ivar ended: whether nothing more will come over it.
    @ivar lost: why it is gone, once it is.
    """

    transport: Any
    received = 0
    ended = False
    lost: Failure | None = None

    _relay: ProtocolRelay | None = None
    _other: RelayEnd
    _paused = False
    # Whether the other end is the producer of this one's transport.
    _isFed = False

    def __init__(self) -> None:
        # What has come too early; nothing is any more once this is None.
        self._early: list[bytes] | None = []

    def connectionMade(self) -> None:
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        if self._early is None:
            self.received += len(data)
            self._other.transport.write(data)
        else:
            self._early.append(data)

    def readConnectionLost(self) -> None:
        if isReset(self.transport):
            self.transport.abortConnection()
            return
        self.ended = True
        if self._relay is not None:
            self._relay.passEndOn(self, self._other)

    def writeConnectionLost(self) -> None:
        """
        All that this side was sent is out, its end included: as wanted.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True
        self.lost = reason
        if self._relay is not None:
            self._relay.passLossOn(self, self._other, reason)

    def join(self, relay: ProtocolRelay, other: RelayEnd) -> None:
        """
        What comes is for C{other}, from L{start} on.
        """
        self._relay = relay
        self._other = other
        other.transport.registerProducer(self, True)
        other._isFed = True

    def start(self) -> None:
        """
        Deliver what has come already, and go on as fast as the other side
        takes it.
        """
        early = self.takeEarly()
        if early:
            self.dataReceived(early)
        if not self._paused:
            self.resumeProducing()

    def takeEarly(self) -> bytes:
        """
        What has come already, for a relay that reads on by itself.
        """
        early, self._early = self._early or (), None
        return b"".join(early)

    def stopWriting(self) -> None:
        """
        Send all that is waiting, then the EOF.
        """
        self._unregister()
        endWriting(self.transport)

    def close(self) -> None:
        """
        Send all that is waiting, then close.
        """
        self._unregister()
        self.transport.loseConnection()

    def abort(self) -> None:
        """
        Reset the connection.
        """
        self._unregister()
        self.transport.abortConnection()

    def _unregister(self) -> None:
        """
        With a paused producer a transport would wait for it for ever.
        """
        if self._isFed:
            self._isFed = False
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True
        if not self.ended:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        if not self.ended:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        The other connection is lost: L{ProtocolRelay.passLossOn} knows.
        """


@implementer(IWatched)
class ProtocolRelay:
    """
    Moves bytes between two L{RelayEnd}s.

    @ivar client: who is told what the client's transport tells.
    """

    def __init__(
        self,
        client: RelayEnd,
        target: RelayEnd,
        watch: IdleWatch,
        finished: Callable[[str], object],
    ) -> None:
        """
        @param finished: called once, when both connections are gone, with the
            reason in words for the log.
        """
        self.client = client
        self._target = target
        self._watch = watch
        self._finished = finished
        self._reason = ""
        self._isFinished = False
        client.join(self, target)
        target.join(self, client)

    @property
    def bytesSent(self) -> int:
        """
        Bytes moved from the client to the target.
        """
        return self.client.received

    @property
    def bytesReceived(self) -> int:
        """
        Bytes moved from the target to the client.
        """
        return self._target.received

    def start(self) -> None:
        """
        Deliver what has come already, then all that comes.
        """
        ends = (self.client, self._target)
        self._watch.started(self)
        for end in ends:
            end.start()
        for end, other in (ends, ends[::-1]):
            if end.lost is not None:
                self.passLossOn(end, other, end.lost)
            elif end.ended:
                self.passEndOn(end, other)

    def abort(self, reason: str) -> None:
        """
        Reset both connections.
        """
        self._setReason(reason)
        for end in (self.client, self._target):
            if end.lost is None:
                end.abort()

    def keepAlive(self) -> None:
        """
        Have the system find out whether both peers are still there.
        """
        for end in (self.client, self._target):
            if end.lost is None:
                keepAlive(end.transport)

    def passEndOn(self, end: RelayEnd, other: RelayEnd) -> None:
        """
        Nothing more comes from C{end}.
        """
        if other.lost is not None:
            return
        if other.ended:
            self._setReason("closed")
            end.close()
            other.close()
        else:
            other.stopWriting()
            self._watch.halfClosed(self)

    def passLossOn(self, end: RelayEnd, other: RelayEnd, reason: Failure) -> None:
        """
        The connection of C{end} is gone.
        """
        if reason.check(ConnectionDone):
            self._setReason("closed")
        else:
            self._setReason(
                "reset by the client" if end is self.client else "reset by the target"
            )
        if other.lost is not None:
            self._finish()
        elif reason.check(ConnectionDone):
            other.close()
        else:
            other.abort()

    def _finish(self) -> None:
        if not self._isFinished:
            self._isFinished = True
            self._watch.finished(self)
            self._finished(self._reason)

    def _setReason(self, reason: str) -> None:
        """
        What comes first is the reason; the rest is what it leads to.
        """
        self._reason = self._reason or reason
