"""
Tests for L{socksproxy.options.limits}.
"""

from __future__ import annotations

from socksproxy.server.factory import Limits
from socksproxy.test.commandline import OptionsTestCase, parsed


class LimitsTests(OptionsTestCase):
    """
    What comes of the numbers.
    """

    def test_defaults(self) -> None:
        """
        What is not given is as L{Limits} has it.
        """
        self.assertEqual(parsed().limits(0), Limits())

    def test_given(self) -> None:
        """
        Seconds may have a fraction, and 0 is a number like others.  How many clients
        there may be is told by whoever knows of the other processes.
        """
        options = parsed(
            *("--handshake-timeout", "1.5", "--connect-timeout", "0"),
            *("--bind-timeout", "7", "--idle-timeout", "8"),
            *("--half-closed-timeout", "9", "--max-connections", "12"),
            *("--udp-timeout", "2.5", "--udp-per-client", "3"),
        )
        self.assertEqual(options["max-connections"], 12)
        self.assertEqual(
            options.limits(6),
            Limits(
                handshakeTimeout=1.5,
                connectTimeout=0,
                bindTimeout=7,
                idleTimeout=8,
                halfClosedTimeout=9,
                maxConnections=6,
                udpTimeout=2.5,
                udpPerClient=3,
            ),
        )

    def test_badSeconds(self) -> None:
        """
        Seconds are numbers, finite and not negative.
        """
        for option, text in (
            ("--handshake-timeout", "soon"),
            ("--idle-timeout", "nan"),
            ("--udp-timeout", "-1"),
        ):
            says = f"{option}: {text!r} is not a number of seconds"
            self.assertGivesUp(option, text, says=says)

    def test_badCount(self) -> None:
        """
        A number of clients is a whole one.
        """
        says = "--max-connections: '1.5' is not a number, 0 or more"
        self.assertGivesUp("--max-connections", "1.5", says=says)
