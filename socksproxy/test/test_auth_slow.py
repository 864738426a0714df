"""
Tests for L{socksproxy.auth.slow}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import threading

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.logins import AvatarId
from socksproxy.auth.slow import SlowChecker


class Knows(SlowChecker):
    """
    Knows one user, and the threads that it was asked on.
    """

    def __init__(self) -> None:
        self.threads: list[int] = []

    def check(self, username: bytes, password: bytes) -> AvatarId:
        self.threads.append(threading.get_ident())
        if (username, password) != (b"ann", b"one"):
            raise UnauthorizedLogin()
        return username


class SlowCheckerTests(TestCase):
    """
    What takes its time takes nobody else's.
    """

    async def test_thread(self) -> None:
        """
        It is asked on another thread, and what it says is the answer.
        """
        checker = Knows()
        one = UsernamePassword(b"ann", b"one")
        self.assertEqual(await checker.requestAvatarId(one), b"ann")
        two = UsernamePassword(b"ann", b"two")
        with self.assertRaises(UnauthorizedLogin):
            await checker.requestAvatarId(two)
        self.assertEqual(len(checker.threads), 2)
        self.assertNotIn(threading.get_ident(), checker.threads)


class InterfaceTests(SynchronousTestCase):
    """
    What it is for L{twisted.cred}.
    """

    def test_interfaces(self) -> None:
        """
        It checks names and passwords.
        """
        checker = Knows()
        verifyObject(ICredentialsChecker, checker)
        self.assertEqual(list(checker.credentialInterfaces), [IUsernamePassword])
