"""
Tests for L{socksproxy.outbound.peruser}.
"""

from __future__ import annotations

import socket
from typing import Any
from unittest import skipUnless

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import CommandNotSupported
from socksproxy.interfaces import IAssociator, IBinder, IConnector, Identity, Request
from socksproxy.outbound.localend import LocalEnd
from socksproxy.outbound.peruser import PerUserConnector
from socksproxy.testing import (
    FakeAssociator,
    FakeBinder,
    FakeConnector,
    FakeSession,
)
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command


class PerUserTests(SynchronousTestCase):
    """
    L{PerUserConnector}.
    """

    def setUp(self) -> None:
        self.ann, self.bob = FakeBinder(), FakeAssociator()
        self.otherwise = FakeConnector()
        self.connector = PerUserConnector(
            {"ann": self.ann, "bob": self.bob}, self.otherwise
        )

    def request(self, user: str, command: Command = Command.CONNECT) -> Request:
        return Request(command, Address.ip("192.0.2.1", 80), Identity(user))

    def test_interfaces(self) -> None:
        """
        It can be asked for everything.
        """
        for interface in (IConnector, IBinder, IAssociator):
            verifyObject(interface, self.connector)

    def test_connect(self) -> None:
        """
        Each has his own, and the others share one.
        """
        for user, connector in (
            ("ann", self.ann),
            ("bob", self.bob),
            ("eve", self.otherwise),
            ("", self.otherwise),
        ):
            request = self.request(user)
            self.connector.connect(request, FakeSession(), Factory())
            self.assertIs(connector.attempts[-1].request, request)

    def test_bind(self) -> None:
        """
        BIND for those who have it.
        """
        request = self.request("ann", Command.BIND)
        self.connector.bind(request, FakeSession(), Factory())
        self.assertEqual(len(self.ann.bindings), 1)
        for user in ("bob", "eve"):
            request = self.request(user, Command.BIND)
            refused = self.connector.bind(request, FakeSession(), Factory())
            self.failureResultOf(refused, CommandNotSupported)

    def test_associate(self) -> None:
        """
        Datagrams for those who have them.
        """
        receiver: Any = object()
        request = self.request("bob", Command.UDP_ASSOCIATE)
        self.connector.associate(request, FakeSession(), receiver)
        self.assertEqual(len(self.bob.associations), 1)
        for user in ("ann", "eve"):
            request = self.request(user, Command.UDP_ASSOCIATE)
            refused = self.connector.associate(request, FakeSession(), receiver)
            self.failureResultOf(refused, CommandNotSupported)


class MarkTests(SynchronousTestCase):
    """
    A mark, which can be a user's own.
    """

    @skipUnless(hasattr(socket, "SO_MARK"), "marks are Linux's")
    def test_mark(self) -> None:
        """
        Sockets have it, whatever they are for.
        """
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as sock:
                try:
                    LocalEnd(mark=0x2A).bind(sock)
                except PermissionError:
                    self.skipTest("one has to be root to set a mark")
                self.assertEqual(
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), 0x2A
                )
        self.assertEqual(
            str(LocalEnd(ipv4="192.0.2.1", mark=42)), "192.0.2.1, mark 0x2a"
        )

    def test_noMarks(self) -> None:
        """
        On a system without marks it is an error.
        """
        if hasattr(socket, "SO_MARK"):
            mark = socket.SO_MARK
            del socket.SO_MARK
            self.addCleanup(setattr, socket, "SO_MARK", mark)
        with socket.socket() as sock:
            self.assertRaises(OSError, LocalEnd(mark=1).bind, sock)
