"""
Tests for L{socksproxy.auth.none}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.none import NoAuthentication
from socksproxy.interfaces import ANONYMOUS, Granted, IAuthenticator, INegotiation
from socksproxy.testing import FakeSession
from socksproxy.wire.buffer import ReceiveBuffer


class NoAuthenticationTests(SynchronousTestCase):
    """
    Everybody is welcome.
    """

    def test_interfaces(self) -> None:
        """
        It is an L{IAuthenticator} for METHOD 00, and begins an
        L{INegotiation}.
        """
        authenticator = NoAuthentication()
        verifyObject(IAuthenticator, authenticator)
        verifyObject(INegotiation, authenticator.beginNegotiation(FakeSession()))
        self.assertEqual(authenticator.method, 0)

    def test_grants(self) -> None:
        """
        The client is let in at once, without a name, without an answer and
        without a byte of its request being taken.
        """
        negotiation = NoAuthentication().beginNegotiation(FakeSession())
        for data in (b"", b"\x05\x01\0"):
            received = ReceiveBuffer(data)
            step = negotiation.advance(received)
            assert isinstance(step, Granted)
            self.assertIs(step.identity, ANONYMOUS)
            self.assertEqual(step.identity.name, "")
            self.assertEqual(step.response, b"")
            self.assertIsNone(step.securityLayer)
            self.assertEqual(received.takeAll(), data)

    def test_abandon(self) -> None:
        """
        One client that leaves takes nothing from the others, and there is
        nothing to log out of.
        """
        authenticator = NoAuthentication()
        authenticator.beginNegotiation(FakeSession()).abandon()
        negotiation = authenticator.beginNegotiation(FakeSession())
        step = negotiation.advance(ReceiveBuffer())
        assert isinstance(step, Granted)
        self.assertIsNone(step.identity.logout())
