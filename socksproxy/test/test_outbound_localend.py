"""
Tests for L{socksproxy.outbound.localend}.
"""

from __future__ import annotations

import errno
import socket
import sys

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd

HAS_INTERFACES = hasattr(socket, "SO_BINDTODEVICE")


class LocalEndTests(SynchronousTestCase):
    """
    The local end of sockets of this machine.
    """

    def bound(self, localEnd: LocalEnd, family: int = socket.AF_INET) -> str:
        """
        Where a socket comes from that C{localEnd} has bound.
        """
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            localEnd.bind(sock)
            host: str = sock.getsockname()[0]
            return host

    def refusedBy(self, localEnd: LocalEnd, family: int = socket.AF_INET) -> OSError:
        refused: OSError = self.assertRaises(OSError, self.bound, localEnd, family)
        return refused

    def test_any(self) -> None:
        """
        Without a wish the system chooses.
        """
        self.assertEqual(self.bound(ANY_LOCAL_END), "0.0.0.0")
        ANY_LOCAL_END.check()

    def test_address(self) -> None:
        """
        Each family has its own address.
        """
        localEnd = LocalEnd("127.0.0.2", "::1")
        self.assertEqual(self.bound(localEnd), "127.0.0.2")
        self.assertEqual(self.bound(localEnd, socket.AF_INET6), "::1")
        localEnd.check()
        self.assertEqual(str(localEnd), "127.0.0.2, ::1")

    def test_manyTargets(self) -> None:
        """
        No port is taken before there is a target: a port may serve many.
        """
        with socket.socket() as sock:
            LocalEnd("127.0.0.2").bind(sock)
            self.assertEqual(sock.getsockname()[1] == 0, sys.platform == "linux")

    def test_otherFamily(self) -> None:
        """
        A family without an address is not used: it would tell another one.
        """
        for localEnd, family in (
            (LocalEnd("127.0.0.2"), socket.AF_INET6),
            (LocalEnd(ipv6="::1"), socket.AF_INET),
        ):
            refused = self.refusedBy(localEnd, family)
            self.assertEqual(refused.errno, errno.EADDRNOTAVAIL)
            self.assertIn("family", str(refused))
            localEnd.check()

    def test_notOurs(self) -> None:
        """
        An address that this machine does not have is found out by a check.
        """
        for localEnd in (LocalEnd("192.0.2.1"), LocalEnd("127.0.0.1", "2001:db8::1")):
            refused = self.assertRaises(OSError, localEnd.check)
            self.assertEqual(refused.errno, errno.EADDRNOTAVAIL)

    def test_interface(self) -> None:
        """
        All goes out by the interface that was wished for.
        """
        with socket.socket() as sock:
            LocalEnd(interface="lo").bind(sock)
            bound = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            self.assertEqual(bound.rstrip(b"\0"), b"lo")
        LocalEnd("127.0.0.2", interface="lo").check()

    def test_noInterface(self) -> None:
        """
        One that is not there is found out by a check.
        """
        refused = self.assertRaises(OSError, LocalEnd(interface="none0").check)
        self.assertEqual(refused.errno, errno.ENODEV)

    if not HAS_INTERFACES:
        test_interface.skip = test_noInterface.skip = (  # type: ignore[attr-defined]
            "this system cannot bind to an interface"
        )

    def test_cannotBindToInterfaces(self) -> None:
        """
        A system that does not know how says so.
        """
        if HAS_INTERFACES:
            self.patch(socket, "SO_BINDTODEVICE", None)
            del socket.SO_BINDTODEVICE
        refused = self.refusedBy(LocalEnd(interface="lo"))
        self.assertEqual(refused.errno, errno.ENOPROTOOPT)
