"""
Tests for L{socksproxy.options.chaining}.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.outbound.chain import ChainConnector
from socksproxy.outbound.pool import PoolConnector, Strategy
from socksproxy.tap import Options
from socksproxy.test.kerberos import needsKerberos
from socksproxy.test.source import sourceFile
from socksproxy.testing import FakeConnector


class ChainingTests(SynchronousTestCase):
    """
    What the command line says of other proxies.
    """

    def connector(self, *arguments: str, serves: bool = True) -> Any:
        """
        What comes of C{arguments}.
        """
        options = Options()
        options.parseOptions(arguments)
        self.clock = MemoryReactorClock()
        self.direct = FakeConnector()
        resolver: Any = object()
        return options.connectorThrough(self.clock, self.direct, resolver, serves)

    def urls(self, connector: Any) -> list[str]:
        """
        The proxies, the last one first.
        """
        found = []
        while isinstance(connector, ChainConnector):
            found.append(str(connector.hop))
            connector = connector._inner
        self.assertIs(connector, self.direct)
        return found

    def refused(self, *arguments: str) -> str:
        """
        What is said to C{arguments} that are wrong.
        """
        return str(self.assertRaises(SystemExit, Options().parseOptions, arguments))

    def test_none(self) -> None:
        """
        Without any it is straight to the target.
        """
        self.assertIs(self.connector(), self.direct)

    def test_order(self) -> None:
        """
        Each is reached through those before it.
        """
        connector = self.connector(
            *(
                "--via",
                "socks5://ann:pw@a",
                "--via",
                "http://b:1",
                "--via",
                "socks4a://c",
            )
        )
        self.assertEqual(
            self.urls(connector),
            ["socks4a://c:1080", "http://b:1", "socks5://a:1080"],
        )
        self.assertEqual(
            [connector._isFirst, connector._inner._isFirst], [False, False]
        )
        self.assertTrue(connector._inner._inner._isFirst)

    def test_pool(self) -> None:
        """
        Several in one are alternatives.
        """
        for strategy in Strategy:
            pool = self.connector(
                *("--via", "socks5://a, socks5://b", "--via-strategy", strategy.value)
            )
            self.assertIsInstance(pool, PoolConnector)
            self.assertIs(pool._strategy, strategy)
            self.assertEqual(
                [self.urls(member.connector) for member in pool._members],
                [["socks5://a:1080"], ["socks5://b:1080"]],
            )
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wholeWays(self) -> None:
        """
        Alternatives go on to the last proxy each by itself.
        """
        pool = self.connector(
            *("--via", "socks5://a", "--via", "socks5://b,socks5://c"),
            *("--via", "socks5://d,socks5://e", "--via", "socks5://f"),
        )
        found = [
            (
                outer.name,
                inner.name,
                "".join(url[9] for url in self.urls(inner.connector)),
            )
            for outer in pool._members
            for inner in outer.connector._members
        ]
        b, c, d, e = (f"socks5://{name}:1080" for name in "bcde")
        self.assertEqual(
            found,
            [(b, d, "fdba"), (b, e, "feba"), (c, d, "fdca"), (c, e, "feca")],
        )

    def test_timeout(self) -> None:
        """
        It is the same for each.
        """
        connector = self.connector("--via", "socks5://a", "--via-timeout", "2.5")
        self.assertEqual(connector._timeout, 2.5)

    def test_probe(self) -> None:
        """
        A pool is probed by the processes that serve.
        """
        arguments = ("--via", "socks5://a,socks5://b", "--via-probe", "7")
        self.connector(*arguments)
        self.clock.advance(7)
        self.assertEqual(len(self.direct.attempts), 2)
        for function, *_ in self.clock.triggers["before"]["shutdown"]:
            function()
        self.assertTrue(all(attempt.cancelled for attempt in self.direct.attempts))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.connector(*arguments, serves=False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_file(self) -> None:
        """
        A file keeps passwords off the command line; it stands where its option
        stands.
        """
        path = Path(self.mktemp())
        path.write_text("# first\nsocks5://ann:pw@b\n\n  http://c \n")
        connector = self.connector(
            *("--via", "socks5://a", "--via-file", str(path), "--via", "socks5://d")
        )
        self.assertEqual(
            self.urls(connector),
            ["socks5://d:1080", "http://c:8080", "socks5://b:1080", "socks5://a:1080"],
        )

    def test_wrong(self) -> None:
        """
        What is wrong is said in a line, without a password.
        """
        path = Path(self.mktemp())
        path.write_text("socks5://ann:s3cret@h:x\n")
        empty = Path(self.mktemp())
        empty.write_text("# nobody\n")
        binary = Path(self.mktemp())
        binary.write_bytes(b"\xff\xfe\0")
        for arguments, words in (
            (("--via", "ftp://h"), "begins with one of socks5://"),
            (
                ("--via", "socks5://ann:s3cret@h:x"),
                "the host or the port cannot be one",
            ),
            (("--via", "socks5://ann:s3cret,x@h"), "in a password is %2C"),
            (("--via", "https://ann:s3cret@a_b"), "there is no certificate for such"),
            (("--via", "socks5://a,,socks5://b"), "begins with one of"),
            (("--via", "socks4://ann:s3cret@h"), "no passwords"),
            (("--via-file", str(path)), "the host or the port cannot be one"),
            (("--via-file", str(empty)), "there is no proxy in it"),
            (("--via-file", str(binary)), "it is not text"),
            (("--via-file", "/nowhere/at/all"), "No such file"),
            (("--via-strategy", "best"), "'best' is not one of failover, "),
            (("--via-timeout", "soon"), "'soon' is not a number of seconds"),
        ):
            said = self.refused(*arguments)
            self.assertIn(words, said)
            self.assertNotIn("s3cret", said)
            self.assertNotIn("\n", said)

    def test_documented(self) -> None:
        """
        Every command line that the documentation prints is understood.
        """
        file = Path(self.mktemp())
        file.write_text("socks5://alice:secret@proxy.example\n")
        text = sourceFile("docs/chaining.rst").read_text()
        found = re.findall(r"^ {4}twistd -n socks5 (.*)$", text, re.M)
        self.assertGreater(len(found), 3)
        for line in found:
            words = line.replace("--via-file via", f"--via-file {file}").split()
            self.assertIsNot(self.connector(*words), self.direct)

    def test_noTLS(self) -> None:
        """
        TLS that is not installed is missed at once.
        """
        with patch.dict(sys.modules, {"twisted.internet.ssl": None}):
            said = self.refused("--via", "https://h")
        self.assertIn("pip install 'socksproxy[tls]'", said)

    @needsKerberos
    def test_ticket(self) -> None:
        """
        A proxy may want a ticket.
        """
        connector = self.connector("--via", "socks5+gssapi://h")
        self.assertEqual(self.urls(connector), ["socks5+gssapi://h:1080"])
        self.assertFalse(connector.hop.wantsTicket)

    def test_noGSSAPI(self) -> None:
        """
        GSSAPI that is not installed is missed at once.
        """
        gone = dict.fromkeys(("gssapi", "socksproxy.client.gssapi"))
        with patch.dict(sys.modules, gone):
            said = self.refused("--via", "socks5+gssapi://h")
        self.assertIn("pip install 'socksproxy[gssapi]'", said)
