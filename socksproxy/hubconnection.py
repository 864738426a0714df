"""
The transport of a TCP connection that a hub watches in the reactor's place, where
there is one.

It is Twisted's, but for how it is told that there is something to read or to write:
an event of a hub costs a fraction of one of a reactor, to stop and to start costs
nothing, and a relay that takes the socket over finds it in the hub already.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.tcp import Connection, Port
from twisted.python.failure import Failure

from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["HubConnection", "acceptThrough", "keepUrgentInline", "transportAddress"]

TransportAddress = IPv4Address | IPv6Address

IN = getattr(select, "EPOLLIN", 1)
OUT = getattr(select, "EPOLLOUT", 4)
LASTING = 0
"""
What stays as it is: from then on a short read does not show that there is nothing
more, as an EOF or what is behind an urgent byte is not told of again.
"""
if hasattr(select, "epoll"):
    LASTING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI

READABLE = IN | LASTING

ROUNDS = 8
"""
How often it is read from, or written to, in one turn.
"""

# An enumeration's attributes are dear to look up.
_IPV4 = AddressType.IPV4

_DONE = Failure(ConnectionDone())
_LOST = Failure(ConnectionLost())

_RESET = struct.pack("ii", 1, 0)
"""
The C{SO_LINGER} with which a close is a reset.
"""


def acceptThrough(hub: Any, port: object) -> None:
    """
    Have the connections that are accepted from now on watched by C{hub}.

    @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}: there is none.
    @param port: a listening port of whatever kind; what it is not made for is left
        as it is.
    """
    if hub is None or type(port) is not Port:
        return

    def accepted(
        sock: socket.socket,
        protocol: IProtocol,
        client: tuple[Any, ...],
        port: Port,
        number: int,
        reactor: Any,
    ) -> HubConnection:
        sock.setblocking(False)
        connection = HubConnection(sock, protocol, reactor, hub, client)
        connection._tlsClientDefault = False
        connection.connected = 1
        connection._wanted = IN
        hub.watch(sock.fileno(), connection)
        return connection

    listening = port.socket = _Listening(port.socket)
    port.fileno = listening.fileno  # type: ignore[method-assign]
    # What it accepts has these, too.
    keepUrgentInline(listening)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    port.transport = accepted  # type: ignore[assignment]


class _Listening(socket.socket):
    """
    A socket's C{accept} looks up its family and its type for each connection, and
    these are dear: each time they are made into enumerations again.
    """

    __slots__ = ("family", "type")

    def __init__(self, listening: socket.socket) -> None:
        """
        @param listening: is not to be used any more.
        """
        family, kind = listening.family, listening.type
        super().__init__(family, kind, listening.proto, listening.detach())
        self.family = family  # type: ignore[misc]
        self.type = kind  # type: ignore[misc]


def keepUrgentInline(sock: socket.socket) -> None:
    """
    Have an urgent byte stay in its place in the stream.  If this were done only when
    there is one it would be lost to whoever is just reading past it.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


