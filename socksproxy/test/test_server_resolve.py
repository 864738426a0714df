"""
Tests for RESOLVE and RESOLVE_PTR in L{socksproxy.server.session}, in memory.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable, NotAllowed
from socksproxy.interfaces import INameResolver
from socksproxy.test.test_server_session import (
    GREETING,
    SELECTION,
    ScriptedPolicy,
    SessionTestCase,
    failure,
)
from socksproxy.testing import FakeNameResolver
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

RESOLVE = b"\x05\xf0\x00\x03\x0bexample.org\x00\x00"
RESOLVE_PTR = b"\x05\xf1\x00\x01\xc0\x00\x02\x01\x00\x00"
ADDRESS = b"\x05\x00\x00\x01\xc0\x00\x02\x01\x00\x00"  # 192.0.2.1:0
NAME = b"\x05\x00\x00\x03\x0bexample.org\x00\x00"


class ResolveTests(SessionTestCase):
    """
    One answer, and that is all.
    """

    def setUp(self) -> None:
        super().setUp()
        self.connector: FakeNameResolver = FakeNameResolver()
        self.factory = self.makeFactory()

    def test_interface(self) -> None:
        """
        The fake is what it stands for.
        """
        verifyObject(INameResolver, self.connector)

    def test_address(self) -> None:
        """
        RESOLVE is answered with an address in BND.ADDR, and the end.
        """
        _, transport = self.client(GREETING, RESOLVE)
        request = self.connector.asked[0]
        self.assertEqual(request.command, Command.RESOLVE)
        self.assertEqual(request.destination, Address.name("example.org", 0))
        self.connector.results[0].callback(Address.ip("192.0.2.1", 0))
        self.assertRefused(transport, SELECTION, ADDRESS)
        self.assertEqual(self.connector.attempts, [])

    def test_name(self) -> None:
        """
        RESOLVE_PTR with a name, which no other answer has.
        """
        _, transport = self.client(GREETING, RESOLVE_PTR)
        self.assertEqual(self.connector.asked[0].command, Command.RESOLVE_PTR)
        self.connector.results[0].callback(Address.name("example.org", 0))
        self.assertRefused(transport, SELECTION, NAME)

    def test_fails(self) -> None:
        """
        It fails as a connection does.
        """
        for exception, code in ((HostUnreachable("no"), 4), (NotAllowed("no"), 2)):
            _, transport = self.client(GREETING, RESOLVE)
            self.connector.results[-1].errback(exception)
            self.assertRefused(transport, SELECTION, failure(code))

    def test_ourFault(self) -> None:
        """
        A fault of the connector's is logged, and is 01 to the client.
        """
        _, transport = self.client(GREETING, RESOLVE)
        self.connector.results[0].errback(RuntimeError("fault"))
        self.assertRefused(transport, SELECTION, failure(1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_timeout(self) -> None:
        """
        It has as long as a connection has.
        """
        _, transport = self.client(GREETING, RESOLVE)
        self.clock.advance(30)
        self.assertEqual(self.connector.cancelled, 1)
        self.assertRefused(transport, SELECTION, failure(4))

    def test_clientLeaves(self) -> None:
        """
        A client that leaves wants to know nothing any more.
        """
        session, transport = self.client(GREETING, RESOLVE)
        transport.lose(session, ConnectionLost())
        self.assertEqual(self.connector.cancelled, 1)
        self.assertEqual(len(self.factory.admission), 0)

    def test_switchedOff(self) -> None:
        """
        It can be switched off.
        """
        self.factory = self.makeFactory(resolve=False)
        for request in (RESOLVE, RESOLVE_PTR):
            _, transport = self.client(GREETING, request)
            self.assertRefused(transport, SELECTION, failure(7))
        self.assertEqual(self.connector.asked, [])

    def test_policy(self) -> None:
        """
        The policy is asked about the request.
        """
        self.factory = self.makeFactory(policy=ScriptedPolicy(False))
        _, transport = self.client(GREETING, RESOLVE)
        self.assertRefused(transport, SELECTION, failure(2))
        self.assertEqual(self.connector.asked, [])

    def test_log(self) -> None:
        """
        One line says what was asked, and what was told.
        """
        with capturedLogs() as events:
            self.client(GREETING, RESOLVE)
            self.connector.results[0].callback(Address.ip("192.0.2.1", 0))
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["192.0.2.2:40000 - RESOLVE example.org:0 via 192.0.2.1:0"],
        )
        self.assertEqual(events[0]["address"], "192.0.2.1:0")
