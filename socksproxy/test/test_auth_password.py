"""
Tests for L{socksproxy.auth.password}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from socksproxy.auth.logins import AvatarId, IProxyUser
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.interfaces import (
    Denied,
    Granted,
    IAuthenticator,
    INegotiation,
    NegotiationStep,
)
from socksproxy.testing import FakeSession
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.socks5 import Login

SECRET = b"s3cret"


def database(**users: bytes) -> InMemoryUsernamePasswordDatabaseDontUse:
    return InMemoryUsernamePasswordDatabaseDontUse(**users)


@implementer(ICredentialsChecker)
class Checker:
    """
    Answers with whatever a function makes of a name and a password, and
    remembers what it was asked.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, decide: Callable[[bytes, bytes], Any]) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self._decide = decide

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append((credentials.username, credentials.password))
        return self._decide(credentials.username, credentials.password)


def knows(*names: bytes) -> Checker:
    """
    A checker that knows these names, whatever the password.
    """

    def decide(name: bytes, password: bytes) -> bytes:
        if name not in names:
            raise UnauthorizedLogin("nobody of that name")
        return name

    return Checker(decide)


def raising(exception: Exception) -> Checker:
    """
    A checker that fails with C{exception}.
    """

    def decide(name: bytes, password: bytes) -> bytes:
        raise exception

    return Checker(decide)


@implementer(IProxyUser)
class User:
    """
    An avatar of somebody's own realm.
    """

    def __init__(self, name: str) -> None:
        self.name = name


@implementer(IRealm)
class Realm:
    """
    A realm that counts who comes and goes.

    @ivar wait: what its answers wait for, if there is anything.
    """

    def __init__(self) -> None:
        self.minds: list[object] = []
        self.users: list[User] = []
        self.logouts: list[User] = []
        self.wait: Deferred[None] | None = None

    def requestAvatar(
        self, avatarId: AvatarId, mind: object, *interfaces: type[Interface]
    ) -> Any:
        assert IProxyUser in interfaces
        self.minds.append(mind)
        user = User(bytes(avatarId).decode().upper())
        self.users.append(user)
        avatar = (IProxyUser, user, lambda: self.logouts.append(user))
        if self.wait is None:
            return avatar
        return self.wait.addCallback(lambda _: avatar)


@implementer(ILogObserver)
class Events:
    """
    All that is logged during a test.
    """

    def __init__(self) -> None:
        self.seen: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.seen.append(event)


class Tests(SynchronousTestCase):
    """
    What all tests here share.
    """

    def setUp(self) -> None:
        self.session = FakeSession()
        self.events = Events()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def begin(self, portal: Portal | list[Any]) -> INegotiation:
        return PasswordAuthenticator(portal).beginNegotiation(self.session)

    def advance(
        self, portal: Portal | list[Any], login: Login
    ) -> Deferred[NegotiationStep]:
        """
        Either way, at once or later.
        """
        step = self.begin(portal).advance(ReceiveBuffer(login.encode()))
        assert step is not None
        return step if isinstance(step, Deferred) else succeed(step)

    def granted(self, portal: Portal | list[Any], login: Login) -> Granted:
        step = self.successResultOf(self.advance(portal, login))
        assert isinstance(step, Granted), step
        self.assertEqual(step.response, bytes((login.version, 0)))
        self.assertIsNone(step.securityLayer)
        self.assertNoSecret(step)
        return step

    def assertRefused(
        self,
        portal: Portal | list[Any],
        login: Login,
        reason: str = "login failed",
    ) -> None:
        """
        It is refused in the version of the login, in words that tell nothing.
        """
        step = self.successResultOf(self.advance(portal, login))
        self.assertEqual(step, Denied(reason, bytes((login.version, 1))))

    def assertNoSecret(self, *values: object) -> None:
        """
        The password is in no C{repr} of C{values} and in nothing that was
        logged.
        """
        texts = [repr(value) for value in values]
        for event in self.events.seen:
            texts.append(formatEvent(event))
            texts.append(repr(event))
            if "log_failure" in event:
                texts.append(event["log_failure"].getTraceback())
        for text in texts:
            self.assertNotIn(SECRET.decode(), text)


