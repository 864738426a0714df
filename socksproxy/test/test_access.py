"""
Tests for L{socksproxy.access}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.access import PermitAll
from socksproxy.interfaces import IAccessPolicy, Request
from socksproxy.testing import FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command


class PermitAllTests(SynchronousTestCase):
    """
    Whoever was let in may go anywhere.
    """

    def test_interface(self) -> None:
        """
        It is an L{IAccessPolicy}.
        """
        verifyObject(IAccessPolicy, PermitAll())

    def test_permits(self) -> None:
        """
        Every command and every address is permitted, at once: no Deferred.
        """
        policy, session = PermitAll(), FakeSession()
        for text in ("example.org", "127.0.0.1", "::1"):
            destination = Address.name(text, 80)
            for command in (*Command, 0xFE):
                request = Request(command, destination)
                self.assertIs(policy.permitsRequest(request, session), True)
                self.assertIs(
                    policy.permitsAddress(destination, request, session), True
                )
