"""
One UDP association (RFC 1928 section 7): its client's side, and its life.

It lives as long as the TCP connection that it was asked for over, and serves one
address: the client's, from the port that the first valid datagram came from.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import IAssociation, IDatagramReceiver, ISecurityLayer
from socksproxy.relay.idle import IdleWatch, IWatched
from socksproxy.udpsocket import SocketAddress, UDPSocket
from socksproxy.wire.address import Address
from socksproxy.wire.fragments import Reassembly
from socksproxy.wire.socks5 import Datagram

__all__ = ["DatagramRelay"]

REMEMBERED = 256
"""
Headers that are remembered each way, so as not to be parsed or built again.
"""


@implementer(IWatched)
class _Life:
    """
    An association as the idle watch sees it: what counts is datagrams, which may
    be empty.
    """

    __slots__ = ("_relay",)

    def __init__(self, relay: DatagramRelay) -> None:
        self._relay = relay

    @property
    def bytesSent(self) -> int:
        return self._relay.datagramsSent

    @property
    def bytesReceived(self) -> int:
        return self._relay.datagramsReceived

    def abort(self, reason: str) -> None:
        self._relay.abort(reason)


@implementer(IDatagramReceiver, IWatched)
class DatagramRelay:
    """
    Takes datagrams with their headers from the client and gives them to the
    targets' side, and the other way round.

    To a session it is a relay like others, and the C{client} of that relay too:
    what comes over the TCP connection is dropped, and its end is the end.

    @ivar address: where the client is told to send its datagrams.
    @ivar datagramsSent: datagrams from the client that went to targets, a
        fragmented one counted once.
    @ivar datagramsReceived: datagrams from targets that went to the client.
    @ivar bytesSent: the payload of the former.
    @ivar bytesReceived: that of the latter.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        hub: Any,
        sock: socket.socket,
        address: Address,
        host: str,
        watch: IdleWatch,
        closed: Callable[[], object],
    ) -> None:
        """
        @param clock: a reactor, where there is no hub.
        @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}.
        @param sock: a UDP socket, bound to where the client can reach it.
        @param address: where that is, as it is told to the client.
        @param host: the IP address of the client.
        @param watch: ends it when there are no datagrams for too long.
        @param closed: called once, when no socket is open any more.
        """
        self.address = address
        self.datagramsSent = 0
        self.datagramsReceived = 0
        self.bytesSent = 0
        self.bytesReceived = 0
        self._clock = clock
        self._host = host
        self._watch = watch
        self._life: _Life | None = _Life(self)
        self._closed: Callable[[], object] | None = closed
        self._finished: Callable[[str], object] | None = None
        self._udp = UDPSocket(clock, hub, sock, self._fromClient, self._stopped)
        self._association: IAssociation | None = None
        self._layer: ISecurityLayer | None = None
        self._client: SocketAddress | None = None
        self._reassembly: Reassembly | None = None
        self._dropped = 0
        self._reason = ""
        self._destinations: dict[bytes, Address] = {}
        self._headers: dict[Address, bytes] = {}

    @property
    def client(self) -> DatagramRelay:
        """
        Who is told what the client's transport tells.
        """
        return self

    @property
    def dropped(self) -> int:
        """
        Datagrams that were not passed on, either way, but for those that the
        kernel kept away.
        """
        fragments = 0 if self._reassembly is None else self._reassembly.dropped
        return self._dropped + fragments

    def join(self, association: IAssociation) -> None:
        """
        There is a way to the targets.
        """
        self._association = association

    def start(
        self,
        transport: Any,
        finished: Callable[[str], object],
        layer: ISecurityLayer | None = None,
    ) -> None:
        """
        Pass datagrams on, from now on.

        @param transport: the client's; its protocol hands what it is told to
            C{client}.
        @param finished: called once, when the TCP connection is gone, with the
            reason in words for the log.
        @param layer: protects the client's datagrams, both ways.
        """
        self._finished = finished
        self._layer = layer
        self.transport = transport
        assert self._life is not None
        self._watch.started(self._life)
        self._udp.start()
        # It may have been stopped; what comes is to be read and dropped.
        transport.resumeProducing()

    def close(self) -> None:
        """
        Let go of all sockets, but for that of the TCP connection.
        """
        closed, self._closed = self._closed, None
        if closed is None:
            return
        self._udp.close()
        # They refer to each other: this way there is no work for the collector.
        life, self._life = self._life, None
        if life is not None:
            self._watch.finished(life)
        association, self._association = self._association, None
        if association is not None:
            association.close()
        closed()

    def abort(self, reason: str) -> None:
        """
        End it, and the TCP connection with a reset.
        """
        self._end(reason)
        self.transport.abortConnection()

    def associationLost(self) -> None:
        self.abort("the way to the targets is gone")

    def _end(self, reason: str) -> None:
        # What comes first is the reason.
        self._reason = self._reason or reason
        self.close()

    def _stopped(self) -> None:
        self.abort("the proxy stopped")

    # What the TCP connection says.

    def dataReceived(self, data: bytes) -> None:
        """
        It has no meaning.
        """

    def readConnectionLost(self) -> None:
        self._end("closed")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        isDone = reason.check(ConnectionDone)
        self._end("closed" if isDone else "reset by the client")
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self._reason)

    # What comes from the client.

    def _fromClient(self, packet: bytes, source: SocketAddress) -> None:
        if source != self._client and not self._mayBeClient(source):
            self._dropped += 1
            return
        if self._layer is not None:
            try:
                packet = self._layer.unwrapDatagram(packet)
            except RemoteProtocolError:
                self._dropped += 1
                return
        size = Datagram.headerSize(packet)
        destination = self._destinations.get(packet[:size])
        if destination is not None:
            self._send(packet[size:], destination)
            return
        try:
            datagram = Datagram.parse(packet)
            if self._client is None:
                self._udp.lockTo(source)
                self._client = source
        except (RemoteProtocolError, OSError):
            self._dropped += 1
            return
        self._take(datagram, packet[:size])

    def _mayBeClient(self, source: SocketAddress) -> bool:
        # There is more than one way to write an IPv6 address.
        return (
            self._client is None
            and Address.ip(source[0], 0).host == self._host
            and source[1] != 0
        )

    def _take(self, datagram: Datagram, header: bytes) -> None:
        """
        One whose header is not known yet.
        """
        isWhole = not datagram.fragment
        if not isWhole:
            if self._reassembly is None:
                self._reassembly = Reassembly()
            whole = self._reassembly.add(datagram, self._clock.seconds())
            if whole is None:
                return
            datagram = whole
        if datagram.address.port == 0:
            self._dropped += 1
            return
        if isWhole:
            _remember(self._destinations, header, datagram.address)
        self._send(datagram.data, datagram.address)

    def _send(self, data: bytes, destination: Address) -> None:
        self.datagramsSent += 1
        self.bytesSent += len(data)
        if self._association is not None:
            self._association.send(data, destination)

    # What comes from targets.

    def datagramReceived(self, data: bytes, source: Address) -> None:
        header = self._headers.get(source)
        if header is None:
            header = Datagram(source, b"").encode()
            _remember(self._headers, source, header)
        if self._client is None:
            self._dropped += 1
            return
        packet = header + data
        try:
            if self._layer is not None:
                packet = self._layer.wrapDatagram(packet)
            self._udp.send(packet)
        except (OSError, ValueError):
            # With its protection it may be too long.
            self._dropped += 1
        else:
            self.datagramsReceived += 1
            self.bytesReceived += len(data)

    def datagramDropped(self, data: bytes) -> None:
        self.datagramsSent -= 1
        self.bytesSent -= len(data)
        self._dropped += 1

    def datagramRejected(self, data: bytes) -> None:
        self._dropped += 1


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    if len(known) >= REMEMBERED:
        del known[next(iter(known))]
    known[key] = value
