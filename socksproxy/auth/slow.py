"""
Checkers that take their time.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from socksproxy.auth.logins import AvatarId
from socksproxy.auth.threads import IBlocking

__all__ = ["SlowChecker"]


@implementer(ICredentialsChecker, IBlocking)
class SlowChecker:
    """
    A checker that blocks: one for L{InThreads <socksproxy.auth.threads.InThreads>}.
    For whoever does not know of that it works on one of the reactor's threads.
    """

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[AvatarId]:
        return deferToThread(self.check, credentials.username, credentials.password)

    def check(self, username: bytes, password: bytes) -> AvatarId:
        """
        Called on a thread, and on several at a time.

        @raise LoginFailed: it is not the user's password, which is an
            L{UnauthorizedLogin <twisted.cred.error.UnauthorizedLogin>}, or that
            could not be found out.
        """
        raise NotImplementedError
