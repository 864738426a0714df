"""
USERNAME/PASSWORD (RFC 1929), judged by L{twisted.cred}.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.logins import Logins
from socksproxy.auth.throttle import Throttle
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
from socksproxy.wire.socks5 import LOGIN_VERSIONS, Login, LoginAnswer

__all__ = ["PasswordAuthenticator"]


_GRANTED = {version: LoginAnswer(version, 0).encode() for version in LOGIN_VERSIONS}
_DENIED = {version: LoginAnswer(version, 1).encode() for version in LOGIN_VERSIONS}

_LEFT = Denied("the client left during its login")


@implementer(IAuthenticator, ILogins)
class PasswordAuthenticator:
    """
    A name and a password, put before L{Logins}.
    """

    method = int(Method.USERNAME_PASSWORD)

    def __init__(
        self,
        portal: Portal | Sequence[ICredentialsChecker],
        throttle: Throttle | None = None,
    ) -> None:
        """
        @param portal: as for L{Logins}: a portal, or just checkers.
        @param throttle: as for L{Logins}.
        """
        self._logins = Logins(portal, throttle)

    def beginNegotiation(self, session: ISession) -> INegotiation:
        return _LoginNegotiation(self._logins, session)

    def login(
        self, username: bytes, password: bytes, session: ISession
    ) -> Deferred[Identity]:
        return self._logins.login(username, password, session)


@implementer(INegotiation)
class _LoginNegotiation:
    """
    One login, answered in the version in which it was sent.
    """

    def __init__(self, logins: Logins, session: ISession) -> None:
        self._logins = logins
        self._session = session
        self._version = 1
        self._abandoned = False

    def advance(
        self, received: ReceiveBuffer
    ) -> NegotiationStep | Deferred[NegotiationStep] | None:
        try:
            login = Login.parse(received)
        except RemoteProtocolError as wrong:
            return Denied(str(wrong), _DENIED[1])
        if login is None:
            return None
        self._version = login.version
        try:
            answer = self._logins.begin(login.username, login.password, self._session)
        except LoginFailed as wrong:
            return self._denied(wrong)
        if isinstance(answer, Identity):
            return self._granted(answer)
        return answer.addCallbacks(self._granted, self._failed)

    def _granted(self, identity: Identity) -> NegotiationStep:
        if self._abandoned:
            identity.logout()
            return _LEFT
        return Granted(identity, _GRANTED[self._version])

    def _failed(self, failure: Failure) -> NegotiationStep:
        if failure.check(CancelledError):
            return _LEFT
        failure.trap(LoginFailed)
        return self._denied(failure.value)

    def _denied(self, wrong: BaseException | None) -> NegotiationStep:
        # What others have written may tell more than is good.
        reason = str(wrong) if isinstance(wrong, NotChecked) else "login failed"
        return Denied(reason, _DENIED[self._version])

    def abandon(self) -> None:
        self._abandoned = True
