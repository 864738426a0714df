"""
L{socksproxy.hubconnection}: as Twisted's own connections, but told by a hub.
"""

from __future__ import annotations

import select
import socket
from typing import Any
from unittest import skipIf

from twisted.internet import reactor, tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from socksproxy.hubconnection import ROUNDS, HubConnection, acceptThrough
from socksproxy.relay.hub import Hub
from socksproxy.test.relaysuite import tcpPair
from socksproxy.test.test_auth_certificate import noTLS
from socksproxy.test.test_relay_hub import FakeReactor, Watcher

if not noTLS:
    from twisted.internet import ssl

if not hasattr(select, "epoll"):
    skip = "there is no epoll on this system"


class Ends(Protocol):
    """
    Remembers what it was told.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfEnds(Ends):
    """
    One that goes on when the other side has ended.
    """

    readEnded = 0
    writeEnded = 0

    def readConnectionLost(self) -> None:
        self.readEnded += 1

    def writeConnectionLost(self) -> None:
        self.writeEnded += 1


class HubConnectionTests(SynchronousTestCase):
    """
    A connection of L{Ends}, and C{self.outer}, its other side.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.hub: Any = Hub(self.reactor)
        self.outer, self.inner = tcpPair()
        self.addCleanup(self.outer.close)
        self.addCleanup(self.inner.close)
        self.inner.setblocking(False)

    def begin(self, protocol: Any = None) -> Any:
        """
        @return: the protocol, connected.
        """
        protocol = protocol or Ends()
        connection = HubConnection(
            self.inner, protocol, self.reactor, self.hub, self.outer.getsockname()
        )
        connection.begin()
        return protocol

    def turn(self) -> None:
        """
        What the reactor would do once.
        """
        self.reactor.advance(0)
        self.hub.doRead()

    def turns(self, count: int = 20) -> None:
        for _ in range(count):
            self.turn()

    def test_reads(self) -> None:
        """
        What comes is received, also what came before it began.
        """
        self.outer.send(b"early")
        ends = self.begin()
        self.turn()
        self.outer.send(b"late")
        self.turn()
        self.assertEqual(ends.received, [b"early", b"late"])

    def test_paused(self) -> None:
        """
        A paused one reads nothing; resumed it reads what came meanwhile, which is
        not announced again.
        """
        ends = self.begin()
        ends.transport.pauseProducing()
        self.outer.send(b"x")
        self.turns(2)
        self.assertEqual(ends.received, [])
        ends.transport.resumeProducing()
        self.turns(2)
        self.assertEqual(ends.received, [b"x"])

    def test_pausedAtTheLastByte(self) -> None:
        """
        An EOF that came together with the bytes at which it was paused is found
        when it is resumed.
        """

        class Pauses(Ends):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()  # type: ignore[union-attr]

        self.outer.send(b"x")
        self.outer.shutdown(socket.SHUT_WR)
        ends = self.begin(Pauses())
        self.turns(2)
        self.assertEqual((ends.received, ends.lost), ([b"x"], None))
        ends.transport.resumeProducing()
        self.turns(2)
        self.assertTrue(ends.lost.check(ConnectionDone))

    def test_everything(self) -> None:
        """
        More than is read in one turn is read in several, and others have their
        turns in between.
        """
        ends = self.begin()
        ends.transport.bufferSize = 10
        data = bytes(range(10)) * (2 * ROUNDS + 1)
        self.outer.send(data)
        self.turn()
        self.assertEqual(len(ends.received), ROUNDS)
        self.turns(3)
        self.assertEqual(b"".join(ends.received), data)

    def test_end(self) -> None:
        """
        The EOF of the other side is the end, and what came before it is read.
        """
        ends = self.begin()
        self.outer.send(b"last")
        self.outer.close()
        self.turn()
        self.assertEqual(ends.received, [b"last"])
        self.assertTrue(ends.lost.check(ConnectionDone))
        self.assertEqual((len(self.hub), self.inner.fileno()), (0, -1))

    def test_halfClose(self) -> None:
        """
        A protocol that can be half-closed is, and goes on writing.
        """
        ends = self.begin(HalfEnds())
        self.outer.shutdown(socket.SHUT_WR)
        self.turns(3)
        self.assertEqual((ends.readEnded, ends.lost), (1, None))
        ends.transport.write(b"still here")
        ends.transport.loseWriteConnection()
        self.turns(3)
        self.assertEqual(self.outer.recv(100), b"still here")
        self.assertEqual(self.outer.recv(100), b"")
        self.assertEqual(ends.writeEnded, 1)
        ends.transport.loseConnection()
        self.turns(2)
        self.assertTrue(ends.lost.check(ConnectionDone))

    def test_reset(self) -> None:
        """
        A reset is a lost connection.
        """
        ends = self.begin()
        self.turn()
        self.outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.outer.close()
        self.turns(2)
        self.assertTrue(ends.lost.check(ConnectionLost))

    def test_writes(self) -> None:
        """
        More than the socket takes waits until it takes more, and a close waits for
        all of it.
        """
        ends = self.begin()
        data = bytes(range(256)) * 40_000
        ends.transport.write(data)
        ends.transport.loseConnection()
        received = bytearray()
        for _ in range(100_000):
            self.turn()
            try:
                chunk = self.outer.recv(1 << 20)
            except BlockingIOError:
                continue
            if not chunk:
                break
            received += chunk
        self.assertEqual(received, data)
        self.assertTrue(ends.lost.check(ConnectionDone))

    def test_producer(self) -> None:
        """
        A pull producer is asked for more as long as it has some.
        """
        ends = self.begin()
        count = 3 * ROUNDS

        @implementer(IPullProducer)
        class Produces:
            left = count

            def resumeProducing(self) -> None:
                self.left -= 1
                ends.transport.write(b"x")
                if not self.left:
                    ends.transport.unregisterProducer()

            def stopProducing(self) -> None: ...

        ends.transport.registerProducer(Produces(), False)
        self.turns(2)
        self.assertEqual(self.outer.recv(100), b"x" * count)

    def test_producerOfOneThatIsGone(self) -> None:
        """
        A producer is told when there is nobody to produce for.
        """
        ends, stopped = self.begin(), []

        @implementer(IPushProducer)
        class Producer:
            def pauseProducing(self) -> None: ...

            def resumeProducing(self) -> None: ...

            def stopProducing(self) -> None:
                stopped.append(self)

        ends.transport.registerProducer(Producer(), True)
        ends.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(stopped), 1)

    def test_writesToOneThatIsGone(self) -> None:
        """
        The connection is lost when the other side takes nothing any more.
        """
        ends = self.begin(HalfEnds())
        ends.transport.pauseProducing()
        self.outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.outer.close()
        ends.transport.write(b"anybody?")
        self.turns(3)
        self.assertTrue(ends.lost.check(ConnectionLost))

    def test_abort(self) -> None:
        """
        An abort is a reset.
        """
        ends = self.begin()
        ends.transport.abortConnection()
        self.turn()
        self.assertTrue(ends.lost.check(ConnectionAborted))
        self.assertRaises(ConnectionResetError, self.outer.recv, 1)

    def test_resumedAfterAnAbort(self) -> None:
        """
        Nothing is received after an abort, whoever resumes it.
        """
        ends = self.begin()
        ends.transport.abortConnection()
        self.outer.send(b"x")
        ends.transport.resumeProducing()
        self.hub.doRead()
        self.turn()
        self.assertEqual(ends.received, [])
        self.assertTrue(ends.lost.check(ConnectionAborted))

    def test_faultAtTheBeginning(self) -> None:
        """
        A protocol that fails when it is connected is raised, and lost; the socket
        is closed, and the hub has forgotten it.
        """

        class Fails(Ends):
            def connectionMade(self) -> None:
                raise ZeroDivisionError("a fault")

        fails: Any = Fails()
        self.assertRaises(ZeroDivisionError, self.begin, fails)
        self.assertTrue(fails.lost.check(ZeroDivisionError))
        self.assertEqual(self.outer.recv(1), b"")
        self.assertEqual(len(self.hub), 0)

    def test_fault(self) -> None:
        """
        A fault of a protocol is logged, and it is lost.
        """

        class Fails(Ends):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError("a fault")

        ends = self.begin(Fails())
        self.outer.send(b"x")
        self.turn()
        self.assertTrue(ends.lost.check(ConnectionLost))
        self.assertEqual((len(self.hub), self.inner.fileno()), (0, -1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @skipIf(noTLS, noTLS)
    def test_startTLS(self) -> None:
        """
        Who has opened the connection is the client of TLS, too.
        """
        context = ssl.CertificateOptions()
        ends = self.begin()
        ends.transport.startTLS(context)
        self.turns(2)
        self.assertEqual(self.outer.recv(1), b"\x16")

    def test_lostOnce(self) -> None:
        """
        It is lost once only.
        """
        ends = self.begin()
        transport = ends.transport
        transport.connectionLost(Failure(ConnectionDone()))
        lost = ends.lost
        transport.connectionLost(Failure(ConnectionLost()))
        self.assertIs(ends.lost, lost)
        # One that was to have its turn does not miss it.
        self.assertTrue(transport.isOver)
        self.turns(2)

    def test_reactorStops(self) -> None:
        """
        Its end is the end of the connections.
        """
        ends = self.begin()
        self.hub.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(ends.lost.check(ConnectionLost))

    def test_letGo(self) -> None:
        """
        Whoever takes the socket over is told what has not been read, and who lets
        go of it does not touch it any more.
        """
        ends = self.begin()
        ends.transport.pauseProducing()
        self.outer.send(b"x")
        self.turn()
        heir = Watcher()
        self.assertTrue(ends.transport.letGo(heir))
        self.turn()
        self.assertTrue(heir.events[0] & select.EPOLLIN)
        ends.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.hub), 1)
        self.assertTrue(ends.lost.check(ConnectionDone))

    def test_addresses(self) -> None:
        """
        It knows both ends, of either family, also when it is over.
        """
        transport = self.begin().transport
        host, port = self.inner.getsockname()
        self.assertEqual(transport.getHost(), IPv4Address("TCP", host, port))
        transport.connectionLost(Failure(ConnectionDone()))
        host, port = self.outer.getsockname()
        self.assertEqual(transport.getPeer(), IPv4Address("TCP", host, port))
        another = HubConnection(
            self.inner, Ends(), self.reactor, None, ("fe80::1", 80, 0, 3)
        )
        self.assertEqual(another.getPeer(), IPv6Address("TCP", "fe80::1", 80, 0, 3))

    def test_noDelay(self) -> None:
        """
        TCP_NODELAY is set, and can be changed.
        """
        transport = self.begin().transport
        self.assertTrue(transport.getTcpNoDelay())
        transport.setTcpNoDelay(False)
        self.assertFalse(transport.getTcpNoDelay())


