"""
Tests for L{socksproxy.outbound.outgoing}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.outbound.outgoing import adopt
from socksproxy.test.proxyline import recorders
from socksproxy.wire.address import Address


class WhenClosedTests(SynchronousTestCase):
    """
    Those who want to know of the end.
    """

    def setUp(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        ours = socket.create_connection(server.getsockname())
        ours.setblocking(False)
        address = Address.ip(*server.getsockname())
        protocol: Any = adopt(ours, address, recorders(), MemoryReactor())
        self.transport = protocol.transport
        self.told: list[str] = []

    def test_each(self) -> None:
        """
        Each of them is told, once: there can be a pool behind a pool.
        """
        for name in ("inner", "outer"):
            self.transport.whenClosed(lambda name=name: self.told.append(name))
        self.assertEqual(self.told, [])
        for _ in range(2):
            self.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.told, ["inner", "outer"])

    def test_late(self) -> None:
        """
        So is who asks when it is gone already.
        """
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.transport.whenClosed(lambda: self.told.append("late"))
        self.assertEqual(self.told, ["late"])