class PasswordAuthenticatorTests(Tests):
    """
    A name and a password, and what is made of them.
    """

    def test_interfaces(self) -> None:
        """
        It is an L{IAuthenticator} for METHOD 02; each connection has its own
        L{INegotiation}.
        """
        authenticator = PasswordAuthenticator([database()])
        verifyObject(IAuthenticator, authenticator)
        self.assertEqual(authenticator.method, 2)
        one = authenticator.beginNegotiation(self.session)
        verifyObject(INegotiation, one)
        self.assertIsNot(one, authenticator.beginNegotiation(self.session))

    def test_granted(self) -> None:
        """
        The right password is answered in the version of the login, 01 or 05,
        and gives an identity with the user's name.
        """
        for version in (1, 5):
            step = self.granted([database(ann=SECRET)], Login(version, b"ann", SECRET))
            self.assertEqual(step.identity.name, "ann")
            user = step.identity.avatar
            self.assertTrue(IProxyUser.providedBy(user))
            verifyObject(IProxyUser, user)
            self.assertIsNone(step.identity.logout())

    def test_wrongPassword(self) -> None:
        """
        A wrong password and an unknown name are refused alike, in the version
        of the login; a password is compared to its last byte.
        """
        for version in (1, 5):
            for name, password in (
                (b"ann", b"wrong"),
                (b"ann", b""),
                (b"ann", SECRET + b"\0x"),
                (b"ann\0x", SECRET),
                (b"bob", SECRET),
                (b"", b""),
            ):
                self.assertRefused(
                    [database(ann=SECRET)], Login(version, name, password)
                )
        self.assertNoSecret()

    def test_otherVersions(self) -> None:
        """
        Any other version is refused with C{01 01} as soon as its byte is
        there, and nobody is asked.
        """
        checker = knows(b"ann")
        for version in sorted(set(range(256)) - {1, 5}):
            for rest in (b"", b"\x03ann\x06" + SECRET):
                received = ReceiveBuffer(bytes((version,)) + rest)
                step = self.begin([checker]).advance(received)
                assert isinstance(step, Denied)
                self.assertEqual(step.response, b"\x01\x01")
                self.assertNoSecret(step)
        self.assertEqual(checker.asked, [])

    def test_everySplit(self) -> None:
        """
        Wherever the login is cut: nothing is taken and nobody is asked until
        it is whole; bytes behind it stay.
        """
        data = Login(1, b"ann", SECRET).encode()
        for cut in range(len(data)):
            checker = knows(b"ann")
            negotiation = self.begin([checker])
            received = ReceiveBuffer()
            received.feed(data[:cut])
            self.assertIsNone(negotiation.advance(received))
            self.assertEqual(len(received), cut)
            self.assertEqual(checker.asked, [])
            received.feed(data[cut:] + b"rest")
            self.assertIsInstance(negotiation.advance(received), Granted)
            self.assertEqual(received.takeAll(), b"rest")
            self.assertEqual(checker.asked, [(b"ann", SECRET)])

    def test_empty(self) -> None:
        """
        An empty name and an empty password are judged by the checker, like
        any other.
        """
        for name, password in ((b"", b""), (b"ann", b""), (b"", SECRET)):
            checker = knows(name)
            step = self.granted([checker], Login(1, name, password))
            self.assertEqual(checker.asked, [(name, password)])
            self.assertEqual(step.identity.name, name.decode())
            self.assertRefused([knows(b"bob")], Login(1, name, password))

    def test_anyBytesInName(self) -> None:
        """
        A name is bytes: UTF-8 becomes text, and what is none is kept.
        """
        for name, text in (
            ("b\u00fccher".encode(), "b\u00fccher"),
            (b"\xff\0", "\udcff\0"),
        ):
            step = self.granted([knows(name)], Login(1, name, b""))
            self.assertEqual(step.identity.name, text)

    def test_avatarIds(self) -> None:
        """
        Without a realm of one's own a checker's avatar id can be bytes, text,
        or the empty tuple of somebody anonymous, come at once or later.
        """
        for avatarId, name in (
            (b"ann", "ann"),
            ("ann", "ann"),
            ((), ""),
            (succeed(b"ann"), "ann"),
        ):
            checker = Checker(lambda _n, _p, answer=avatarId: answer)  # type: ignore[misc]
            step = self.granted([checker], Login(1, b"x", b"y"))
            self.assertEqual(step.identity.name, name)

    def test_checkersInOrder(self) -> None:
        """
        Several checkers are asked in their order until one knows the client.
        """
        first, second, third = knows(b"ann"), knows(b"bob"), knows(b"bob")
        checkers = [first, second, third]
        self.granted(checkers, Login(1, b"ann", SECRET))
        self.assertEqual([len(c.asked) for c in checkers], [1, 0, 0])
        self.granted(checkers, Login(1, b"bob", SECRET))
        self.assertEqual([len(c.asked) for c in checkers], [2, 1, 0])
        self.assertRefused(checkers, Login(1, b"eve", SECRET))
        self.assertEqual([len(c.asked) for c in checkers], [3, 2, 1])

    def test_slowCheckersInOrder(self) -> None:
        """
        The next checker is asked only when the one before it has said no.
        """
        answer: Deferred[bytes] = Deferred()
        second = knows(b"ann")
        login = Login(1, b"ann", SECRET)
        step = self.advance([Checker(lambda _n, _p: answer), second], login)
        self.assertNoResult(step)
        self.assertEqual(second.asked, [])
        answer.errback(UnauthorizedLogin())
        self.assertIsInstance(self.successResultOf(step), Granted)

    def test_noCheckers(self) -> None:
        """
        With nobody to ask every login is refused.
        """
        self.assertRefused([], Login(1, b"ann", SECRET))

    def test_portalWithoutChecker(self) -> None:
        """
        A portal that has no checker for passwords refuses, and nothing is
        logged as a fault.
        """
        portal = Portal(Realm(), [AllowAnonymousAccess()])
        self.assertRefused(portal, Login(1, b"ann", SECRET))

    def test_otherLoginFailures(self) -> None:
        """
        Any kind of L{LoginFailed <twisted.cred.error.LoginFailed>} is a
        refusal, not a fault.
        """
        self.assertRefused([raising(LoginDenied())], Login(5, b"ann", SECRET))

    def test_faultyChecker(self) -> None:
        """
        A checker that fails in a way that it should not refuses the login;
        its fault is logged once, without the password.
        """
        for version in (1, 5):
            self.assertRefused(
                [raising(ZeroDivisionError("broken"))],
                Login(version, b"ann", SECRET),
                "a login could not be checked",
            )
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("log_failure", self.events.seen[-1])
        self.assertNoSecret()


