"""
The relay of two plain sockets on Linux: by copy and by splice(2), through the
hub.

A short read is copied through one buffer that all sessions share.  A read that
fills it shows that there is more, which is moved by L{os.splice} through a pipe
without ever becoming a Python object.  A pipe is held only while bytes are in
it.

The transports above the two sockets are asleep meanwhile, and are told of the
end.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.hubconnection import HubConnection, keepUrgentInline
from socksproxy.relay.hub import Hub, IWatcher
from socksproxy.relay.idle import IdleWatch, IWatched
from socksproxy.relay.pipes import CAPACITY, Pipe, PipePool
from socksproxy.relay.relay import RelayEnd, keepAlive

__all__ = ["SpliceRelay"]

COPY = 1 << 14
"""
Bytes that are copied; a read that is shorter found the socket empty.
"""

ROUNDS = 8
"""
How often one socket is read in one turn.
"""

_scratch = bytearray(COPY)
_view = memoryview(_scratch)
pipes = PipePool()
"""
Those of all relays.
"""

if TYPE_CHECKING or hasattr(os, "splice"):
    MOVE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
    IN = select.EPOLLIN
    OUT = select.EPOLLOUT
    PRI = select.EPOLLPRI
    ERROR = select.EPOLLERR
    HUNG_UP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    RARE = HUNG_UP | PRI
    READABLE = IN | HUNG_UP

_DONE = Failure(ConnectionDone())
_ABORTED = Failure(ConnectionAborted())


@implementer(IHalfCloseableProtocol)
class _Asleep(Protocol):
    """
    What a transport tells its protocol while a relay has its socket.
    """

    def readConnectionLost(self) -> None:
        pass

    def writeConnectionLost(self) -> None:
        pass


_ASLEEP = _Asleep()


@implementer(IWatcher)
class Leg:
    """
    One socket of a relay, and what is on its way from there to the other.

    @ivar moved: bytes that were read from this socket.
    @ivar ended: whether its EOF was read, and passed on.
    @ivar isOver: whether the relay is.
    """

    __slots__ = (
        "_held",
        "_inPipe",
        "_pipe",
        "_relay",
        "_seen",
        "_socket",
        "ended",
        "isOver",
        "moved",
        "peer",
        "transport",
    )

    peer: Leg

    def __init__(self, relay: SpliceRelay, transport: Connection) -> None:
        self._relay = relay
        self._socket = transport.socket
        self.transport = transport
        # Bytes that wait for the peer, in this order: those held, those in the
        # pipe.
        self._held: bytes | memoryview = b""
        self._inPipe = 0
        self._pipe: Pipe | None = None
        # Those of the rare events that it was told of: they last.
        self._seen = 0
        self.moved = 0
        self.ended = False
        self.isOver = False

    def ready(self, events: int) -> None:
        if events & RARE:
            self._seen |= events & RARE
            if events & PRI:
                # An urgent byte alone can be read only from now on.
                events |= IN
            if events & ERROR:
                if not (self.ended or self._held or self._inPipe):
                    self.pump()  # What came before the reset.
                if not self.isOver:
                    self._relay.resetBy(self)
                return
        peer = self.peer
        if events & OUT and (peer._inPipe or peer._held):
            peer.pump()
            if self.isOver:
                return
        if events & READABLE and not (self._inPipe or self._held or self.ended):
            self.pump()

    def hubLost(self) -> None:
        self._relay.abort("the proxy stopped")

    def turnCame(self) -> None:
        if not self.ended:
            self.pump()

    def deliver(self, data: bytes) -> None:
        """
        Send bytes that were received before the relay began, when it has.
        """
        self.moved += len(data)
        self._held = data

    def pump(self) -> None:
        """
        Move bytes until there are none, or the peer takes no more, or the
        others should have their turn.
        """
        # Whose fault an error would be.
        at = peer = self.peer
        rounds = ROUNDS
        try:
            if self._held or self._inPipe:
                self._flush(peer)
            while rounds:
                rounds -= 1
                at = self
                count = self._socket.recv_into(_scratch)
                if not count:
                    self._end()
                    return
                self.moved += count
                at = peer
                try:
                    sent = peer._socket.send(_view[:count])
                except BlockingIOError:
                    sent = 0
                if sent < count:
                    # They are out of the socket already, and nowhere else.
                    self._held = bytes(_view[sent:count])
                    self._flush(peer)
                # Splice would stop before an urgent byte and say EAGAIN for ever; a
                # copy reads past it, and the byte stays in its place in the stream.
                if count < COPY or self._seen & PRI:
                    if self._seen:
                        # An edge that brought the EOF with the bytes does not
                        # come again, nor does one for what is behind an urgent
                        # byte: read on.
                        continue
                    return
                if self._pipe is None:
                    self._pipe = pipes.take()
                while rounds and self._pipe is not None:
                    rounds -= 1
                    at = self
                    count = os.splice(
                        self._socket.fileno(), self._pipe[1], CAPACITY, flags=MOVE
                    )
                    if not count:
                        # The EOF, or an urgent byte and the EOF somewhere
                        # behind it: a copy knows.
                        break
                    self.moved += count
                    self._inPipe = count
                    at = peer
                    self._flush(peer)
            self._relay.hub.soon(self)
        except BlockingIOError:
            pass
        except OSError:
            self._relay.resetBy(at)
        finally:
            if self._pipe is not None and not self._inPipe:
                self._givePipe()

    def _flush(self, peer: Leg) -> None:
        """
        Send what waits.

        @raise BlockingIOError: the peer takes no more, and some is left.
        """
        while self._held:
            self._held = self._held[peer._socket.send(self._held) :]
        while self._inPipe:
            assert self._pipe is not None
            # To the end or to EAGAIN: only then is an edge sure to come.
            self._inPipe -= os.splice(
                self._pipe[0], peer._socket.fileno(), self._inPipe, flags=MOVE
            )

    def _end(self) -> None:
        """
        Nothing more will come from here, and all that came is passed on.
        """
        self.ended = True
        if self._pipe is not None:
            self._givePipe()
        self._relay.endOf(self)

    def endWriting(self) -> None:
        """
        Pass the EOF of the other side on.

        @raise OSError: this side is gone.
        """
        self._socket.shutdown(socket.SHUT_WR)

    def close(self, reason: Failure) -> None:
        """
        Let go of everything, and tell the transport.
        """
        self.isOver = True
        self._relay.hub.forget(self._socket.fileno())
        if self._pipe is not None:
            if self._inPipe:
                self._inPipe = 0
                pipes.discard(self._pipe)
                self._pipe = None
            else:
                self._givePipe()
        self._held = b""
        self.transport.connectionLost(reason)
        # Nothing is left that refers to itself: no work for the collector.
        del self.peer, self._relay, self._socket

    def _givePipe(self) -> None:
        assert self._pipe is not None
        pipes.give(self._pipe)
        self._pipe = None


@implementer(IWatched)
class SpliceRelay:
    """
    Moves bytes between two plain sockets.

    @ivar client: who is told what the client's transport tells: nothing, now.
    """

    __slots__ = (
        "_client",
        "_finished",
        "_target",
        "_watch",
        "client",
        "hub",
    )

    _finished: Callable[[str], object] | None

    def __init__(
        self,
        hub: Hub,
        client: Connection,
        early: bytes,
        target: RelayEnd,
        watch: IdleWatch,
        finished: Callable[[str], object],
    ) -> None:
        """
        @param client: a plain connection that has sent all that it was given
            to write; C{target}'s transport is another.
        @param early: what the client has sent already.
        @param finished: called once, when both connections are gone, with the
            reason in words for the log.
        """
        self.hub = hub
        self._watch = watch
        self._finished = finished
        self.client = _ASLEEP
        fromClient = self._client = Leg(self, client)
        fromTarget = self._target = Leg(self, target.transport)
        fromClient.peer = fromTarget
        fromTarget.peer = fromClient
        if early:
            fromClient.deliver(early)
        early = target.takeEarly()
        if early:
            fromTarget.deliver(early)
        # Nobody wants to know of their end but the relay, which makes it.
        client.protocol = target.transport.protocol = _ASLEEP

    @property
    def bytesSent(self) -> int:
        """
        Bytes moved from the client to the target.
        """
        return self._client.moved

    @property
    def bytesReceived(self) -> int:
        """
        Bytes moved from the target to the client.
        """
        return self._target.moved

    def start(self) -> None:
        """
        Deliver what has come already, then all that comes.
        """
        self._watch.started(self)
        hub = self.hub
        for leg in (self._client, self._target):
            transport = leg.transport
            if not (isinstance(transport, HubConnection) and transport.letGo(leg)):
                transport.pauseProducing()
                keepUrgentInline(transport.socket)
                hub.watch(transport.fileno(), leg)
            if leg._held:
                hub.soon(leg)

    def abort(self, reason: str) -> None:
        """
        Reset both connections.
        """
        self._close(reason, _ABORTED)

    def keepAlive(self) -> None:
        """
        Have the system find out whether both peers are still there.
        """
        for leg in (self._client, self._target):
            keepAlive(leg.transport)

    def resetBy(self, leg: Leg) -> None:
        """
        The connection of C{leg} has failed.
        """
        reason = "reset by the client" if leg is self._client else "reset by the target"
        # There is nothing that could be reset at its own end.
        self._close(reason, _ABORTED, leg)

    def endOf(self, leg: Leg) -> None:
        """
        All that C{leg} will ever bring is passed on.
        """
        peer = leg.peer
        if peer.ended:
            self._close("closed", _DONE)
            return
        try:
            peer.endWriting()
        except OSError:
            self.resetBy(peer)
        else:
            self._watch.halfClosed(self)

    def _close(self, reason: str, failure: Failure, gone: Leg | None = None) -> None:
        finished, self._finished = self._finished, None
        if finished is None:
            return
        self._watch.finished(self)
        for leg in (self._client, self._target):
            leg.close(_DONE if leg is gone else failure)
        finished(reason)
