"""
USERNAME/PASSWORD (RFC 1929), judged by L{twisted.cred}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import Attribute, Interface, implementer

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

__all__ = ["IProxyUser", "PasswordAuthenticator"]

log = Logger()

AvatarId = bytes | tuple[()]
"""
What a checker gives: a name, or nothing for somebody anonymous.
"""


class IProxyUser(Interface):
    """
    The avatar of a client that logged in.  A realm of one's own returns one
    with whatever else its connectors and policies want to know of a user.
    """

    name: str = Attribute("The user's name, for rules and log lines.")


@implementer(IProxyUser)
class _NamedUser:
    """
    The avatar of a user of whom only the name is known.
    """

    def __init__(self, name: str) -> None:
        self.name = name


@implementer(IRealm)
class _NamesOnly:
    """
    The realm behind bare checkers.
    """

    def requestAvatar(
        self, avatarId: AvatarId, mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        name = (
            avatarId
            if isinstance(avatarId, str)
            else bytes(avatarId).decode("utf-8", "surrogateescape")
        )
        return IProxyUser, _NamedUser(name), lambda: None


@implementer(ICredentialsChecker)
class _FirstThatKnows:
    """
    Several checkers asked one after the other, which a portal does not do:
    there the last one registered for an interface replaces the others.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, checkers: Sequence[ICredentialsChecker]) -> None:
        self._checkers = checkers

    def requestAvatarId(self, credentials: object) -> Deferred[AvatarId]:
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: object) -> AvatarId:
        for checker in self._checkers:
            try:
                return await maybeDeferred(checker.requestAvatarId, credentials)
            except UnauthorizedLogin:
                continue
        raise UnauthorizedLogin()


@implementer(IAuthenticator, ILogins)
class PasswordAuthenticator:
    """
    A name and a password, put before a L{Portal}.
    """

    method = int(Method.USERNAME_PASSWORD)

    def __init__(self, portal: Portal | Sequence[ICredentialsChecker]) -> None:
        """
        @param portal: a portal whose realm has avatars for L{IProxyUser}; the
            mind that it is given is the L{ISession}.  Or just checkers for
            L{IUsernamePassword}, asked in their order until one knows the
            client.
        """
        if not isinstance(portal, Portal):
            portal = Portal(_NamesOnly(), [_FirstThatKnows(list(portal))])
        self._portal = portal

    def beginNegotiation(self, session: ISession) -> INegotiation:
        return _LoginNegotiation(self._portal, session)

    def login(
        self, username: bytes, password: bytes, session: ISession
    ) -> Deferred[Identity]:
        credentials = UsernamePassword(username, password)
        return Deferred.fromCoroutine(self._login(credentials, session))

    async def _login(
        self, credentials: UsernamePassword, session: ISession
    ) -> Identity:
        try:
            _, avatar, logout = await self._portal.login(
                credentials, session, IProxyUser
            )
        except (CancelledError, LoginFailed):
            raise
        except Exception:
            log.failure("A login could not be checked: it is refused.")
            raise LoginFailed() from None
        return Identity(cast(IProxyUser, avatar).name, avatar, logout)


@implementer(INegotiation)
class _LoginNegotiation:
    """
    One login, answered in the version in which it was sent.
    """

    def __init__(self, portal: Portal, session: ISession) -> None:
        self._portal = portal
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
        credentials = UsernamePassword(login.username, login.password)
        try:
            _, avatar, logout = await self._portal.login(
                credentials, self._session, IProxyUser
            )
            name = cast(IProxyUser, avatar).name
        except CancelledError:
            return Denied("the client left during its login")
        except LoginFailed:
            return Denied("login failed", LoginAnswer(login.version, 1).encode())
        except Exception:
            log.failure("A login could not be checked: it is refused.")
            return Denied("login failed", LoginAnswer(login.version, 1).encode())
        if self._abandoned:
            logout()
            return Denied("the client left during its login")
        return Granted(
            Identity(name, avatar, logout), LoginAnswer(login.version, 0).encode()
        )

    def abandon(self) -> None:
        self._abandoned = True
