"""
Tests for L{socksproxy.client.binding}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.client.endpoints import SOCKS4ClientEndpoint, SOCKS5ClientEndpoint
from socksproxy.client.errors import ProxyProtocolError
from socksproxy.errors import HostUnreachable
from socksproxy.interfaces import IBinding
from socksproxy.test.proxyline import MemoryEndpoint, recorders
from socksproxy.test.test_client_socks5 import BOUND, SUCCESS
from socksproxy.wire.address import Address

PEER = b"\x05\0\0\x01\xc6\x33\x64\x07\0\x14"


class BindingTests(SynchronousTestCase):
    """
    L{ClientBinding <socksproxy.client.binding.ClientBinding>}, by way of the
    endpoint.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        inner = MemoryEndpoint()
        self.factory = recorders()
        endpoint = SOCKS5ClientEndpoint(self.clock, inner, "0.0.0.0", 0)
        self.binding = endpoint.bind(self.factory)
        self.line = inner.arrive()
        self.line.receive(b"\x05\0")

    def bound(self) -> Any:
        """
        The proxy listens.
        """
        self.line.receive(SUCCESS)
        return self.successResultOf(self.binding)

    def test_accepted(self) -> None:
        """
        The first reply says where, the second who; then there is a connection.
        """
        self.assertNoResult(self.binding)
        binding = self.bound()
        verifyObject(IBinding, binding)
        self.assertEqual(binding.address, BOUND)
        self.assertNoResult(binding.accepted)
        self.clock.advance(3600)
        self.line.receive(PEER + b"220")
        protocol = self.successResultOf(binding.accepted)
        self.assertEqual(binding.peer, Address.ip("198.51.100.7", 20))
        self.assertEqual(
            self.factory.addresses, [IPv4Address("TCP", "198.51.100.7", 20)]
        )
        self.assertEqual(protocol.log, ["made", b"220"])
        self.assertIs(self.line.protocol, protocol)

    def test_together(self) -> None:
        """
        Both replies may come at once, with what the peer says.
        """
        self.line.receive(SUCCESS + PEER + b"220")
        binding: Any = self.successResultOf(self.binding)
        self.assertEqual(self.successResultOf(binding.accepted).received, b"220")

    def test_refused(self) -> None:
        """
        Either reply may refuse.
        """
        self.line.receive(b"\x05\x04\0\x01" + bytes(6))
        self.failureResultOf(self.binding, HostUnreachable)
        self.setUp()
        binding = self.bound()
        self.line.receive(b"\x05\x04\0\x01" + bytes(6))
        self.failureResultOf(binding.accepted, HostUnreachable)
        self.assertTrue(self.line.aborted)

    def test_lost(self) -> None:
        """
        Or the proxy goes away.
        """
        binding = self.bound()
        self.line.gone()
        self.failureResultOf(binding.accepted, ProxyProtocolError)

    def test_cancelled(self) -> None:
        """
        Whoever has waited for long enough has it closed.
        """
        binding = self.bound()
        binding.accepted.cancel()
        self.failureResultOf(binding.accepted, CancelledError)
        self.assertTrue(self.line.aborted)

    def test_SOCKS4(self) -> None:
        """
        SOCKS4 has it too; without an address of its own the proxy's is the one
        that we know.
        """
        inner = MemoryEndpoint()
        endpoint = SOCKS4ClientEndpoint(self.clock, inner, "192.0.2.7", 0)
        binding = endpoint.bind(self.factory)
        line = inner.arrive()
        self.assertEqual(line.taken(), b"\x04\x02\0\0\xc0\0\x02\x07\0")
        line.receive(b"\0\x5a\x01\x02\0\0\0\0")
        bound: Any = self.successResultOf(binding)
        self.assertEqual(bound.address, Address.ip("192.0.2.2", 258))
        line.receive(b"\0\x5a\0\x14\xc6\x33\x64\x07")
        self.successResultOf(bound.accepted)
