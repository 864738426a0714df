"""
Tests for L{socksproxy.auth.logins}; those of what it makes of portals and checkers
are in L{socksproxy.test.test_auth_password}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.logins import CHECK_TIMEOUT, Logins
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.auth.remembered import Remembering
from socksproxy.auth.throttle import GuessLimits, Throttle
from socksproxy.interfaces import Denied, Granted, Identity, ILogins
from socksproxy.test.test_auth_password import Checker, Realm, knows, raising
from socksproxy.test.test_auth_remembered import Slow
from socksproxy.testing import FakeSession
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.socks5 import Login

SECRET = b"s3cret"


class LoginsTests(SynchronousTestCase):
    """
    Logins that are counted.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock, GuessLimits(banAfter=5))
        self.session = FakeSession()
        self.slow = Slow()
        self.logins = Logins([self.slow], self.throttle)
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def login(self, password: bytes = SECRET) -> Deferred[Identity]:
        return self.logins.login(b"ann", password, self.session)

    def failures(self) -> int:
        """
        How many were counted.
        """
        return sum("failed to log in" in formatEvent(e) for e in self.events)

    def test_interface(self) -> None:
        """
        The login of every dialect is that of the authenticator.
        """
        verifyObject(ILogins, self.logins)
        authenticator = PasswordAuthenticator([knows(b"ann")], self.throttle)
        verifyObject(ILogins, authenticator)
        identity = self.successResultOf(
            authenticator.login(b"ann", SECRET, self.session)
        )
        self.assertEqual(identity.name, "ann")

    def test_atOnce(self) -> None:
        """
        What is known at once comes at once, without a Deferred.
        """
        self.logins = Logins([knows(b"ann")], self.throttle)
        identity = self.logins.begin(b"ann", SECRET, self.session)
        assert isinstance(identity, Identity)
        self.assertEqual(identity.name, "ann")
        self.assertRaises(
            UnauthorizedLogin, self.logins.begin, b"bob", SECRET, self.session
        )
        self.assertEqual(self.failures(), 1)

    def test_remembered(self) -> None:
        """
        So does what is remembered: the second login is granted in one step.
        """
        remembering = Remembering(self.clock, [self.slow])
        authenticator = PasswordAuthenticator([remembering], self.throttle)
        received = Login(1, b"ann", SECRET).encode()

        def advance() -> Any:
            return authenticator.beginNegotiation(self.session).advance(
                ReceiveBuffer(received)
            )

        first = advance()
        self.slow.answers[0].callback(b"ann")
        self.assertIsInstance(self.successResultOf(first), Granted)
        self.assertIsInstance(advance(), Granted)
        self.assertEqual(len(self.slow.answers), 1)

    def test_browser(self) -> None:
        """
        Two hundred connections of one browser cost one check, and wait for
        nothing but that.
        """
        self.logins = Logins([Remembering(self.clock, [self.slow])], self.throttle)
        logins = [self.login() for _ in range(200)]
        self.slow.answers[0].callback(b"ann")
        for login in logins:
            self.assertEqual(self.successResultOf(login).name, "ann")
        self.assertEqual(len(self.slow.answers), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wrong(self) -> None:
        """
        What is wrong is counted, and in the end nobody is asked any more.
        """
        self.logins = Logins([knows(b"bob")], self.throttle)
        for _ in range(5):
            login = self.login()
            self.clock.advance(10)
            self.failureResultOf(login, UnauthorizedLogin)
        checker = knows(b"ann")
        self.logins = Logins([checker], self.throttle)
        self.failureResultOf(self.login(), NotChecked)
        self.assertEqual(checker.asked, [])
        self.assertEqual(self.failures(), 5)

    def test_refusedIsDenied(self) -> None:
        """
        Who is refused unseen is answered like one whose password is wrong; the
        log tells them apart.
        """
        self.throttle = Throttle(self.clock, GuessLimits(pauseAfter=0, banAfter=1))
        authenticator = PasswordAuthenticator([knows(b"bob")], self.throttle)
        steps = [
            authenticator.beginNegotiation(self.session).advance(
                ReceiveBuffer(Login(1, b"ann", SECRET).encode())
            )
            for _ in range(2)
        ]
        self.assertEqual(
            steps,
            [
                Denied("login failed", b"\1\1"),
                Denied("too many logins from its address have failed", b"\1\1"),
            ],
        )

    def test_faultIsNotCounted(self) -> None:
        """
        A fault of the checker's is logged, and is not the client's.
        """
        self.logins = Logins([raising(ZeroDivisionError())], self.throttle)
        for _ in range(9):
            self.failureResultOf(self.login(), NotChecked)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 9)
        self.logins = Logins([Checker(lambda _n, _p: object())], self.throttle)
        self.failureResultOf(self.login(), LoginFailed)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(self.failures(), 0)

    def test_leavesDuringCheck(self) -> None:
        """
        Who leaves while its password is checked is counted when that was wrong:
        to disconnect at once does not make guesses free.
        """
        for _ in range(5):
            login = self.login(b"guess")
            self.clock.advance(10)
            login.cancel()
            self.failureResultOf(login, CancelledError)
            self.assertEqual(self.slow.cancelled, 0)
            self.slow.answers.pop().errback(UnauthorizedLogin())
        self.assertEqual(self.failures(), 5)
        self.failureResultOf(self.login(), NotChecked)

    def test_leavesWhileItWaits(self) -> None:
        """
        Who leaves before its password was looked at is not counted, and nobody
        looks at it.
        """
        logins = [self.login(b"%d" % number) for number in range(9)]
        for login in logins[3:]:
            login.cancel()
            self.failureResultOf(login, CancelledError)
        for answer in self.slow.answers:
            answer.errback(UnauthorizedLogin())
        for login in logins[:3]:
            self.failureResultOf(login, UnauthorizedLogin)
        self.clock.advance(10)
        self.assertEqual(len(self.slow.answers), 3)
        self.assertEqual(self.failures(), 3)

    def test_memoryIsNoOracle(self) -> None:
        """
        While an address has to wait, what is remembered is not looked at either:
        a guess that is remembered would be known by how soon it is answered.
        """
        self.logins = Logins([Remembering(self.clock, [self.slow])], self.throttle)
        right = self.login()
        self.slow.answers[0].callback(b"ann")
        self.successResultOf(right)
        for number in range(3):
            wrong = self.login(b"%d" % number)
            self.slow.answers[-1].errback(UnauthorizedLogin())
            self.failureResultOf(wrong, UnauthorizedLogin)
        known = self.login()
        self.assertNoResult(known)
        self.clock.advance(1)
        self.successResultOf(known)

    def test_leavesAndWasRight(self) -> None:
        """
        Who leaves during its check and was right is logged out, once; its address
        is cleared of failures.
        """
        realm = Realm()
        self.logins = Logins(Portal(realm, [self.slow]), self.throttle)
        login = self.login()
        login.cancel()
        self.failureResultOf(login, CancelledError)
        self.slow.answers[0].callback(b"ann")
        self.assertEqual(len(realm.users), 1)
        self.assertEqual(realm.logouts, realm.users)
        self.assertEqual(self.failures(), 0)

    def test_portal(self) -> None:
        """
        A portal's logins are counted the same way.
        """
        realm = Realm()
        self.logins = Logins(Portal(realm, [knows(b"ann")]), self.throttle)
        identity = self.successResultOf(self.login())
        self.assertIs(identity.avatar, realm.users[0])
        self.logins = Logins(Portal(realm, [knows(b"bob")]), self.throttle)
        self.failureResultOf(self.login(), UnauthorizedLogin)
        self.assertEqual(self.failures(), 1)

    def test_neverChecked(self) -> None:
        """
        A checker that does not answer is given up some time, which is no failure
        of the client's, and others can have their turn.
        """
        logins = [self.login() for _ in range(4)]
        self.assertEqual(len(self.slow.answers), 3)
        self.clock.advance(CHECK_TIMEOUT)
        for login in logins[:3]:
            self.failureResultOf(login, NotChecked)
        self.assertEqual(self.slow.cancelled, 3)
        self.assertEqual(self.failures(), 0)
        self.slow.answers[3].callback(b"ann")
        self.assertEqual(self.successResultOf(logins[3]).name, "ann")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_faultyLogout(self) -> None:
        """
        A logout that fails is logged.
        """
        realm = Realm()
        realm.logouts = cast(Any, None)
        self.logins = Logins(Portal(realm, [self.slow]), self.throttle)
        login = self.login()
        login.cancel()
        self.failureResultOf(login, CancelledError)
        self.slow.answers[0].callback(b"ann")
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_noSecret(self) -> None:
        """
        No password is in anything that was logged, nor in what a login fails with.
        """
        self.logins = Logins([knows(b"bob")], self.throttle)
        texts = []
        for number in range(7):
            self.session.peer = IPv4Address("TCP", "192.0.2.2", number)
            login = self.login()
            self.clock.advance(10)
            failure = self.failureResultOf(login)
            texts += [failure.getTraceback(), repr(failure.value), str(failure)]
        texts += [formatEvent(event) for event in self.events]
        texts += [repr(event) for event in self.events]
        self.assertEqual(self.failures(), 5)
        for text in texts:
            self.assertNotIn(SECRET.decode(), text)
