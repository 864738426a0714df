"""
Tests for L{socksproxy.options.targets}.
"""

from __future__ import annotations

from socksproxy.outbound.associator import Filter
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.reachable import Advertised, PortRange
from socksproxy.test.commandline import OptionsTestCase, parsed


class TargetsTests(OptionsTestCase):
    """
    How targets are reached, and how they reach us.
    """

    def test_localEnd(self) -> None:
        """
        Connections to targets come from where the system says, unless told; of each
        family there is one address.
        """
        self.assertIs(parsed().localEnd(), ANY_LOCAL_END)
        options = parsed(
            *("--bind-address", "192.0.2.1", "--bind-address", "2001:db8::1"),
            *("--bind-interface", "lo"),
        )
        self.assertEqual(options.localEnd(), LocalEnd("192.0.2.1", "2001:db8::1", "lo"))

    def test_reachable(self) -> None:
        """
        Ports and addresses for BIND are the system's unless told; of each
        family there is one address.
        """
        options = parsed()
        self.assertIsNone(options["bind-ports"])
        self.assertEqual(options.advertised(), Advertised())
        self.assertFalse(options["no-bind"])
        options = parsed(
            *("--bind-ports", "20000-20999", "--no-bind"),
            *("--advertise", "203.0.113.7", "--advertise", "2001:db8::7"),
        )
        self.assertEqual(options["bind-ports"], PortRange(20000, 20999))
        self.assertEqual(options.advertised(), Advertised("203.0.113.7", "2001:db8::7"))
        self.assertTrue(options["no-bind"])

    def test_udp(self) -> None:
        """
        UDP ASSOCIATE is served, for everybody's datagrams and by any port, unless
        told.
        """
        options = parsed()
        self.assertFalse(options["no-udp"])
        self.assertIsNone(options["udp-ports"])
        self.assertIsNone(options["udp-filter"])
        options = parsed(
            *("--no-udp", "--udp-ports", "40000-40999", "--udp-filter", "address"),
        )
        self.assertTrue(options["no-udp"])
        self.assertEqual(options["udp-ports"], PortRange(40000, 40999))
        self.assertIs(options["udp-filter"], Filter.ADDRESS)

    def test_badPorts(self) -> None:
        """
        A range of ports is two of them, the first one first.
        """
        for option in ("--bind-ports", "--udp-ports"):
            for given in (
                "",
                "9",
                "2-1",
                "0-1",
                "1-65536",
                "a-b",
                "1-2-3",
                "-1-2",
                "-",
            ):
                says = f"{option}: {given!r} is not a range of ports, as in 40000-40999"
                self.assertGivesUp(option, given, says=says)

    def test_badAddress(self) -> None:
        """
        What others are told, and where connections come from, is one IP address for
        each family.
        """
        for option in ("--advertise", "--bind-address"):
            says = f"{option} proxy.example: this is not an IP address"
            self.assertGivesUp(option, "proxy.example", says=says)
            says = f"{option} 203.0.113.8: there is one of its family already"
            both = (option, "203.0.113.7", option, "203.0.113.8")
            self.assertGivesUp(*both, says=says)
        self.assertGivesUp("--advertise", "::", says="--advertise ::: that is nobody's")

    def test_badFilter(self) -> None:
        """
        A filter that is none.
        """
        says = "--udp-filter: 'cone' is not none, address or port"
        self.assertGivesUp("--udp-filter", "cone", says=says)
