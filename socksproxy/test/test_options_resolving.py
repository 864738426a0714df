"""
Tests for L{socksproxy.options.resolving}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.test.commandline import parsed
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType


class ResolvingTests(SynchronousTestCase):
    """
    Who is asked for names.
    """

    def test_resolver(self) -> None:
        """
        Names are looked up by the system, by the name servers that it knows,
        or by those that are given.
        """
        self.assertIsNone(parsed()["resolver"])
        self.assertIsNone(parsed("--resolver", "system")["resolver"])
        self.assertEqual(parsed("--resolver", "dns")["resolver"], ())
        self.assertEqual(
            parsed(
                "--resolver",
                "dns:192.0.2.1,192.0.2.2:5353,[2001:db8::1],[fe80::1%eth0]:54",
            )["resolver"],
            (
                Address.ip("192.0.2.1", 53),
                Address.ip("192.0.2.2", 5353),
                Address.ip("2001:db8::1", 53),
                Address(AddressType.IPV6, "fe80::1%eth0", 54),
            ),
        )
