"""
Tests for L{socksproxy.outbound.hop}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from socksproxy.client.httpconnect import HTTPConnectConversation
from socksproxy.client.login import PasswordLogin
from socksproxy.client.socks4 import SOCKS4Conversation
from socksproxy.client.socks5 import SOCKS5Conversation
from socksproxy.errors import CommandNotSupported, HostUnreachable
from socksproxy.interfaces import Continue
from socksproxy.outbound.hop import SCHEMES, Hop
from socksproxy.test.kerberos import needsKerberos
from socksproxy.test.test_auth_certificate import noTLS
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command
from socksproxy.wire.gssapi import Protection

TARGET = Address.name("example.org", 443)


class ParseTests(SynchronousTestCase):
    """
    L{Hop.parse}.
    """

    def test_addresses(self) -> None:
        """
        Names and addresses, with and without a port.
        """
        for url, address in (
            ("socks5://proxy.example", Address.name("proxy.example", 1080)),
            ("SOCKS5://proxy.example:1", Address.name("proxy.example", 1)),
            ("socks5h://127.0.0.1:99/", Address.ip("127.0.0.1", 99)),
            ("socks5+gssapi://h", Address.name("h", 1080)),
            ("socks5+tls://[2001:db8::1]", Address.ip("2001:db8::1", 1080)),
            ("socks4://a", Address.name("a", 1080)),
            ("socks4a://a_b", Address.name("a_b", 1080)),
            ("http://a", Address.name("a", 8080)),
            ("https://a", Address.name("a", 443)),
            ("https://a:8443", Address.name("a", 8443)),
        ):
            hop = Hop.parse(url)
            self.assertEqual(hop.address, address)
            self.assertEqual(hop.scheme, url.lower().partition(":")[0])
            self.assertIsNone(hop.login)

    def test_logins(self) -> None:
        """
        What would be read as something else is quoted.
        """
        for userInfo, encoded in (
            ("ann:pw", b"\x01\x03ann\x02pw"),
            ("ann", b"\x01\x03ann\0"),
            ("a%40b:p%3A%2F%2Fw%2C@%00%ff", b"\x01\x03a@b\x09p://w,@\0\xff"),
        ):
            login = Hop.parse(f"socks5://{userInfo}@h").login
            assert login is not None
            step = login.beginNegotiation(Command.CONNECT).advance(ReceiveBuffer())
            self.assertEqual(step, Continue(encoded))

    def test_wrong(self) -> None:
        """
        What is no such URL is told, and nothing of a password with it.
        """
        for url in (
            "",
            "s3cret",
            "ftp://ann:s3cret@h",
            "socks5:/ann:s3cret@h",
            "socks5://",
            "socks5://ann:s3cret@",
            "socks5://ann:s3cret@h:0",
            "socks5://ann:s3cret@h:99999",
            "socks5://ann:s3cret@h:x",
            "socks5://ann:s3cret@h:1/path",
            "socks5://ann:s3cret@h?s3cret",
            "socks5://ann:s3cret@a b",
            "socks5://ann:s3cret@[::1",
            "socks5://:s3cret@h",
            "socks5://ann:s3cret%20@%00",
            "socks4://ann:s3cret@h",
            "socks5+gssapi://ann:s3cret@h",
            "socks5://" + "a" * 256 + ":s3cret@h",
            "socks5://ann:s3cret" + "x" * 256 + "@h",
            "socks5://ann:s3cret@" + "x" * 64,
            # What a comma in the password, or the missing host, leaves of it.
            "socks5://ann:s3cret",
            "socks5://ann:x@s3cret:y",
            # What the login's own protocol cannot carry.
            "socks4a://ann%00s3cret@h",
            "http://ann%3As3cret:pw@h",
            "https://ann%3As3cret:pw@h",
        ):
            wrong = self.assertRaises(ValueError, Hop.parse, url)
            self.assertNotIn("s3cret", f"{wrong} {wrong.__cause__}", url)
            self.assertTrue(str(wrong))

    @settings(deadline=None, max_examples=300)
    @given(st.text(max_size=40), st.sampled_from(sorted(SCHEMES)))
    def test_garbage(self, text: str, scheme: str) -> None:
        """
        Any text is a hop or a L{ValueError}.
        """
        for url in (text, f"{scheme}://{text}", f"{scheme}://u:p@{text}"):
            try:
                Hop.parse(url)
            except ValueError:
                pass

    def test_uncertifiable(self) -> None:
        """
        A name for which there can be no certificate is found out when that is asked
        for.
        """
        if noTLS:
            raise SkipTest(noTLS)
        for host in ("b\xfccher.example", "127.0.0.1", "[::1]", "a.example"):
            Hop.parse(f"https://{host}").tlsOptions()
        for host in ("a_b.example", "a..example", "-a.example"):
            hop = Hop.parse(f"https://ann:s3cret@{host}")
            wrong = self.assertRaises(ValueError, hop.tlsOptions)
            self.assertEqual(
                str(wrong), f"{hop}: there is no certificate for such a name"
            )

    def test_text(self) -> None:
        """
        Neither text of it has the password; one has no login at all.
        """
        hop = Hop.parse("socks5://ann:s3cret@proxy.example:99")
        self.assertEqual(str(hop), "socks5://proxy.example:99")
        self.assertNotIn("s3cret", repr(hop))


class ConversationTests(SynchronousTestCase):
    """
    How each is asked.
    """

    def first(self, url: str, command: Command = Command.CONNECT) -> bytes:
        """
        What is sent first.
        """
        talk = Hop.parse(url).conversation(command, TARGET)
        step = talk.advance(ReceiveBuffer())
        assert isinstance(step, Continue)
        return step.response

    def test_kinds(self) -> None:
        """
        Each in its own protocol, with its login.
        """
        for url, kind, isTLS in (
            ("socks5://h", SOCKS5Conversation, False),
            ("socks5h://h", SOCKS5Conversation, False),
            ("socks5+tls://h", SOCKS5Conversation, True),
            ("socks4://h", SOCKS4Conversation, False),
            ("socks4a://h", SOCKS4Conversation, False),
            ("http://h", HTTPConnectConversation, False),
            ("https://h", HTTPConnectConversation, True),
        ):
            hop = Hop.parse(url)
            talk = hop.conversation(Command.CONNECT, TARGET)
            self.assertIs(type(talk), kind)
            self.assertIs(hop.isTLS, isTLS)
            self.assertIs(hop.resolvesNames, url != "socks4://h")
            self.assertIs(hop.relaysDatagrams, kind is SOCKS5Conversation)
        self.assertEqual(self.first("socks5://h"), b"\x05\x01\0")
        self.assertEqual(self.first("socks5://ann:pw@h"), b"\x05\x02\0\x02")
        self.assertIn(b"ann\0", self.first("socks4a://ann@h"))
        self.assertIn(b"Basic YW5uOnB3\r\n", self.first("http://ann:pw@h"))

    def test_notSupported(self) -> None:
        """
        What a proxy cannot be asked for is not asked for.
        """
        self.assertEqual(self.first("socks4a://h", Command.BIND)[:2], b"\x04\x02")
        for url, command in (
            ("socks4://h", Command.UDP_ASSOCIATE),
            ("http://h", Command.UDP_ASSOCIATE),
            ("https://h", Command.BIND),
        ):
            self.assertRaises(CommandNotSupported, self.first, url, command)

    def test_impossible(self) -> None:
        """
        A name that HTTP cannot carry does not exist there.
        """
        hop = Hop.parse("http://h")
        name = Address.name("a/b", 80)
        self.assertRaises(HostUnreachable, hop.conversation, Command.CONNECT, name)

    def test_methods(self) -> None:
        """
        A program can say what is offered, whatever that is.
        """
        methods = [PasswordLogin("ann", "s3cret")]
        hop = Hop("socks5", Address.name("h", 1080), authenticators=methods)
        step: Any = hop.conversation(Command.CONNECT, TARGET).advance(ReceiveBuffer())
        self.assertEqual(step.response, b"\x05\x01\x02")

    @needsKerberos
    def test_ticket(self) -> None:
        """
        Where a ticket is wanted nothing else is offered, and nothing at all before
        it is known where tickets come from.
        """
        hop = Hop.parse("socks5+gssapi://h")
        self.assertTrue(hop.wantsTicket)
        self.assertRaises(ValueError, hop.conversation, Command.CONNECT, TARGET)
        hop = hop.withTicket(MemoryReactor())
        self.assertFalse(hop.wantsTicket)
        self.assertEqual(str(hop), "socks5+gssapi://h:1080")
        talk = hop.conversation(Command.CONNECT, TARGET)
        self.assertEqual(talk.advance(ReceiveBuffer()), Continue(b"\x05\x01\x01"))
        login: Any = hop.authenticators[0]
        self.assertEqual(login.service, "rcmd@h")
        self.assertEqual(login.least, Protection.CONFIDENTIALITY)
