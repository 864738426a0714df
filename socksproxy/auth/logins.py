"""
What a name and a password are worth, by L{twisted.cred}: for every dialect that
asks for such.
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

from socksproxy.interfaces import Identity, ILogins, ISession

__all__ = ["AvatarId", "IProxyUser", "Logins"]

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


@implementer(ILogins)
class Logins:
    """
    Puts names and passwords before a L{Portal}.
    """

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

    def login(
        self, username: bytes, password: bytes, session: ISession
    ) -> Deferred[Identity]:
        return Deferred.fromCoroutine(
            self._check(UsernamePassword(username, password), session)
        )

    async def _check(
        self, credentials: UsernamePassword, session: ISession
    ) -> Identity:
        try:
            _, avatar, logout = await self._portal.login(
                credentials, session, IProxyUser
            )
            return Identity(cast(IProxyUser, avatar).name, avatar, logout)
        except (CancelledError, LoginFailed):
            raise
        except Exception:
            log.failure("A login could not be checked: it is refused.")
            raise LoginFailed() from None
