"""
Tests for L{socksproxy.options.resolving}.
"""

from __future__ import annotations

from socksproxy.test.commandline import OptionsTestCase, parsed
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType


class ResolvingTests(OptionsTestCase):
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

    def test_bad(self) -> None:
        """
        What is no way to look names up is quoted, with what would be one.
        """
        for given in ("", "DNS", "dns:", "system:192.0.2.1", "doh:192.0.2.1"):
            says = f"{given!r} is not system, dns or dns:SERVER"
            self.assertGivesUp("--resolver", given, says=says)
        for given in ("ns.example", "2001:db8::1", "192.0.2.1:0", "192.0.2.1:x", ""):
            says = f"{given!r} is not the IP address of a name server, as in"
            self.assertGivesUp("--resolver", f"dns:192.0.2.9,{given}", says=says)
        self.assertGivesUp("--resolver-threads", "0", says="'0' is not a number, 1 or")
        self.assertGivesUp("--resolver-cache", "-1", says="'-1' is not a number of s")
