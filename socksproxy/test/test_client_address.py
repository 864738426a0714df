"""
Tests for L{socksproxy.client.address}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.client.address import destinationOf, resolveIPv4, transportAddress
from socksproxy.errors import AddressTypeNotSupported, HostUnreachable
from socksproxy.wire.address import Address


class AddressTests(SynchronousTestCase):
    """
    Between Twisted's values and ours.
    """

    def test_both(self) -> None:
        """
        Addresses and names, there and back.
        """
        for host, destination, address in (
            (
                "192.0.2.1",
                Address.ip("192.0.2.1", 80),
                IPv4Address("TCP", "192.0.2.1", 80),
            ),
            (
                b"2001:db8::1",
                Address.ip("2001:db8::1", 80),
                IPv6Address("TCP", "2001:db8::1", 80),
            ),
            (
                "example.org",
                Address.name("example.org", 80),
                HostnameAddress(b"example.org", 80),
            ),
        ):
            self.assertEqual(destinationOf(host, 80), destination)
            self.assertEqual(transportAddress(destination), address)


class _Resolver:
    """
    A reactor and its name resolver.
    """

    def __init__(self, *addresses: object) -> None:
        self.nameResolver: Any = self
        self._addresses = addresses
        self.asked: list[object] = []

    def resolveHostName(
        self, receiver: Any, name: str, port: int, addressTypes: object
    ) -> None:
        self.asked.append((name, port, addressTypes))
        receiver.resolutionBegan(None)
        for address in self._addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


class ResolvingTests(SynchronousTestCase):
    """
    L{resolveIPv4}.
    """

    def test_first(self) -> None:
        """
        The first address that SOCKS4 can carry, with the port that was wanted.
        """
        reactor: Any = _Resolver(
            IPv6Address("TCP", "::1", 0),
            IPv4Address("TCP", "192.0.2.1", 0),
            IPv4Address("TCP", "192.0.2.2", 0),
        )
        found = resolveIPv4(reactor, Address.name("example.org", 80))
        self.assertEqual(self.successResultOf(found), Address.ip("192.0.2.1", 80))
        self.assertEqual(reactor.asked, [("example.org", 80, [IPv4Address])])

    def test_none(self) -> None:
        """
        There may be none.
        """
        reactor: Any = _Resolver()
        found = resolveIPv4(reactor, Address.name("example.org", 80))
        self.failureResultOf(found, HostUnreachable)

    def test_impossible(self) -> None:
        """
        What the resolver would fail over is not asked for.
        """
        reactor: Any = _Resolver()
        for name in (b"a..example", b"\xff.example"):
            found = resolveIPv4(reactor, Address.name(name, 80))
            self.failureResultOf(found, HostUnreachable)
        self.assertEqual(reactor.asked, [])

    def test_IPv6(self) -> None:
        """
        An IPv6 address cannot become one.
        """
        reactor: Any = _Resolver()
        found = resolveIPv4(reactor, Address.ip("::1", 80))
        self.failureResultOf(found, AddressTypeNotSupported)