class RealmTests(Tests):
    """
    A portal with a realm of one's own.
    """

    def setUp(self) -> None:
        super().setUp()
        self.realm = Realm()
        self.login = Login(1, b"ann", SECRET)

    def test_avatar(self) -> None:
        """
        The identity carries the realm's avatar, its name and its logout; the
        mind is the session.
        """
        portal = Portal(self.realm, [knows(b"ann")])
        identity = self.granted(portal, self.login).identity
        [user] = self.realm.users
        self.assertIs(identity.avatar, user)
        self.assertEqual(identity.name, "ANN")
        self.assertEqual(self.realm.minds, [self.session])
        self.assertEqual(self.realm.logouts, [])
        identity.logout()
        self.assertEqual(self.realm.logouts, [user])

    def test_refused(self) -> None:
        """
        The realm is not asked for an avatar of somebody who is refused.
        """
        self.assertRefused(Portal(self.realm, [knows(b"bob")]), self.login)
        self.assertEqual(self.realm.users, [])

    def test_faultyRealm(self) -> None:
        """
        A realm without an avatar of the right kind is a fault that is logged,
        and the login is refused.
        """

        @implementer(IRealm)
        class NoRealm:
            def requestAvatar(
                self, avatarId: AvatarId, mind: object, *interfaces: type[Interface]
            ) -> Any:
                raise NotImplementedError("no avatar of that kind")

        self.assertRefused(
            Portal(NoRealm(), [knows(b"ann")]),
            self.login,
            "a login could not be checked",
        )
        self.assertEqual(len(self.flushLoggedErrors(NotImplementedError)), 1)
        self.assertNoSecret()

    def _leaves(
        self, checker: Checker, fire: Callable[[], object]
    ) -> Deferred[NegotiationStep]:
        """
        The client leaves while its login is being checked, then C{fire}
        decides it.
        """
        negotiation = self.begin(Portal(self.realm, [checker]))
        step = negotiation.advance(ReceiveBuffer(self.login.encode()))
        assert isinstance(step, Deferred)
        self.assertNoResult(step)
        negotiation.abandon()
        fire()
        return step

    def test_leavesDuringCheck(self) -> None:
        """
        When the client has left before a slow checker says yes, its avatar is
        logged out, once, and nothing is granted.
        """
        answer: Deferred[bytes] = Deferred()
        checker = Checker(lambda _n, _p: answer)
        step = self._leaves(checker, lambda: answer.callback(b"ann"))
        self.assertIsInstance(self.successResultOf(step), Denied)
        self.assertEqual(len(self.realm.users), 1)
        self.assertEqual(self.realm.logouts, self.realm.users)

    def test_leavesDuringRefusal(self) -> None:
        """
        When the client has left before a slow checker says no, there is
        nobody to log out.
        """
        answer: Deferred[bytes] = Deferred()
        checker = Checker(lambda _n, _p: answer)
        step = self._leaves(checker, lambda: answer.errback(UnauthorizedLogin()))
        self.assertIsInstance(self.successResultOf(step), Denied)
        self.assertEqual(self.realm.logouts, [])

    def test_leavesDuringAvatar(self) -> None:
        """
        When the client has left before a slow realm has its avatar, that is
        logged out too.
        """
        wait = self.realm.wait = Deferred()
        step = self._leaves(knows(b"ann"), lambda: wait.callback(None))
        self.assertIsInstance(self.successResultOf(step), Denied)
        self.assertEqual(self.realm.logouts, self.realm.users)

    def test_cancelled(self) -> None:
        """
        The session cancels a step that is out when the client leaves.  The
        checker is told, nobody is granted anything, and nothing is logged:
        clients leave all the time.
        """
        told: list[object] = []
        answer: Deferred[bytes] = Deferred(told.append)
        portal = Portal(self.realm, [Checker(lambda _n, _p: answer)])
        negotiation = self.begin(portal)
        step = negotiation.advance(ReceiveBuffer(self.login.encode()))
        assert isinstance(step, Deferred)
        outcome: list[object] = []
        step.addBoth(outcome.append)
        step.cancel()
        negotiation.abandon()
        self.assertEqual(told, [answer])
        self.assertEqual(len(outcome), 1)
        self.assertNotIsInstance(outcome[0], Granted)
        self.assertEqual(self.realm.users, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelledBehindCheckers(self) -> None:
        """
        The same for bare checkers; those behind the one that was being asked
        are not asked any more.
        """
        answer: Deferred[bytes] = Deferred()
        behind = knows(b"ann")
        step = self.advance([Checker(lambda _n, _p: answer), behind], self.login)
        outcome: list[object] = []
        step.addBoth(outcome.append)
        step.cancel()
        self.assertEqual(len(outcome), 1)
        self.assertNotIsInstance(outcome[0], Granted)
        self.assertEqual(behind.asked, [])
        self.assertEqual(self.flushLoggedErrors(), [])
