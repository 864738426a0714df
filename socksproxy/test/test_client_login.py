"""
Tests for L{socksproxy.client.login}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.client.errors import LoginRefused
from socksproxy.client.interfaces import (
    Accepted,
    IClientAuthenticator,
    IClientNegotiation,
)
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import Continue
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command


class NoLoginTests(SynchronousTestCase):
    """
    L{NoLogin}.
    """

    def test_accepted(self) -> None:
        """
        There is nothing to say.
        """
        negotiation = NoLogin().beginNegotiation(Command.CONNECT)
        verifyObject(IClientAuthenticator, negotiation)
        verifyObject(IClientNegotiation, negotiation)
        self.assertEqual(negotiation.advance(ReceiveBuffer()), Accepted())
        negotiation.abandon()


class PasswordLoginTests(SynchronousTestCase):
    """
    L{PasswordLogin}.
    """

    def test_accepted(self) -> None:
        """
        The login, then the answer, at whatever split.
        """
        login = PasswordLogin("ann", "s3cret")
        verifyObject(IClientAuthenticator, login)
        negotiation = login.beginNegotiation(Command.CONNECT)
        verifyObject(IClientNegotiation, negotiation)
        buffer = ReceiveBuffer()
        self.assertEqual(
            negotiation.advance(buffer), Continue(b"\x01\x03ann\x06s3cret")
        )
        self.assertIsNone(negotiation.advance(buffer))
        buffer.feed(b"\x01")
        self.assertIsNone(negotiation.advance(buffer))
        buffer.feed(b"\0")
        self.assertEqual(negotiation.advance(buffer), Accepted())

    def test_refused(self) -> None:
        """
        Any status but 0 refuses.
        """
        for status in (1, 2, 255):
            negotiation = PasswordLogin(b"ann", b"s3cret").beginNegotiation(
                Command.CONNECT
            )
            negotiation.advance(ReceiveBuffer())
            buffer = ReceiveBuffer(bytes((1, status)))
            wrong = self.assertRaises(LoginRefused, negotiation.advance, buffer)
            self.assertNotIn("s3cret", repr(wrong))

    def test_garbage(self) -> None:
        """
        What is no answer is told as such.
        """
        negotiation = PasswordLogin("ann", "s3cret").beginNegotiation(Command.CONNECT)
        negotiation.advance(ReceiveBuffer())
        buffer = ReceiveBuffer(b"\x07\0")
        self.assertRaises(RemoteProtocolError, negotiation.advance, buffer)

    def test_sizes(self) -> None:
        """
        Each has a length of one octet; a name has to be there.
        """
        PasswordLogin("a" * 255, "")
        PasswordLogin("a", "p" * 255)
        for name, password in (("", "p"), ("a" * 256, "p"), ("a", "p" * 256)):
            self.assertRaises(ValueError, PasswordLogin, name, password)

    def test_basic(self) -> None:
        """
        HTTP has it in another form (RFC 7617 section 2).
        """
        login = PasswordLogin("Aladdin", "open sesame")
        self.assertEqual(login.basic(), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")

    def test_repr(self) -> None:
        """
        The password is in no text of it.
        """
        login = PasswordLogin("ann\n", "s3cret")
        for text in (
            repr(login),
            str(login),
            repr(login.beginNegotiation(Command.CONNECT)),
        ):
            self.assertNotIn("s3cret", text)
            self.assertNotIn("\n", text)
        self.assertIn("ann", repr(login))
