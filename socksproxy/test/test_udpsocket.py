"""
Tests for L{socksproxy.udpsocket}, with sockets on loopback, whose datagrams are
there as soon as they are sent.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import socket
from typing import Any
from unittest import skipIf

from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.relay.hub import Hub
from socksproxy.test.test_relay_hub import FakeReactor
from socksproxy.udpsocket import BURST, SocketAddress, UDPSocket


class UDPSocketTestCase(SynchronousTestCase):
    """
    A socket, and what it was told.
    """

    hub: Any = None

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.received: list[tuple[bytes, SocketAddress]] = []
        self.lost = 0
        self.udp = self.makeSocket()
        self.udp.start()
        self.peer = self.bound()

    def makeSocket(self) -> UDPSocket:
        return UDPSocket(self.reactor, self.hub, self.bound(), self.came, self.gone)

    def came(self, data: bytes, source: SocketAddress) -> None:
        self.received.append((data, source))

    def gone(self) -> None:
        self.lost += 1

    def bound(self) -> socket.socket:
        """
        A UDP socket of its own.
        """
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.bind(("127.0.0.1", 0))
        made.settimeout(60)
        return made

    def send(self, *data: bytes) -> None:
        for one in data:
            self.peer.sendto(one, self.udp.socket.getsockname())

    def read(self) -> None:
        """
        Tell it that there is something.
        """
        self.udp.doRead()


class ReactorTests(UDPSocketTestCase):
    """
    Where there is no hub.
    """

    def test_received(self) -> None:
        """
        Each datagram comes with its source, the empty one too; many at a time,
        but not without end.
        """
        source = self.peer.getsockname()
        self.send(b"one", b"", b"x" * 60_000)
        self.read()
        self.assertEqual(
            self.received, [(b"one", source), (b"", source), (b"x" * 60_000, source)]
        )
        self.received.clear()
        self.send(*(bytes((n,)) for n in range(BURST + 1)))
        self.read()
        self.assertEqual(len(self.received), BURST)
        self.read()
        self.assertEqual([n for data, _ in self.received for n in data], [*range(33)])

    def test_lock(self) -> None:
        """
        It sends to the peer that it is locked to.
        """
        self.udp.lockTo(self.peer.getsockname())
        self.udp.send(b"hello")
        self.assertEqual(self.peer.recvfrom(9)[0], b"hello")

    def test_closedPeer(self) -> None:
        """
        That the peer has gone does not end it, and makes no later datagram
        fail.
        """
        address = self.peer.getsockname()
        self.udp.lockTo(address)
        self.peer.close()
        for _ in range(3):
            try:
                self.udp.send(b"x")
            except OSError as wrong:
                self.assertEqual(wrong.errno, errno.ECONNREFUSED)
        self.read()
        self.peer = self.bound()
        self.assertEqual(self.received, [])

    def test_fault(self) -> None:
        """
        A fault of whoever gets the datagrams is logged, and the next one comes.
        """
        faults = [ZeroDivisionError()]

        def faulty(data: bytes, source: SocketAddress) -> None:
            if faults:
                raise faults.pop()
            self.received.append((data, source))

        self.udp.close()
        self.udp = UDPSocket(self.reactor, self.hub, self.bound(), faulty)
        self.udp.start()
        self.send(b"one", b"two")
        self.read()
        self.read()
        self.assertEqual([data for data, _ in self.received], [b"two"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_closedMeanwhile(self) -> None:
        """
        It may be closed by whoever gets a datagram, and more than once.
        """

        def closes(data: bytes, source: SocketAddress) -> None:
            self.received.append((data, source))
            self.udp.close()

        self.udp.close()
        self.udp = UDPSocket(self.reactor, self.hub, self.bound(), closes)
        self.udp.start()
        self.send(b"one", b"two")
        self.read()
        self.assertEqual([data for data, _ in self.received], [b"one"])
        self.udp.close()
        self.assertNotIn(self.udp, self.reactor.readers)

    def test_error(self) -> None:
        """
        What the network says of earlier datagrams is no datagram.
        """

        class Complains:
            def __init__(self, real: socket.socket) -> None:
                self.real = real
                self.errors = [errno.ECONNREFUSED, errno.EMSGSIZE]

            def recvfrom(self, size: int) -> Any:
                if self.errors:
                    number = self.errors.pop()
                    raise OSError(number, "")
                return self.real.recvfrom(size)

            def fileno(self) -> int:
                return self.real.fileno()

            def close(self) -> None:
                self.real.close()

        complaining: Any = Complains(self.udp.socket)
        self.send(b"one")
        self.udp.socket = complaining
        for _ in range(3):
            self.read()
        self.assertEqual([data for data, _ in self.received], [b"one"])

    def test_stopped(self) -> None:
        """
        When the reactor stops it is closed, and tells so once.
        """
        for _ in range(2):
            self.udp.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.lost, 1)
        self.assertEqual(self.udp.socket.fileno(), -1)

    def test_name(self) -> None:
        """
        It has a name for log lines.
        """
        self.assertEqual(self.udp.logPrefix(), "socksproxy datagrams")


@skipIf(Hub.of(reactor) is None, "there is no hub here")
class HubTests(ReactorTests):
    """
    Where there is one.
    """

    def setUp(self) -> None:
        self.hub = Hub(FakeReactor())
        super().setUp()

    def read(self) -> None:
        for _ in range(2):
            self.hub.doRead()

    def test_received(self) -> None:
        """
        As without, but that there is one at first, and all the others at the
        next event.
        """
        self.hub.doRead()
        self.hub.doRead()
        source = self.peer.getsockname()
        self.send(b"one", b"", b"x" * 60_000)
        self.hub.doRead()
        self.assertEqual(self.received, [(b"one", source)])
        self.hub.doRead()
        self.assertEqual(self.received[1:], [(b"", source), (b"x" * 60_000, source)])

    def test_nothingTwice(self) -> None:
        """
        A datagram is told of until it is taken, and then no more.
        """
        self.send(b"one")
        self.read()
        self.read()
        self.assertEqual(len(self.received), 1)

    def test_strangers(self) -> None:
        """
        Once it is locked the kernel keeps away what comes from elsewhere.
        """
        self.udp.lockTo(self.peer.getsockname())
        self.bound().sendto(b"stranger", self.udp.socket.getsockname())
        self.send(b"friend")
        self.read()
        self.assertEqual([data for data, _ in self.received], [b"friend"])

    def test_refusedEarlier(self) -> None:
        """
        A refusal of an earlier datagram does not cost the next one.
        """
        address = self.peer.getsockname()
        self.udp.lockTo(address)
        self.peer.close()
        self.udp.send(b"refused")
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(again.close)
        again.settimeout(60)
        again.bind(address)
        self.udp.send(b"taken")
        self.assertEqual(again.recv(9), b"taken")

    def test_stopped(self) -> None:
        """
        When the reactor stops it is closed, and tells so once.
        """
        self.hub.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.lost, 1)
        self.assertEqual(self.udp.socket.fileno(), -1)
