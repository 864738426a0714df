"""
Tests for L{socksproxy.auth.threads}.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Event, current_thread, main_thread
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.threads import InThreads

reactor: Any = _reactor


class FakePool:
    """
    Threads that run when the test says so.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callInThreadWithCallback(
        self, done: Any, function: Any, *args: Any, **kwargs: Any
    ) -> None:
        def call() -> None:
            try:
                result = function(*args, **kwargs)
            except Exception as wrong:
                done(False, Failure(wrong))
            else:
                done(True, result)

        self.calls.append(call)

    def run(self) -> None:
        self.calls.pop(0)()


class FakeReactor(Clock):
    """
    One whose threads are its own.
    """

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


class InThreadsTests(SynchronousTestCase):
    """
    A checker made of a function, on threads that the test runs.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.pool = FakePool()
        self.asked: list[bytes] = []
        self.checker = InThreads(
            self.reactor, self._check, threads=2, queue=3, pool=self.pool
        )

    def _check(self, username: bytes, password: bytes) -> bytes:
        self.asked.append(username)
        if password != b"s3cret":
            raise UnauthorizedLogin()
        return username

    def ask(self, name: bytes, password: bytes = b"s3cret") -> Deferred[Any]:
        return self.checker.requestAvatarId(UsernamePassword(name, password))

    def test_interface(self) -> None:
        """
        It is a checker.
        """
        verifyObject(ICredentialsChecker, self.checker)

    def test_answers(self) -> None:
        """
        What the function returns or raises is the answer.
        """
        right, wrong = self.ask(b"ann"), self.ask(b"bob", b"guess")
        self.assertNoResult(right)
        self.pool.run()
        self.pool.run()
        self.assertEqual(self.successResultOf(right), b"ann")
        self.failureResultOf(wrong, UnauthorizedLogin)

    def test_queue(self) -> None:
        """
        So many are checked at a time, the others in their order.
        """
        answers = [self.ask(name) for name in (b"a", b"b", b"c", b"d")]
        self.assertEqual(len(self.pool.calls), 2)
        for _ in range(4):
            self.pool.run()
        self.assertEqual(self.asked, [b"a", b"b", b"c", b"d"])
        for answer in answers:
            self.successResultOf(answer)

    def test_full(self) -> None:
        """
        When as many wait as may the next one is refused at once; that is logged
        now and then, and is over when there is room.
        """
        answers = [self.ask(b"%d" % number) for number in range(5)]
        for _ in range(10):
            self.assertRaises(NotChecked, self.ask, b"x")
        self.reactor.advance(60)
        self.assertRaises(NotChecked, self.ask, b"x")
        self.pool.run()
        answers.append(self.ask(b"y"))
        while self.pool.calls:
            self.pool.run()
        for answer in answers:
            self.successResultOf(answer)
        self.assertNotIn(b"x", self.asked)

    def test_leaves(self) -> None:
        """
        Who leaves before its check has begun is not checked; if it has begun its
        answer is dropped.
        """
        answers = [self.ask(name) for name in (b"a", b"b", b"c", b"d")]
        for answer in (answers[0], answers[2]):
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        while self.pool.calls:
            self.pool.run()
        self.assertEqual(self.asked, [b"a", b"b", b"d"])
        self.successResultOf(answers[1])
        self.successResultOf(answers[3])
        gc.collect()  # That which nobody has looked at is logged now.
        self.assertEqual(self.flushLoggedErrors(), [])


class RealThreadsTests(TestCase):
    """
    With threads of its own.
    """

    timeout = 60

    def test_offTheReactor(self) -> Any:
        """
        The function runs on other threads, several at a time, and the reactor
        goes on.
        """
        both = Event()
        seen: list[Any] = []

        def check(username: bytes, password: bytes) -> bytes:
            seen.append(current_thread())
            if len(seen) == 2:
                both.set()
            both.wait(30)
            return username

        checker = InThreads(reactor, check, threads=2)
        asked = [
            checker.requestAvatarId(UsernamePassword(name, b""))
            for name in (b"a", b"b")
        ]

        def answered(found: list[Any]) -> None:
            self.assertEqual(found, [b"a", b"b"])
            self.assertEqual(len(set(seen)), 2)
            self.assertNotIn(main_thread(), seen)
            assert checker._pool is not None
            checker._pool.stop()

        return gatherResults(asked).addCallback(answered)
