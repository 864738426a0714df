"""
Tests for L{socksproxy.outbound.reachable}.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.errors import GeneralFailure
from socksproxy.outbound.reachable import (
    ANY_PORT,
    NOWHERE_ELSE,
    Advertised,
    PortRange,
)
from socksproxy.wire.address import Address


class AdvertisedTests(SynchronousTestCase):
    """
    What others are told.
    """

    def test_nothing(self) -> None:
        """
        Without a NAT our own address is the one.
        """
        for address in (Address.ip("192.0.2.1", 80), Address.ip("2001:db8::1", 80)):
            self.assertEqual(NOWHERE_ELSE.insteadOf(address), address)

    def test_family(self) -> None:
        """
        Each family has an address of its own; the port stays.
        """
        advertised = Advertised("198.51.100.1", "2001:db8::9")
        self.assertEqual(
            advertised.insteadOf(Address.ip("10.0.0.1", 80)),
            Address.ip("198.51.100.1", 80),
        )
        self.assertEqual(
            advertised.insteadOf(Address.ip("fd00::1", 81)),
            Address.ip("2001:db8::9", 81),
        )
        own = Address.ip("fd00::1", 81)
        self.assertEqual(Advertised("198.51.100.1").insteadOf(own), own)


class PortRangeTests(SynchronousTestCase):
    """
    Real sockets of this machine.
    """

    def bound(self, ports: PortRange, host: str = "127.0.0.1") -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        ports.bind(sock, host)
        port: int = sock.getsockname()[1]
        return port

    def test_any(self) -> None:
        """
        The system chooses one.
        """
        self.assertNotEqual(self.bound(ANY_PORT), self.bound(ANY_PORT))

    def test_range(self) -> None:
        """
        Every port of the range is found, and no other; then there is none.
        """
        # Ports that are surely free are those that the system has just given.
        for _ in range(100):
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            probe.bind(("127.0.0.1", 0))
            first = min(probe.getsockname()[1], 65531)
            probe.close()
            ports = PortRange(first, first + 3)
            try:
                found = {self.bound(ports) for _ in range(4)}
            except GeneralFailure:
                continue  # Somebody else has one of them.
            break
        self.assertEqual(found, set(range(first, first + 4)))
        refused = self.assertRaises(GeneralFailure, self.bound, ports)
        self.assertIn(str(first), str(refused))

    def test_scope(self) -> None:
        """
        A link-local address is bound with its interface.
        """
        bound: list[Any] = []

        class Remembers:
            bind = staticmethod(bound.append)

        sock: Any = Remembers()
        ANY_PORT.bind(sock, "fe80::1", 2)
        ANY_PORT.bind(sock, "fd00::1", 0)
        self.assertEqual(bound, [("fe80::1", 0, 0, 2), ("fd00::1", 0)])

    def test_otherTrouble(self) -> None:
        """
        An address that this machine does not have is no question of ports, and
        whatever it is that we may not have is nothing that a rule refuses.
        """
        refused = self.assertRaises(
            GeneralFailure, self.bound, PortRange(20000, 20009), "192.0.2.1"
        )
        self.assertIn(os.strerror(errno.EADDRNOTAVAIL), str(refused))

        class Refuses:
            def bind(self, address: object) -> None:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        sock: Any = Refuses()
        refused = self.assertRaises(GeneralFailure, PortRange(20, 20).bind, sock, "")
        self.assertIn("any address", str(refused))
