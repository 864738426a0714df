"""
Tests for L{socksproxy.auth.source}.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.auth.source import ipOf, sourceOf


def v6(host: str) -> IAddress:
    return IPv6Address("TCP", host, 40000)


class SourceTests(SynchronousTestCase):
    """
    What of an address is counted.
    """

    def test_IPv4(self) -> None:
        """
        An IPv4 address is one source, whatever the port; also one that was mapped
        to IPv6.
        """
        for address in (
            IPv4Address("TCP", "192.0.2.7", 1),
            IPv4Address("TCP", "192.0.2.7", 2),
            v6("::ffff:192.0.2.7"),
            v6("::ffff:c000:207"),
        ):
            self.assertEqual(sourceOf(address), "192.0.2.7")
            self.assertEqual(str(ipOf(address)), "192.0.2.7")

    def test_IPv6(self) -> None:
        """
        Of an IPv6 address it is the /64: the rest is its owner's choice.
        """
        self.assertEqual(sourceOf(v6("2001:db8:1:2::7")), "2001:db8:1:2::/64")
        self.assertEqual(
            sourceOf(v6("2001:db8:1:2:ffff:ffff:ffff:ffff")), "2001:db8:1:2::/64"
        )
        self.assertEqual(sourceOf(v6("2001:db8:1:3::7")), "2001:db8:1:3::/64")
        self.assertEqual(str(ipOf(v6("2001:db8:1:2:0::7"))), "2001:db8:1:2::7")
        self.assertEqual(sourceOf(v6("fe80::1%eth0")), "fe80::/64")
        self.assertEqual(sourceOf(v6("::1")), "::1")

    def test_noAddress(self) -> None:
        """
        A UNIX socket has none.
        """
        for address in (UNIXAddress(b"/run/socks"), UNIXAddress(None), v6("nonsense")):
            self.assertIsNone(sourceOf(address))
            self.assertIsNone(ipOf(address))
