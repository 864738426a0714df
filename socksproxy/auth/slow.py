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

from socksproxy.auth.password import AvatarId

__all__ = ["SlowChecker"]


@implementer(ICredentialsChecker)
class SlowChecker:
    """
    A checker that blocks, and so does its work on one of the reactor's threads.
    Whoever has better ones calls L{check} there instead.
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
