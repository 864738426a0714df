"""
Tests for L{socksproxy.options.listening}.
"""

from __future__ import annotations

from socksproxy.test.commandline import OptionsTestCase, parsed


class ListeningTests(OptionsTestCase):
    """
    What to listen on.
    """

    def test_defaultListener(self) -> None:
        """
        Port 1080 of the IPv4 loopback is what it listens on unless told.
        """
        self.assertEqual(
            parsed().descriptions(),
            ["tcp:1080:interface=127.0.0.1:backlog=1024"],
        )

    def test_portAndInterface(self) -> None:
        """
        Either can be given alone.
        """
        self.assertEqual(
            parsed("--port", "1").descriptions(),
            ["tcp:1:interface=127.0.0.1:backlog=1024"],
        )
        self.assertEqual(
            parsed("--interface", "127.0.0.2").descriptions(),
            ["tcp:1080:interface=127.0.0.2:backlog=1024"],
        )
        self.assertEqual(
            parsed("-p", "65535", "-i", "0.0.0.0").descriptions(),
            ["tcp:65535:interface=0.0.0.0:backlog=1024"],
        )

    def test_IPv6Interface(self) -> None:
        """
        An IPv6 address needs no quoting.
        """
        self.assertEqual(
            parsed("--interface", "::1").descriptions(),
            ["tcp6:1080:interface=\\:\\:1:backlog=1024"],
        )

    def test_listenInstead(self) -> None:
        """
        C{--listen} takes the place of the default.
        """
        self.assertEqual(
            parsed("--listen", "unix:a", "-l", "tcp:2").descriptions(),
            ["unix:a", "tcp:2"],
        )

    def test_listenBesides(self) -> None:
        """
        A port that is given as well is listened on as well.
        """
        self.assertEqual(
            parsed("--listen", "unix:a", "--port", "1081").descriptions(),
            ["tcp:1081:interface=127.0.0.1:backlog=1024", "unix:a"],
        )

    def test_openProxy(self) -> None:
        """
        Whoever wants strangers has to say so.
        """
        self.assertFalse(parsed()["open-proxy"])
        self.assertTrue(parsed("--open-proxy")["open-proxy"])

    def test_badPort(self) -> None:
        """
        What is not a port is quoted, also a number that is too large.
        """
        for port in ("http", "65536", "-1", ""):
            says = f"--port: {port!r} is not a port number, 0 to 65535"
            self.assertGivesUp("--port", port, says=says)
