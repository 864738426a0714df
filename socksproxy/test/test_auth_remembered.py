"""
Tests for L{socksproxy.auth.remembered}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.auth.remembered import IChanging, Remembering

ANN = UsernamePassword(b"ann", b"s3cret")


@implementer(ICredentialsChecker)
class Slow:
    """
    Answers when the test says so.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.answers: list[Deferred[Any]] = []
        self.cancelled = 0

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.answers.append(Deferred(self._cancel))
        return self.answers[-1]

    def _cancel(self, answer: Deferred[Any]) -> None:
        self.cancelled += 1


@implementer(IChanging)
class Changing(Slow):
    """
    One whose users change when the test says so.
    """

    generation = 0


@implementer(ICredentialsChecker)
class AtOnce:
    """
    Has its answer ready.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked += 1
        return self.answer() if callable(self.answer) else self.answer


class RememberingTests(SynchronousTestCase):
    """
    What was right a moment ago is right.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.slow = Slow()
        self.remembering = Remembering(self.clock, [self.slow], 60, size=10)

    def ask(self, credentials: UsernamePassword = ANN) -> Any:
        return self.remembering.requestAvatarId(credentials)

    def check(self, credentials: UsernamePassword = ANN) -> None:
        """
        The checker is asked, and says that it is right.
        """
        count = len(self.slow.answers)
        answer = self.ask(credentials)
        self.assertEqual(len(self.slow.answers), count + 1)
        self.slow.answers[-1].callback(credentials.username)
        self.assertEqual(self.successResultOf(answer), credentials.username)

    def test_interface(self) -> None:
        """
        It is a checker itself.
        """
        verifyObject(ICredentialsChecker, self.remembering)
        verifyObject(IChanging, Changing())

    def test_remembers(self) -> None:
        """
        What was checked is known at once, for its time, which is not prolonged.
        """
        self.check()
        self.clock.advance(59)
        self.assertEqual(self.ask(), b"ann")
        self.clock.advance(1)
        self.check()

    def test_nothingElse(self) -> None:
        """
        Another name or password is another login, wherever the one ends and the
        other begins.
        """
        self.check()
        for name, password in (
            (b"ann", b"s3cre"),
            (b"ann", b"s3crets"),
            (b"ann", b""),
            (b"anns", b"3cret"),
            (b"an", b"ns3cret"),
            (b"", b"anns3cret"),
        ):
            self.check(UsernamePassword(name, password))

    def test_wrongIsNotRemembered(self) -> None:
        """
        A login that was wrong is checked again.
        """
        for _ in range(2):
            answer = self.ask()
            self.slow.answers.pop().errback(UnauthorizedLogin())
            self.failureResultOf(answer, UnauthorizedLogin)
        self.assertEqual(len(self.remembering), 0)
        self.check()

    def test_atOnce(self) -> None:
        """
        What costs nothing is not remembered: it cannot be out of date.
        """
        for answer in (b"ann", lambda: succeed(b"ann")):
            checker = AtOnce(answer)
            self.remembering = Remembering(self.clock, [checker])
            for _ in range(3):
                found = self.ask()
                if isinstance(found, Deferred):
                    found = self.successResultOf(found)
                self.assertEqual(found, b"ann")
            self.assertEqual(checker.asked, 3)
            self.assertEqual(len(self.remembering), 0)
        self.remembering = Remembering(
            self.clock, [AtOnce(lambda: fail(UnauthorizedLogin()))]
        )
        self.failureResultOf(self.ask(), UnauthorizedLogin)

    def test_shared(self) -> None:
        """
        Two hundred that ask for the same at the same time cost one check; what
        another one asks for is its own.
        """
        answers = [self.ask() for _ in range(200)]
        other = self.ask(UsernamePassword(b"ann", b"other"))
        self.assertEqual(len(self.slow.answers), 2)
        self.slow.answers[1].errback(UnauthorizedLogin())
        self.failureResultOf(other, UnauthorizedLogin)
        self.assertNoResult(answers[0])
        self.slow.answers[0].callback(b"ann")
        self.assertEqual({self.successResultOf(a) for a in answers}, {b"ann"})
        self.assertEqual(self.ask(), b"ann")

    def test_sharedFailure(self) -> None:
        """
        They share a refusal as well.
        """
        answers = [self.ask() for _ in range(3)]
        self.slow.answers[0].errback(UnauthorizedLogin())
        for answer in answers:
            self.failureResultOf(answer, UnauthorizedLogin)

    def test_leaving(self) -> None:
        """
        One that leaves takes nothing from the others; when all have left the check
        is given up, and the next one begins anew.
        """
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.slow.cancelled, 0)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.slow.cancelled, 1)
        self.assertEqual(len(self.remembering), 0)
        self.check()

    def test_answeredAndLeave(self) -> None:
        """
        One that is answered may be the reason for others to leave.
        """
        first, second = self.ask(), self.ask()
        first.addCallback(lambda _: second.cancel())
        self.slow.answers[0].callback(b"ann")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.ask(), b"ann")

    def test_forget(self) -> None:
        """
        When it is told that users have changed everybody is checked anew, and a
        check that began before is not joined, and not remembered.
        """
        self.check()
        before = self.ask(UsernamePassword(b"bob", b"1"))
        self.remembering.forget()
        after = self.ask(UsernamePassword(b"bob", b"1"))
        self.assertEqual(len(self.slow.answers), 3)
        self.slow.answers[1].callback(b"bob")
        self.successResultOf(before)
        self.assertNoResult(after)
        self.assertEqual(len(self.remembering), 0)
        self.slow.answers[2].errback(UnauthorizedLogin())
        self.failureResultOf(after, UnauthorizedLogin)
        self.check()

    def test_generation(self) -> None:
        """
        The same where one of several checkers says so by itself, also while it
        checks.
        """
        changing = Changing()
        refuses = AtOnce(lambda: fail(UnauthorizedLogin()))
        self.remembering = Remembering(self.clock, [refuses, changing])
        self.slow = changing
        self.check()
        self.assertEqual(self.ask(), b"ann")
        changing.generation += 1
        answer = self.ask()
        changing.generation += 1
        changing.answers[-1].callback(b"ann")
        self.successResultOf(answer)
        self.check()

    def test_generationUndeclared(self) -> None:
        """
        A checker that has a generation and does not say so is heeded as well, also
        where another one asks it.
        """

        class Undeclared(Slow):
            generation = 0

        self.slow = undeclared = Undeclared()
        for remembering in (
            Remembering(self.clock, [undeclared]),
            Remembering(self.clock, [self.slow], changing=[undeclared]),
        ):
            self.remembering = remembering
            self.check()
            self.assertEqual(self.ask(), b"ann")
            undeclared.generation += 1
            self.check()
        self.remembering = Remembering(self.clock, [undeclared], changing=[])
        self.check()
        undeclared.generation += 1
        self.assertEqual(self.ask(), b"ann")

    def test_bounded(self) -> None:
        """
        The oldest are forgotten first, and those whose time is over.
        """
        for number in range(25):
            self.check(UsernamePassword(b"%d" % number, b""))
            self.assertLessEqual(len(self.remembering), 10)
        self.assertEqual(self.ask(UsernamePassword(b"15", b"")), b"15")
        self.assertIsInstance(self.ask(UsernamePassword(b"14", b"")), Deferred)
        self.clock.advance(60)
        self.check(UsernamePassword(b"new", b""))
        self.assertEqual(len(self.remembering), 1)

    def test_off(self) -> None:
        """
        With no time to remember for, all that is saved is what is shared.
        """
        self.remembering = Remembering(self.clock, [self.slow], 0)
        self.check()
        self.check()

    def test_keepsNoSecret(self) -> None:
        """
        Neither a name nor a password is to be found in it, and two of them have
        nothing in common.
        """
        self.check()
        other = Remembering(self.clock, [self.slow])
        [key] = self.remembering._known
        self.assertNotIn(b"ann", key)
        self.assertNotIn(b"s3cret", key)
        self.assertNotEqual(key, other._hash(b"ann", b"s3cret"))
        self.assertNotIn("s3cret", repr(vars(self.remembering)))
