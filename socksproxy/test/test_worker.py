"""
Tests for L{socksproxy.worker}: what one worker has from its parent.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorTime,
    IReadDescriptor,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.worker import (
    InheritingReactor,
    ParentsLog,
    SharedSocket,
    countFromSystemd,
    descriptorOf,
    share,
    watchParent,
)

reactorClock: Any = MemoryReactorClock


class ShareTests(SynchronousTestCase):
    """
    A limit of the whole proxy, in parts.
    """

    def test_sum(self) -> None:
        """
        The parts add up, and differ by one at most.
        """
        for count in range(2, 9):
            for total in range(count, 30):
                parts = [share(total, count, number + 1) for number in range(count)]
                self.assertEqual(sum(parts), total)
                self.assertLessEqual(max(parts) - min(parts), 1)

    def test_few(self) -> None:
        """
        Every worker may serve somebody.
        """
        self.assertEqual([share(1, 3, number) for number in (1, 2, 3)], [1, 1, 1])

    def test_none(self) -> None:
        """
        No limit is no limit for each.
        """
        self.assertEqual(share(0, 3, 1), 0)


class DescriptorTests(SynchronousTestCase):
    """
    Where a worker finds its listening sockets.
    """

    def test_first(self) -> None:
        """
        They come after the standard three, and after those that systemd counts.
        """
        self.patch(os, "environ", {})
        self.assertEqual(descriptorOf(0), 3)
        self.patch(os, "environ", {"LISTEN_FDNAMES": "a:b"})
        self.assertEqual(descriptorOf(1), 6)

    def test_systemd(self) -> None:
        """
        systemd has a name for each.
        """
        self.assertEqual(countFromSystemd({}), 0)
        self.assertEqual(countFromSystemd({"LISTEN_FDNAMES": "socks.socket"}), 1)
        self.assertEqual(countFromSystemd({"LISTEN_FDNAMES": "a:b:c"}), 3)


class InheritingReactorTests(SynchronousTestCase):
    """
    Whatever an endpoint wants to listen on, it gets what was inherited.
    """

    def setUp(self) -> None:
        self.memory = reactorClock()
        self.factory = Factory.forProtocol(Protocol)

    def inheriting(self, listening: socket.socket) -> InheritingReactor:
        self.addCleanup(listening.close)
        return InheritingReactor(self.memory, os.dup(listening.fileno()))

    def test_reactor(self) -> None:
        """
        Otherwise it is the reactor.
        """
        inheriting = InheritingReactor(self.memory, 0)
        self.assertTrue(IReactorTime.providedBy(inheriting))
        self.assertEqual(inheriting.seconds(), self.memory.seconds())

    def test_TCP(self) -> None:
        """
        A TCP socket is adopted, whichever way the endpoint asks for one.
        """
        for ask in (
            lambda reactor: reactor.listenTCP(1, self.factory, interface="::"),
            lambda reactor: reactor.adoptStreamPort(3, socket.AF_INET, self.factory),
        ):
            listening = socket.create_server(("127.0.0.1", 0))
            ask(self.inheriting(listening))
            ((_, family, factory),) = self.memory.adoptedPorts
            self.assertEqual(family, socket.AF_INET)
            self.assertIdentical(factory, self.factory)
            self.memory.adoptedPorts.clear()

    def test_TLS(self) -> None:
        """
        For TLS the factory is wrapped, as a reactor does it.
        """
        try:
            from twisted.internet.ssl import CertificateOptions
            from twisted.protocols.tls import TLSMemoryBIOFactory
        except ImportError as missing:
            self.skipTest(str(missing))
        listening = socket.create_server(("127.0.0.1", 0))
        self.inheriting(listening).listenSSL(1, self.factory, CertificateOptions())
        ((_, _, factory),) = self.memory.adoptedPorts
        self.assertIsInstance(factory, TLSMemoryBIOFactory)
        self.assertIdentical(factory.wrappedFactory, self.factory)

    def test_UNIX(self) -> None:
        """
        A UNIX socket serves, its file stays as it is, and others who have the
        socket go on to listen when this one has stopped.
        """
        path = self.mktemp()[-90:]
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        listening.setblocking(False)
        os.chmod(path, 0o600)
        port: Any = self.inheriting(listening).listenUNIX("elsewhere", self.factory)
        self.assertTrue(IListeningPort.providedBy(port))
        self.assertIn(port, self.memory.readers)
        self.assertEqual(os.fsdecode(port.getHost().name), path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

        built: list[Any] = []
        self.patch(self.factory, "buildProtocol", built.append)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            port.doRead()
            self.assertEqual(len(built), 1)
        stopped = port.stopListening()
        self.memory.advance(0)
        self.successResultOf(stopped)
        self.assertNotIn(port, self.memory.readers)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            listening.accept()[0].close()

    def test_shutdown(self) -> None:
        """
        A shared socket is not shut down with one who has it.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            shared = SharedSocket(fileno=os.dup(listening.fileno()))
            shared.shutdown(socket.SHUT_RDWR)
            shared.close()
            with socket.create_connection(listening.getsockname()):
                listening.accept()[0].close()


