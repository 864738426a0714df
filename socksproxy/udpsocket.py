"""
One UDP socket, read through a hub where there is one.

A datagram is a C{bytes} object: to receive into a shared buffer and to slice that
takes longer, and nobody has to ask for how long it holds what it was given.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["SocketAddress", "UDPSocket"]

log = Logger()

BURST = 32
"""
Datagrams that are taken in a row before others have their turn.
"""

MAX_PACKET = 65_535

READABLE = getattr(select, "EPOLLIN", 0)
"""
Level-triggered: what is left is told of again, so nobody has to find out at the
price of a system call and an exception that nothing is.
"""

SocketAddress = tuple[Any, ...]
"""
As C{recvfrom} gives it.
"""


def _nothing() -> None:
    """
    Nobody wants to know of the end.
    """


@implementer(IReadDescriptor)
class UDPSocket:
    """
    Hands over each datagram that comes.  No error of the network and no fault of
    whoever gets the datagrams ends it.

    @ivar socket: non-blocking.
    """

    __slots__ = (
        "_batch",
        "_hub",
        "_isRead",
        "_lost",
        "_peer",
        "_reactor",
        "_received",
        "socket",
    )

    def __init__(
        self,
        reactor: Any,
        hub: Any,
        sock: socket.socket,
        received: Callable[[bytes, SocketAddress], object],
        lost: Callable[[], object] = _nothing,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, where there is no hub.
        @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}.
        @param received: called with each datagram and where it came from.
        @param lost: called when the reactor has stopped; it is closed already.
        """
        sock.setblocking(False)
        self.socket = sock
        self._reactor = reactor
        self._hub = hub
        self._received = received
        self._lost = lost
        self._peer: SocketAddress | None = None
        self._isRead = False
        self._batch = 0

    def start(self) -> None:
        """
        Hand over what comes, from now on.
        """
        self._isRead = True
        if self._hub is None:
            self._reactor.addReader(self)
        else:
            self._hub.watch(self.socket.fileno(), self, READABLE)

    def lockTo(self, peer: SocketAddress) -> None:
        """
        L{send} sends there from now on.  Where the kernel can be told, it keeps
        what comes from elsewhere away; but what it had received before, and what
        it gets on other systems, comes still.

        @raise OSError: there is no way there.
        """
        # The errors of a connected socket would end it in some reactors.
        if self._hub is not None:
            self.socket.connect(peer)
        self._peer = peer

    def send(self, data: bytes) -> None:
        """
        Send to the peer that it is locked to.

        @raise OSError: it was not sent.
        """
        if self._hub is None:
            self.socket.sendto(data, self._peer or ())
            return
        try:
            self.socket.send(data)
        except ConnectionRefusedError:
            # That was about an earlier datagram; this one was not tried.
            self.socket.send(data)

    def close(self) -> None:
        """
        Nothing is sent or received any more.
        """
        fileno = self.socket.fileno()
        if fileno != -1:
            if self._isRead:
                if self._hub is None:
                    self._reactor.removeReader(self)
                else:
                    self._hub.forget(fileno)
            self.socket.close()
            # Whoever gets the datagrams refers to this: this way there is no work
            # for the collector.
            del self._received, self._lost

    def _read(self, count: int) -> None:
        sock = self.socket
        while count:
            count -= 1
            try:
                data, source = sock.recvfrom(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                if sock.fileno() == -1:
                    return
                continue  # What the network says of something that was sent.
            try:
                self._received(data, source)
            except Exception:
                log.failure("A fault with a datagram.")

    # What a hub says.

    def ready(self, events: int) -> None:
        # Most often there is one.  There are more where there was one in the
        # last batch.
        batch = self._hub.batch
        self._read(BURST if batch - self._batch == 1 else 1)
        self._batch = batch

    def hubLost(self) -> None:
        lost = self._lost
        self.close()
        lost()

    # What a reactor says.

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "socksproxy datagrams"

    def doRead(self) -> None:
        self._read(BURST)

    def connectionLost(self, reason: Failure) -> None:
        if self.socket.fileno() != -1:
            self.hubLost()