class HubConnection(Connection):
    """
    A connection whose socket no other process has.  C{TCP_NODELAY} and
    C{SO_OOBINLINE} are set.
    """

    logstr = "socksproxy connection"

    # What another proxy has said, if it is one that another proxy has made.
    _bound: Address | None = None
    # Whoever counts it.
    _counting: tuple[Callable[[], object], ...] = ()

    # There may be very many that have nothing to do.
    __slots__ = (
        "_hub",
        "_isWatching",
        "_peer",
        "_ready",
        "_tlsClientDefault",
        "_wanted",
    )

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol,
        reactor: Any,
        hub: Any,
        peer: tuple[Any, ...],
    ) -> None:
        """
        @param sock: connected, and non-blocking.
        @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}: the reactor
            does it then.
        @param peer: where its other end is, as the socket module writes it: that
            is smaller than a Twisted address.
        """
        # All that Connection's does, but for what has been done.
        FileDescriptor.__init__(self, reactor)
        self.socket = sock
        self.protocol = protocol
        self._hub = hub
        self._peer = peer
        self._tlsClientDefault = True
        # Masks: what it wants to do, and what the socket can do, as far as is known.
        self._wanted = 0
        self._ready = OUT
        # With a hub it watches from the beginning to the end.
        self._isWatching = hub is not None

    def begin(self, told: int | None = None) -> None:
        """
        Let the protocol have it.  If that raises an exception, it is lost.

        @param told: what the hub, which has watched the socket for another, has told
            of it; L{None}: the socket is new to the hub.
        """
        sock = self.socket
        self.connected = 1
        # Without a hub most protocols here do not want to read yet: it saves a
        # system call or two to ask only when they have said so.
        self._wanted = IN
        try:
            keepUrgentInline(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._isWatching:
                if told is None:
                    self._hub.watch(sock.fileno(), self)
                else:
                    self._ready |= told
                    self._hub.handOver(sock.fileno(), self)
            self.protocol.makeConnection(self)
        except BaseException:
            self.connectionLost(Failure())
            raise
        if self._wanted & IN:
            self._wanted &= ~IN
            self.startReading()

    def whenClosed(self, closed: Callable[[], object]) -> None:
        """
        @param closed: called once, when it is gone; so are those of others.
        """
        if self.disconnected:
            closed()
        else:
            self._counting += (closed,)

    def fileno(self) -> int:
        # Twisted's keep the socket's method, which takes memory.
        sock: socket.socket | None = getattr(self, "socket", None)
        return -1 if sock is None else sock.fileno()

    @property
    def bound(self) -> Address:
        """
        L{getHost} as BND.ADDR and BND.PORT have it.
        """
        if self._bound is not None:
            return self._bound
        host, port = self.socket.getsockname()[:2]
        # The system writes an IPv4 address in its one form.
        return Address.ip(host, port) if ":" in host else Address(_IPV4, host, port)

    def tellEnds(self, host: Address | None, peer: Address | None) -> None:
        """
        Another proxy has said from where to where its connection is.
        """
        if host is not None:
            self._bound = host
        if peer is not None:
            self._peer = (peer.host, peer.port)

    def getHost(self) -> TransportAddress:
        if self._bound is not None:
            return transportAddress(self._bound.host, self._bound.port)
        return _transportAddress(*self.socket.getsockname())

    def getPeer(self) -> TransportAddress:
        return transportAddress(*self._peer)

    # Who watches is asked only when there is something to change.

    def startReading(self) -> None:
        if not self._aborting:
            self._want(IN)

    def startWriting(self) -> None:
        self._want(OUT)

    def stopReading(self) -> None:
        self._wantNot(IN)

    # Twisted's calls it, which is a call more.
    pauseProducing = stopReading

    def stopWriting(self) -> None:
        self._wantNot(OUT)

    def letGo(self, heir: object) -> bool:
        """
        A relay takes the socket over: it has the hub forget it at last, and calls
        L{connectionLost}.

        @param heir: watches from now on, and is told what has not been read.
        @return: whether there is a hub; if not, nothing has changed.
        """
        if not self._isWatching:
            return False
        self._isWatching = False
        self._wanted = 0
        self._hub.handOver(self.socket.fileno(), heir, self._ready & ~OUT)
        return True

    def _want(self, what: int) -> None:
        if self._wanted & what:
            return
        self._wanted |= what
        hub = self._hub
        if hub is None:
            reactor = self.reactor
            (reactor.addReader if what == IN else reactor.addWriter)(self)
            return
        if self._ready & (READABLE if what == IN else OUT):
            hub.soon(self)

    def _wantNot(self, what: int) -> None:
        if not self._wanted & what:
            return
        self._wanted &= ~what
        if self._hub is None:
            reactor = self.reactor
            (reactor.removeReader if what == IN else reactor.removeWriter)(self)

    # What the hub says.

    @property
    def isOver(self) -> bool:
        return not self._isWatching

    def ready(self, events: int) -> None:
        ready = self._ready = self._ready | events
        if ready & self._wanted & OUT:
            self._write()
        if ready & READABLE and self._wanted & IN:
            self._read()

    def turnCame(self) -> None:
        self.ready(0)

    def hubLost(self) -> None:
        self.connectionLost(_LOST)

    def _read(self) -> None:
        size = self.bufferSize
        for _ in range(ROUNDS):
            try:
                data = self.socket.recv(size)
            except BlockingIOError:
                self._ready &= ~IN
                return
            except OSError:
                self.connectionLost(_LOST)
                return
            if not data:
                self.stopReading()
                self.readConnectionLost(_DONE)
                return
            if len(data) < size:
                self._ready &= ~IN
            self.protocol.dataReceived(data)
            if not (self._ready & READABLE and self._wanted & IN):
                return
        self._hub.soon(self)

    def _write(self) -> None:
        for _ in range(ROUNDS):
            why = self.doWrite()  # type: ignore[no-untyped-call]
            if why is not None:
                self.connectionLost(_DONE if isinstance(why, ConnectionDone) else _LOST)
                return
            if not self._ready & self._wanted & OUT:
                return
        self._hub.soon(self)

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        sent = super().writeSomeData(data)
        if sent == 0 and data:
            # Only now is an edge sure to come.
            self._ready &= ~OUT
        return sent

    def connectionLost(self, reason: Failure) -> None:
        """
        As in L{Connection}, but without a look at what nobody has changed: the end
        of a connection was dearer than the rest of its life.
        """
        if self.disconnected:
            return
        self.disconnected = 1
        self.connected = 0
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        if self._hub is None:
            self.stopReading()
            self.stopWriting()
        elif self._isWatching:
            self._isWatching = False
            self._wanted = 0
            self._hub.forget(self.socket.fileno())
        sock, protocol = self.socket, self.protocol
        if isinstance(reason.value, ConnectionAborted):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # It is gone already, one way or another.
        sock.close()
        del self.socket, self.protocol
        protocol.connectionLost(reason)
        for closed in self._counting:
            closed()


def _transportAddress(*address: Any) -> TransportAddress:
    return (IPv6Address if ":" in address[0] else IPv4Address)("TCP", *address)


transportAddress = lru_cache(maxsize=256)(_transportAddress)
"""
The Twisted address of what the socket module writes as a host, a port and so on.
Others' are asked for more than once, and to make one takes as long as a system call.
"""
