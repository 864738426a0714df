"""
USERNAME/PASSWORD (RFC 1929), judged by L{twisted.cred}.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from socksproxy.auth.logins import Logins
from socksproxy.interfaces import (
    Denied,
    Granted,
    IAuthenticator,
    Identity,
    ILogins,
    INegotiation,
    ISession,
    NegotiationStep,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Method
from socksproxy.wire.errors import RemoteProtocolError
from socksproxy.wire.socks5 import Login, LoginAnswer

__all__ = ["PasswordAuthenticator"]


@implementer(IAuthenticator, ILogins)
class PasswordAuthenticator:
    """
    A name and a password, put before L{Logins}.
    """

    method = int(Method.USERNAME_PASSWORD)

    def __init__(self, portal: Portal | Sequence[ICredentialsChecker]) -> None:
        """
        @param portal: as for L{Logins}: a portal, or just checkers.
        """
        self.login = Logins(portal).login

    def beginNegotiation(self, session: ISession) -> INegotiation:
        return _LoginNegotiation(self, session)


@implementer(INegotiation)
class _LoginNegotiation:
    """
    One login, answered in the version in which it was sent.
    """

    def __init__(self, logins: ILogins, session: ISession) -> None:
        self._logins = logins
        self._session = session
        self._abandoned = False

    def advance(
        self, received: ReceiveBuffer
    ) -> NegotiationStep | Deferred[NegotiationStep] | None:
        try:
            login = Login.parse(received)
        except RemoteProtocolError as wrong:
            return Denied(str(wrong), LoginAnswer(1, 1).encode())
        if login is None:
            return None
        return Deferred.fromCoroutine(self._check(login))

    async def _check(self, login: Login) -> NegotiationStep:
        try:
            identity: Identity = await self._logins.login(
                login.username, login.password, self._session
            )
        except CancelledError:
            return Denied("the client left during its login")
        except LoginFailed:
            return Denied("login failed", LoginAnswer(login.version, 1).encode())
        if self._abandoned:
            identity.logout()
            return Denied("the client left during its login")
        return Granted(identity, LoginAnswer(login.version, 0).encode())

    def abandon(self) -> None:
        self._abandoned = True
