"""
Tests for L{socksproxy.service}.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.server.factory import SOCKS5Factory
from socksproxy.service import SOCKS5Service
from socksproxy.testing import FakeConnector, MemoryTransport


class FakePort:
    """
    A port that counts its ends.
    """

    stopped = 0

    def stopListening(self) -> None:
        self.stopped += 1


@implementer(IStreamServerEndpoint)
class FakeEndpoint:
    """
    An endpoint that listens when the test says so.
    """

    def __init__(self) -> None:
        self.listening: list[Deferred[Any]] = []

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        self.listening.append(Deferred())
        return self.listening[-1]


class AtOnce(FakeEndpoint):
    """
    An endpoint that has its answer at once.
    """

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        listening = super().listen(protocolFactory)
        listening.callback(self.answer)  # type: ignore[arg-type]
        return listening


class ServiceTests(SynchronousTestCase):
    """
    A server as a service.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = SOCKS5Factory(None, connector=FakeConnector(), clock=self.clock)

    def test_interface(self) -> None:
        """
        It is an L{IService}.
        """
        verifyObject(IService, SOCKS5Service(self.factory, []))

    def test_listensOnce(self) -> None:
        """
        It listens on all endpoints, once, whether it was started privileged or
        not, and stops to.
        """
        for privileged in (True, False):
            ports = [FakePort(), FakePort()]
            endpoints = [AtOnce(port) for port in ports]
            service = SOCKS5Service(self.factory, endpoints)
            if privileged:
                service.privilegedStartService()
            service.startService()
            self.assertEqual([len(e.listening) for e in endpoints], [1, 1])
            self.assertEqual(service.ports, ports)
            self.successResultOf(service.stopService())
            self.assertEqual([port.stopped for port in ports], [1, 1])
            self.assertEqual(service.ports, [])

    def test_startsAgain(self) -> None:
        """
        It can be started again.
        """
        endpoint = AtOnce(FakePort())
        service = SOCKS5Service(self.factory, [endpoint])
        for _ in range(2):
            service.startService()
            self.successResultOf(service.stopService())
        self.assertEqual(len(endpoint.listening), 2)

    def test_cannotListen(self) -> None:
        """
        An endpoint that cannot be listened on makes the start fail; the others
        are closed when it is stopped.
        """
        port = FakePort()
        failure = Failure(CannotListenError("here", 1, OSError("in use")))
        service = SOCKS5Service(self.factory, [AtOnce(port), AtOnce(failure)])
        self.assertRaises(CannotListenError, service.startService)
        self.successResultOf(service.stopService())
        self.assertEqual(port.stopped, 1)

    def test_cannotListenLater(self) -> None:
        """
        What fails after the start is logged.
        """
        endpoint = FakeEndpoint()
        service = SOCKS5Service(self.factory, [endpoint])
        service.startService()
        endpoint.listening[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(service.stopService())

    def test_stopsBeforeItListens(self) -> None:
        """
        A service that is stopped while an endpoint takes its time cancels it.
        """
        endpoint = FakeEndpoint()
        service = SOCKS5Service(self.factory, [endpoint])
        service.startService()
        self.successResultOf(service.stopService())
        self.assertTrue(endpoint.listening[0].called)
        self.assertEqual(service.ports, [])

    def test_grace(self) -> None:
        """
        Sessions have the grace period; then they are aborted, and the service
        has stopped when they are gone.
        """
        service = SOCKS5Service(self.factory, [], grace=3)
        service.startService()
        transport = MemoryTransport()
        session = self.factory.buildProtocol(None)
        session.makeConnection(transport)
        stopped = service.stopService()
        self.clock.advance(2.9)
        self.assertFalse(transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(transport.aborted)
        self.assertNoResult(stopped)
        transport.lose(session)
        self.successResultOf(stopped)
