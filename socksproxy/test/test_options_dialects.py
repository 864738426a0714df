"""
Tests for L{socksproxy.options.dialects}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socksproxy.options.dialects import PROTOCOLS, dialects
from socksproxy.server.dialects import ALL_DIALECTS
from socksproxy.tap import Options


class DialectsTests(SynchronousTestCase):
    """
    C{--protocols}.
    """

    def test_all(self) -> None:
        """
        Every protocol that there is has a name.
        """
        self.assertEqual(
            [type(dialect) for dialect in PROTOCOLS.values()],
            [type(dialect) for dialect in ALL_DIALECTS],
        )

    def test_some(self) -> None:
        """
        Those that are named, whatever their order: a greeting of SOCKS5 is for SOCKS4
        only where SOCKS5 is not spoken.
        """
        for text, names in (
            ("http", ["http"]),
            ("socks4,socks5", ["socks5", "socks4"]),
            ("http,socks4,socks5", ["socks5", "socks4", "http"]),
        ):
            self.assertEqual(dialects(text), tuple(PROTOCOLS[name] for name in names))

    def test_unknown(self) -> None:
        """
        One line says what is wrong, and what there is.
        """
        for text in ("", "socks", "socks5,", "HTTP"):
            self.assertRaises(ValueError, dialects, text)
        left = self.assertRaises(
            SystemExit, Options().parseOptions, ["--protocols", "socks5,gopher"]
        )
        self.assertIn("'gopher' is not one of socks5, socks4, http", str(left))

    def test_default(self) -> None:
        """
        Unless it is given, the factory chooses.
        """
        options = Options()
        options.parseOptions([])
        self.assertIs(options["protocols"], None)
        self.assertFalse(options["no-resolve"])
