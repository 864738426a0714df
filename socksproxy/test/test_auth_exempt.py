"""
Tests for L{socksproxy.auth.exempt}.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.exempt import Exempt, ReachedAt, areEverybody
from socksproxy.interfaces import ANONYMOUS, Granted, IAuthenticator
from socksproxy.testing import FakeSession
from socksproxy.wire.buffer import ReceiveBuffer


def tcp(host: str, port: int = 40000) -> IAddress:
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, port)


class ExemptTests(SynchronousTestCase):
    """
    Some need not log in.
    """

    def isExempt(
        self, exempt: Exempt, peer: IAddress, host: IAddress | None = None
    ) -> bool:
        session = FakeSession(peer=peer, host=host)
        negotiation = exempt.beginNegotiation(session)
        if negotiation is None:
            return False
        step = negotiation.advance(ReceiveBuffer())
        self.assertEqual(step, Granted(ANONYMOUS))
        return True

    def test_interface(self) -> None:
        """
        It is an authenticator for METHOD 00, and by itself exempts nobody.
        """
        verifyObject(IAuthenticator, Exempt())
        self.assertEqual(Exempt().method, 0)
        for peer in (tcp("127.0.0.1"), tcp("::1"), UNIXAddress(b"/run/socks")):
            self.assertFalse(self.isExempt(Exempt(), peer))

    def test_networks(self) -> None:
        """
        Those from its networks, also where their addresses are mapped to IPv6.
        """
        exempt = Exempt([ip_network("192.0.2.0/25"), ip_network("2001:db8::/32")])
        for host, expected in (
            ("192.0.2.0", True),
            ("192.0.2.127", True),
            ("192.0.2.128", False),
            ("::ffff:192.0.2.1", True),
            ("::ffff:192.0.2.200", False),
            ("2001:db8:ffff::1", True),
            ("2001:db9::1", False),
            ("::192.0.2.1", False),
        ):
            self.assertEqual(self.isExempt(exempt, tcp(host)), expected, host)
        self.assertFalse(self.isExempt(exempt, UNIXAddress(b"/run/socks")))

    def test_UNIX(self) -> None:
        """
        Those of UNIX sockets, with a name or without.
        """
        exempt = Exempt(unix=True)
        self.assertTrue(self.isExempt(exempt, UNIXAddress(b"/run/socks")))
        self.assertTrue(self.isExempt(exempt, UNIXAddress(None)))
        self.assertFalse(self.isExempt(exempt, tcp("127.0.0.1")))

    def test_reachedAt(self) -> None:
        """
        Those who have come in at one of its addresses, at any port or at one.
        """
        exempt = Exempt(
            reachedAt=[
                ReachedAt(ip_address("127.0.0.1")),
                ReachedAt(ip_address("192.0.2.1"), 1081),
                ReachedAt(ip_address("::"), 1082),
            ]
        )
        for host, port, expected in (
            ("127.0.0.1", 1, True),
            ("127.0.0.2", 1, False),
            ("::ffff:127.0.0.1", 1, True),
            ("192.0.2.1", 1081, True),
            ("192.0.2.1", 1080, False),
            ("192.0.2.2", 1082, True),
            ("2001:db8::1", 1082, True),
            ("2001:db8::1", 1081, False),
        ):
            self.assertEqual(
                self.isExempt(exempt, tcp("198.51.100.1"), tcp(host, port)),
                expected,
                (host, port),
            )
        self.assertFalse(
            self.isExempt(exempt, UNIXAddress(None), UNIXAddress(b"/run/socks"))
        )


class EverybodyTests(SynchronousTestCase):
    """
    How wide is too wide.
    """

    def test_everybody(self) -> None:
        """
        All of the internet, a large part of it, and what makes such together.
        """
        for networks in (
            ["0.0.0.0/0"],
            ["::/0"],
            ["2000::/3"],
            ["128.0.0.0/1"],
            ["192.0.2.0/24", "16.0.0.0/5"],
            ["2.0.0.0/8", "3.0.0.0/8"],
            ["0.0.0.0/1", "128.0.0.0/1"],
        ):
            self.assertTrue(areEverybody(map(ip_network, networks)), networks)

    def test_notEverybody(self) -> None:
        """
        What somebody can know, and what nobody reaches from elsewhere.
        """
        for networks in (
            [],
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
            ["127.0.0.0/8", "::1/128"],
            ["fc00::/7", "fe80::/10", "2001:db8::/32"],
        ):
            self.assertFalse(areEverybody(map(ip_network, networks)), networks)