class WithoutHubTests(SynchronousTestCase):
    """
    Where there is no hub the reactor is asked, and only when something changes.
    """

    def test_reactor(self) -> None:
        asked: list[str] = []

        class Reactor(FakeReactor):
            def __getattribute__(self, name: str) -> Any:
                if name[:3] in ("add", "rem"):
                    return lambda reader: asked.append(name)
                return super().__getattribute__(name)

        outer, inner = tcpPair()
        self.addCleanup(outer.close)
        inner.setblocking(False)
        ends = Ends()
        HubConnection(inner, ends, Reactor(), None, outer.getsockname()).begin()
        transport: Any = ends.transport
        transport.pauseProducing()
        transport.pauseProducing()
        transport.resumeProducing()
        transport.write(b"x")
        transport.doWrite()
        self.assertFalse(transport.letGo(Watcher()))
        transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(
            asked,
            [
                "addReader",
                "removeReader",
                "addReader",
                "addWriter",
                "removeWriter",
                "removeReader",
            ],
        )
        self.assertEqual(outer.recv(1), b"x")


class AcceptThroughTests(SynchronousTestCase):
    """
    Ports whose connections a hub watches.
    """

    def test_accepts(self) -> None:
        """
        What a TCP port accepts is a L{HubConnection} without delay.
        """
        fake = FakeReactor()
        hub = Hub(fake)
        built: list[Ends] = []

        class Builds(Factory):
            noisy = False

            def buildProtocol(self, addr: object) -> Ends:
                built.append(Ends())
                return built[-1]

        port = tcp.Port(0, Builds(), interface="127.0.0.1", reactor=fake)
        port.startListening()
        self.addCleanup(port.socket.close)
        acceptThrough(hub, port)
        client = socket.create_connection(port.socket.getsockname())
        self.addCleanup(client.close)
        client.send(b"x")
        port.doRead()
        hub.doRead()
        transport: Any = built[0].transport
        self.addCleanup(lambda: transport.connectionLost(Failure(ConnectionDone())))
        self.assertIsInstance(transport, HubConnection)
        self.assertTrue(transport.getTcpNoDelay())
        # It is the server of TLS, too.
        self.assertFalse(transport._tlsClientDefault)
        self.assertEqual(built[0].received, [b"x"])

    def test_others(self) -> None:
        """
        Ports of other kinds are left as they are, and all where there is no hub.
        """
        local = unix.Port(b"/nonexistent", Factory(), reactor=reactor)
        hub = Hub(FakeReactor())
        acceptThrough(hub, local)
        acceptThrough(hub, object())
        self.assertIs(local.transport, unix.Server)
        port = tcp.Port(0, Factory(), reactor=reactor)
        acceptThrough(None, port)
        self.assertIs(port.transport, tcp.Server)
