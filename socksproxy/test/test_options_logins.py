"""
Tests for L{socksproxy.options.logins}.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from zope.interface import implementer

from socksproxy.auth import threads
from socksproxy.auth.exempt import Exempt, ReachedAt
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.auth.threads import IBlocking
from socksproxy.auth.throttle import GuessLimits
from socksproxy.test.commandline import OptionsTestCase, parsed
from socksproxy.test.test_auth_threads import FakePool, FakeReactor
from socksproxy.testing import FakeSession


class LoginOptionsTests(OptionsTestCase):
    """
    What the command line says of logins.
    """

    def test_nobodyIsAsked(self) -> None:
        """
        Without any of them nobody logs in.
        """
        self.assertIsNone(parsed().authenticators(Clock()))

    def test_defaults(self) -> None:
        """
        What is not given is as L{GuessLimits} has it.
        """
        options, limits = parsed(), GuessLimits()
        self.assertEqual(options["login-pause-after"], limits.pauseAfter)
        self.assertEqual(options["login-pause"], limits.pause)
        self.assertEqual(options["login-max-pause"], limits.maxPause)
        self.assertEqual(options["login-ban-after"], limits.banAfter)
        self.assertEqual(options["login-ban-time"], limits.banTime)
        self.assertEqual(options["login-cache"], 60)

    def test_throttle(self) -> None:
        """
        Passwords are put before a throttle, with the limits that were given.
        """
        options = parsed(
            *("--auth", "memory:ann:s3cret", "--login-ban-after", "2"),
            *("--login-pause-after", "0", "--login-ban-time", "7"),
        )
        clock = Clock()
        found = options.authenticators(clock)
        assert found is not None
        [authenticator] = found
        assert isinstance(authenticator, PasswordAuthenticator)
        session = FakeSession()

        def login(password: bytes) -> bool:
            outcome: list[Any] = []
            authenticator.login(b"ann", password, session).addCallbacks(
                lambda _: outcome.append(True), lambda _: outcome.append(False)
            )
            return bool(outcome.pop())

        self.assertTrue(login(b"s3cret"))
        self.assertFalse(login(b"1"))
        self.assertFalse(login(b"2"))
        self.assertFalse(login(b"s3cret"))
        clock.advance(7)
        self.assertTrue(login(b"s3cret"))

    def test_pauseEnds(self) -> None:
        """
        No pause takes all the time that a client has for its handshake: a login
        that waits for longer would never be looked at.
        """
        for timeout, pause in (("8", 4), ("0", 100)):
            options = parsed(
                *("--auth", "memory:ann:s3cret", "--handshake-timeout", timeout),
                *("--login-pause-after", "1", "--login-pause", "100"),
                *("--login-max-pause", "100"),
            )
            clock = Clock()
            found = options.authenticators(clock)
            assert found is not None
            [authenticator] = found
            assert isinstance(authenticator, PasswordAuthenticator)
            session = FakeSession()
            wrong = authenticator.login(b"ann", b"guess", session)
            self.failureResultOf(wrong, UnauthorizedLogin)
            login = authenticator.login(b"ann", b"s3cret", session)
            clock.advance(pause - 1)
            self.assertNoResult(login)
            clock.advance(1)
            self.assertEqual(self.successResultOf(login).name, "ann")

    def test_blocking(self) -> None:
        """
        A checker that blocks is asked on a thread; that it notices when its users
        change is not lost by this.
        """

        @implementer(ICredentialsChecker, IBlocking)
        class Blocking:
            credentialInterfaces = (IUsernamePassword,)
            generation = 0

            def requestAvatarId(self, credentials: Any) -> Any:
                raise AssertionError("this would block")

            def check(self, username: bytes, password: bytes) -> bytes:
                return username

        checker, pool = Blocking(), FakePool()
        self.patch(threads, "startedPool", lambda *_: pool)
        options = parsed()
        options["credCheckers"] = [checker]
        found = options.authenticators(FakeReactor())
        assert found is not None
        [authenticator] = found
        assert isinstance(authenticator, PasswordAuthenticator)
        for _ in range(2):
            login = authenticator.login(b"ann", b"s3cret", FakeSession())
            self.assertNoResult(login)
            pool.run()
            self.successResultOf(login)
            again = authenticator.login(b"ann", b"s3cret", FakeSession())
            self.assertEqual(self.successResultOf(again).name, "ann")
            checker.generation += 1

    def test_exempt(self) -> None:
        """
        Who need not log in is asked first; with nobody else to ask the others have
        no way in.
        """
        options = parsed(
            *("--no-auth-from", "192.0.2.0/24", "--no-auth-from", "2001:db8::1"),
            *("--no-auth-from", "unix", "--no-auth-from", "::ffff:198.51.100.0/120"),
            *("--no-auth-on", "127.0.0.1", "--no-auth-on", "[::1]:1081"),
            *("--no-auth-on", "::1", "--no-auth-on", "[::ffff:127.0.0.2]:1"),
        )
        self.assertEqual(
            options["no-auth-from"],
            [
                ip_network("192.0.2.0/24"),
                ip_network("2001:db8::1/128"),
                ip_network("198.51.100.0/24"),
            ],
        )
        self.assertEqual(
            options["no-auth-on"],
            [
                ReachedAt(ip_address("127.0.0.1")),
                ReachedAt(ip_address("::1"), 1081),
                ReachedAt(ip_address("::1")),
                ReachedAt(ip_address("127.0.0.2"), 1),
            ],
        )
        found = options.authenticators(Clock())
        assert found is not None
        [exempt] = found
        self.assertIsInstance(exempt, Exempt)
        stranger = FakeSession(peer=IPv4Address("TCP", "203.0.113.1", 1))
        self.assertIsNone(exempt.beginNegotiation(stranger))
        options = parsed("--auth", "memory:ann:b", "--no-auth-from", "192.0.2.1")
        kinds = [type(each) for each in options.authenticators(Clock()) or ()]
        self.assertEqual(kinds, [Exempt, PasswordAuthenticator])

    def test_bad(self) -> None:
        """
        What is no network, and no address, is repeated.
        """
        for given in ("", "localhost", "192.0.2.1/33", "192.0.2.1/24", "192.0.2", "*"):
            self.assertGivesUp("--no-auth-from", given, says=f"{given}: this is not")
        for given in (
            *("", "localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"),
            *("[::1", "127.0.0.0/8", "127.0.0.1:http", ":1080", "[]:1"),
        ):
            self.assertGivesUp("--no-auth-on", given, says=f"{given}: this is not")
        self.assertGivesUp("--login-pause", "-1", says="'-1'")
        self.assertGivesUp("--login-ban-after", "1.5", says="'1.5'")

    def test_everybody(self) -> None:
        """
        To let everybody in without a login has to be said twice, also where there
        is a login for whoever is left.
        """
        for given in (
            ("--no-auth-from", "0.0.0.0/0"),
            ("--no-auth-from", "::/0"),
            ("--no-auth-from", "0.0.0.0/1", "--no-auth-from", "128.0.0.0/1"),
            ("--no-auth-on", "0.0.0.0"),
            ("--no-auth-on", "0.0.0.0:1080"),
            ("--no-auth-on", "[::]:1080"),
            ("--no-auth-on", "192.0.2.1"),
        ):
            for auth in ((), ("--auth", "memory:ann:b")):
                self.assertGivesUp(*given, *auth, says="--open-proxy")
                parsed(*given, *auth, "--open-proxy")