class WatchParentTests(SynchronousTestCase):
    """
    A worker says that it listens, and stops with its parent.
    """

    def setUp(self) -> None:
        self.handlers: dict[int, Any] = {}
        self.written: list[tuple[int, bytes]] = []
        self.stops = 0
        self.memory = reactorClock()
        self.memory.stop = self.stop
        self.memory.callFromThread = lambda call: call()
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.patch(os, "write", lambda *written: self.written.append(written))
        watchParent(self.memory)

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning

    def test_listens(self) -> None:
        """
        An empty line in the log says it.
        """
        self.assertEqual(self.written, [(1, b"\n")])

    def test_signals(self) -> None:
        """
        It may be told to stop more than once.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            self.handlers[number](number, None)
        self.assertEqual(self.stops, 2)

    def test_parentGone(self) -> None:
        """
        The end of its standard input is the end of its parent.
        """
        (parent,) = self.memory.readers
        verifyObject(IReadDescriptor, parent)
        self.assertEqual(parent.fileno(), 0)
        self.assertEqual(parent.logPrefix(), "parent")
        parent.connectionLost(Failure(parent.doRead()))
        self.assertEqual(self.stops, 1)


class ParentsLogTests(SynchronousTestCase):
    """
    A worker's log on its way to the parent.
    """

    def setUp(self) -> None:
        reading, self.writing = os.pipe()
        self.lines = os.fdopen(reading)
        self.addCleanup(self.lines.close)
        self.observer = ParentsLog(self.writing)
        self.log = Logger("room", observer=LogPublisher(self.observer))

    def received(self) -> list[Any]:
        os.close(self.writing)
        return [json.loads(line) for line in self.lines]

    def test_interface(self) -> None:
        """
        It is an L{ILogObserver}.
        """
        verifyObject(ILogObserver, self.observer)
        self.received()

    def test_lines(self) -> None:
        """
        An event is one line, however many it has itself.
        """
        self.log.info("to {name}", name="caf\xe9\nx")
        self.log.warn("again", log_system="legacy")
        self.assertEqual(
            self.received(),
            [["info", "room#info", "to caf\xe9\nx"], ["warn", "legacy", "again"]],
        )

    def test_failure(self) -> None:
        """
        A failure has its traceback.
        """
        self.log.failure("oh", Failure(ZeroDivisionError("by zero")))
        ((level, _, text),) = self.received()
        self.assertEqual(level, "critical")
        self.assertIn("oh", text)
        self.assertIn("ZeroDivisionError", text)

    def test_parentGone(self) -> None:
        """
        When nobody reads any more nothing breaks.
        """
        self.lines.close()
        self.log.info("into the void")
        os.close(self.writing)
