"""
Tests for L{socksproxy.client.socks4}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.client.errors import LoginRefused
from socksproxy.client.interfaces import IConversation, Replied
from socksproxy.client.socks4 import SOCKS4Conversation
from socksproxy.errors import GeneralFailure, RemoteProtocolError
from socksproxy.interfaces import Continue
from socksproxy.test.test_client_socks5 import BOUND, TARGET, said
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

GRANTED = b"\0\x5a\x04\x38\xc0\0\x02\x01"


class ConversationTests(SynchronousTestCase):
    """
    Request and reply.
    """

    def conversation(self) -> SOCKS4Conversation:
        return SOCKS4Conversation(Command.CONNECT, Address.ip("192.0.2.7", 80), b"ann")

    def test_everySplit(self) -> None:
        """
        The request, then the reply in any pieces, and what is behind it.
        """
        verifyObject(IConversation, self.conversation())
        for cut in range(len(GRANTED)):
            self.assertEqual(
                said(self.conversation(), GRANTED[:cut], GRANTED[cut:] + b"rest"),
                [
                    Continue(b"\x04\x01\0\x50\xc0\0\x02\x07ann\0"),
                    Replied(BOUND),
                    b"rest",
                ],
            )

    def test_name(self) -> None:
        """
        A name goes as it is.
        """
        self.assertEqual(
            said(SOCKS4Conversation(Command.CONNECT, TARGET)),
            [Continue(b"\x04\x01\x01\xbb\0\0\0\x01\0example.org\0")],
        )

    def test_refused(self) -> None:
        """
        What is not granted is an error.
        """
        for code, kind in ((91, GeneralFailure), (92, LoginRefused)):
            reply = bytes((0, code)) + bytes(6)
            self.assertRaises(kind, said, self.conversation(), reply)

    def test_garbage(self) -> None:
        """
        What is not SOCKS4 is told as soon as it is there.
        """
        self.assertRaises(RemoteProtocolError, said, self.conversation(), b"\x05")

    def test_userId(self) -> None:
        """
        It cannot hold a NUL, or be without an end.
        """
        for userId in (b"a\0b", b"x" * 256):
            self.assertRaises(
                ValueError, SOCKS4Conversation, Command.CONNECT, TARGET, userId
            )

    def test_abandon(self) -> None:
        """
        There is nothing to let go of.
        """
        self.conversation().abandon()
