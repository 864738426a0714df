"""
Tests for L{socksproxy.client.httpconnect}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.client.errors import LoginRefused, ProxyProtocolError
from socksproxy.client.httpconnect import HTTPConnectConversation
from socksproxy.client.interfaces import IConversation, Replied
from socksproxy.client.login import PasswordLogin
from socksproxy.errors import (
    CommandNotSupported,
    GeneralFailure,
    HostUnreachable,
    NotAllowed,
    RequestFailed,
    TimedOut,
)
from socksproxy.interfaces import Continue
from socksproxy.test.test_client_socks5 import TARGET, said
from socksproxy.wire.address import Address

OK = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"


class ConversationTests(SynchronousTestCase):
    """
    A CONNECT and its answer.
    """

    def request(self, talk: HTTPConnectConversation) -> bytes:
        (step,) = said(talk)
        assert isinstance(step, Continue)
        return step.response

    def test_everySplit(self) -> None:
        """
        The answer may come in any pieces; what is behind it is the target's.
        """
        verifyObject(IConversation, HTTPConnectConversation(TARGET))
        for answer in (
            OK,
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
            b"HTTP/1.0 200\r\n\r\n",
        ):
            for cut in range(len(answer)):
                steps = said(
                    HTTPConnectConversation(TARGET),
                    answer[:cut],
                    answer[cut:] + b"SSH-2.0\r\n",
                )
                self.assertEqual(steps[1:], [Replied(), b"SSH-2.0\r\n"])

    def test_noBody(self) -> None:
        """
        A length in the answer to a CONNECT means nothing (RFC 9110 section
        9.3.6).
        """
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrest"
        steps = said(HTTPConnectConversation(TARGET), answer)
        self.assertEqual(steps[1:], [Replied(), b"rest"])

    def test_request(self) -> None:
        """
        The target is the authority, an IPv6 address in brackets.
        """
        self.assertEqual(
            self.request(HTTPConnectConversation(TARGET)),
            b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
        )
        talk = HTTPConnectConversation(Address.ip("2001:db8::1", 80))
        self.assertIn(b"CONNECT [2001:db8::1]:80 HTTP/1.1\r\n", self.request(talk))

    def test_loginAndHeaders(self) -> None:
        """
        The login is sent at once, and so is what else the proxy wants.
        """
        talk = HTTPConnectConversation(
            TARGET, PasswordLogin("ann", "pw"), [(b"User-Agent", b"me")]
        )
        sent = self.request(talk)
        self.assertIn(b"\r\nProxy-Authorization: Basic YW5uOnB3\r\n", sent)
        self.assertIn(b"\r\nUser-Agent: me\r\n", sent)

    def test_statuses(self) -> None:
        """
        A status that is not success is an error that causes the reply that
        fits best.
        """
        for status, kind in (
            (302, GeneralFailure),
            (400, GeneralFailure),
            (401, LoginRefused),
            (403, NotAllowed),
            (405, CommandNotSupported),
            (407, LoginRefused),
            (500, GeneralFailure),
            (502, HostUnreachable),
            (503, HostUnreachable),
            (504, TimedOut),
        ):
            answer = b"HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\nbody" % status
            wrong = self.assertRaises(
                RequestFailed, said, HTTPConnectConversation(TARGET), answer
            )
            self.assertIs(type(wrong), kind)
            self.assertIn(str(status), str(wrong))

    def test_garbage(self) -> None:
        """
        What is not HTTP, or does not come to an end, is told as such.
        """
        for data in (
            b"\x05\0\r\n\r\n",
            b"220 hello\r\n",
            b"HTTP/x\r\n\r\n",
            b"HTTP/1.1 200 " * 9999,
        ):
            talk = HTTPConnectConversation(TARGET)
            self.assertRaises(ProxyProtocolError, said, talk, data)

    def test_cannotBeSaid(self) -> None:
        """
        A name, a login or a header that would be read as something else is not sent.
        """
        for name in ("a b", "a/b", "b\u00fccher.example", "a\r\nb", "u@h", "a:b"):
            self.assertRaises(
                ValueError, HTTPConnectConversation, Address.name(name, 80)
            )
        # The rest of the name would be part of the password (RFC 7617 section 2).
        login = PasswordLogin("a:b", "pw")
        self.assertRaises(ValueError, HTTPConnectConversation, TARGET, login)
        wrong = self.assertRaises(
            ValueError,
            HTTPConnectConversation,
            TARGET,
            PasswordLogin("ann", "pw"),
            [(b"X", b"s3cret\r\nEvil: 1")],
        )
        self.assertNotIn("s3cret", repr(wrong))
        self.assertIsNone(wrong.__context__)

    def test_abandon(self) -> None:
        """
        There is nothing to let go of.
        """
        HTTPConnectConversation(TARGET).abandon()
