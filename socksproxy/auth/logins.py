"""
What a name and a password are worth, by L{twisted.cred}: for every dialect that
asks for such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.throttle import Attempt, Throttle
from socksproxy.interfaces import Identity, ILogins, ISession

__all__ = ["AvatarId", "IProxyUser", "Logins", "firstThatKnows", "isSettled"]

log = Logger()

CHECK_TIMEOUT = 60.0
"""
Seconds after which a check that is counted is given up.
"""

_FAULT = "A login could not be checked: it is refused."
_UNCHECKED = "a login could not be checked"

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


def firstThatKnows(checkers: Sequence[ICredentialsChecker]) -> ICredentialsChecker:
    """
    One checker made of several, asked one after the other until one knows the
    client.
    """
    return checkers[0] if len(checkers) == 1 else _FirstThatKnows(checkers)


@implementer(ILogins)
class Logins:
    """
    Puts names and passwords before a L{Portal}, or just checkers, and sees to it
    that they cannot be guessed.
    """

    def __init__(
        self,
        portal: Portal | Sequence[ICredentialsChecker],
        throttle: Throttle | None = None,
    ) -> None:
        """
        @param portal: a portal whose realm has avatars for L{IProxyUser}; the
            mind that it is given is the L{ISession}.  Or just checkers for
            L{IUsernamePassword}, asked in their order until one knows the
            client.
        @param throttle: counts failures; nobody does unless given.
        """
        self._throttle = throttle
        self._portal = portal if isinstance(portal, Portal) else None
        if not isinstance(portal, Portal):
            self._checker = firstThatKnows(list(portal))

    def login(
        self, username: bytes, password: bytes, session: ISession
    ) -> Deferred[Identity]:
        begin: Callable[..., Any] = self.begin
        return maybeDeferred(begin, username, password, session)

    def begin(
        self, username: bytes, password: bytes, session: ISession
    ) -> Identity | Deferred[Identity]:
        """
        As L{login}, but what is known at once is returned, or raised, at once.
        """
        credentials = UsernamePassword(username, password)
        if self._throttle is None:
            return self._identify(credentials, session)
        attempt = self._throttle.attempt(session.peer, username)
        if attempt.turn is None:
            return self._attempt(attempt, credentials, session)
        answered: Deferred[Identity] = attempt.turn.addCallback(
            lambda _: self._attempt(attempt, credentials, session)
        )
        return answered

    def _attempt(
        self, attempt: Attempt, credentials: UsernamePassword, session: ISession
    ) -> Identity | Deferred[Identity]:
        """
        It is the attempt's turn.
        """
        try:
            answer = self._identify(credentials, session)
        except LoginFailed as wrong:
            _count(attempt, wrong)
            raise
        if isinstance(answer, Identity):
            attempt.right()
            return answer
        assert self._throttle is not None
        answer.addTimeout(CHECK_TIMEOUT, self._throttle.clock).addErrback(_gaveUp)
        return _Checking(attempt, answer).answered

    def _identify(
        self, credentials: UsernamePassword, session: ISession
    ) -> Identity | Deferred[Identity]:
        asked: Any
        try:
            if self._portal is not None:
                asked = self._portal.login(credentials, session, IProxyUser)
            else:
                asked = self._checker.requestAvatarId(credentials)
            if isinstance(asked, Deferred):
                if not isSettled(asked):
                    identified: Deferred[Identity] = asked.addCallback(self._identity)
                    return identified.addErrback(_loginFailed)
                asked = _resultOf(asked)
            return self._identity(asked)
        except LoginFailed:
            raise
        except Exception:
            log.failure(_FAULT)
            raise NotChecked(_UNCHECKED) from None

    def _identity(self, answer: Any) -> Identity:
        """
        @param answer: the portal's, or the checker's.
        """
        if self._portal is not None:
            _, avatar, logout = answer
            return Identity(avatar.name, avatar, logout)
        name = (
            answer
            if isinstance(answer, str)
            else bytes(answer).decode("utf-8", "surrogateescape")
        )
        return Identity(name, _NamedUser(name))


class _Checking:
    """
    A check that goes on when the client leaves: what it finds counts all the
    same, or to leave at once would be a way to guess.

    @ivar answered: what the client waits for.
    """

    def __init__(self, attempt: Attempt, check: Deferred[Identity]) -> None:
        self._attempt = attempt
        self._isWanted = True
        self.answered: Deferred[Identity] = Deferred(self._left)
        check.addCallbacks(self._right, self._wrong).addErrback(
            lambda failure: log.failure("A logout failed.", failure)
        )

    def _left(self, answered: Deferred[Identity]) -> None:
        self._isWanted = False

    def _right(self, identity: Identity) -> None:
        self._attempt.right()
        if self._isWanted:
            self.answered.callback(identity)
        else:
            identity.logout()

    def _wrong(self, failure: Failure) -> None:
        _count(self._attempt, failure.value)
        if self._isWanted:
            self.answered.errback(failure)


def _count(attempt: Attempt, wrong: BaseException | None) -> None:
    if isinstance(wrong, NotChecked):
        attempt.undecided()
    else:
        attempt.wrong()


def _loginFailed(failure: Failure) -> Failure:
    """
    What else a checker or a realm fails with is its fault, and is logged.
    """
    if failure.check(CancelledError, LoginFailed):
        return failure
    log.failure(_FAULT, failure)
    raise NotChecked(_UNCHECKED) from None


def _gaveUp(failure: Failure) -> Failure:
    """
    The client leaving is no reason to cancel a check that is counted.
    """
    if failure.check(LoginFailed):
        return failure
    log.warn("A login was not checked in time: it is refused.")
    raise NotChecked("a login could not be checked in time") from None


def isSettled(deferred: Deferred[Any]) -> bool:
    """
    Whether it has its result already.
    """
    return deferred.called and not deferred.paused


def _resultOf(settled: Deferred[Any]) -> Any:
    """
    What it has, or raise what it has failed with.
    """
    found: list[Any] = []
    settled.addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]
