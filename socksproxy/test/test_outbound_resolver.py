"""
Tests for L{socksproxy.outbound.resolver}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable, TimedOut
from socksproxy.outbound import resolver
from socksproxy.outbound.resolver import Answer, IAddressSource, IResolver, Resolver
from socksproxy.wire.address import Address

FOUND = Answer((Address.ip("2001:db8::1", 0), Address.ip("192.0.2.1", 0)))
NONE = Answer((), reason="there is none")


@implementer(IAddressSource)
class Source:
    """
    Answers when the test says so.

    @ivar asked: the names, in their order.
    @ivar cancelled: those of which nobody wants to know any more.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.underWay: dict[str, Deferred[Answer]] = {}

    def lookUp(self, host: str) -> Deferred[Answer]:
        def cancel(asking: Deferred[Answer]) -> None:
            del self.underWay[host]
            self.cancelled.append(host)

        assert host not in self.underWay
        self.asked.append(host)
        self.underWay[host] = Deferred(cancel)
        return self.underWay[host]

    def answer(self, answer: Answer | Failure, host: str = "example.org") -> None:
        self.underWay.pop(host).callback(answer)


class ResolverTestCase(SynchronousTestCase):
    """
    What the tests share.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.source = Source()
        self.resolver = Resolver(self.clock, self.source, 10, 2, 30)

    def resolve(self, name: str = "example.org", port: int = 80) -> Deferred[Any]:
        resolving: Deferred[Any] = self.resolver.resolve(Address.name(name, port))
        return resolving

    def assertFound(self, resolving: Deferred[Any], port: int = 80) -> None:
        self.assertEqual(
            self.successResultOf(resolving),
            [Address.ip("2001:db8::1", port), Address.ip("192.0.2.1", port)],
        )

    def assertNone(self, resolving: Deferred[Any]) -> None:
        failure = self.failureResultOf(resolving, HostUnreachable)
        self.assertEqual(str(failure.value), "there is none")

    def tearDown(self) -> None:
        """
        Nothing is left in the reactor.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SharingTests(ResolverTestCase):
    """
    One look-up for all who want to know at the same time.
    """

    def test_interface(self) -> None:
        """
        It is an L{IResolver}.
        """
        verifyObject(IResolver, self.resolver)

    def test_shared(self) -> None:
        """
        A name is looked up once, however it is written, and all get the answer,
        each with its port.
        """
        first, second = self.resolve(), self.resolve("Example.ORG", 443)
        self.assertEqual(self.source.asked, ["example.org"])
        self.assertNoResult(first)
        self.source.answer(FOUND)
        self.assertFound(first)
        self.assertFound(second, 443)

    def test_others(self) -> None:
        """
        Another name is another look-up, which answers for itself.
        """
        first, second = self.resolve(), self.resolve("example.com")
        self.assertEqual(self.source.asked, ["example.org", "example.com"])
        self.source.answer(FOUND, "example.com")
        self.assertNoResult(first)
        self.assertFound(second)
        self.source.answer(NONE)
        self.assertNone(first)

    def test_atOnce(self) -> None:
        """
        A source may know the answer at once.
        """
        self.patch(self.source, "lookUp", lambda host: succeed(FOUND))
        self.assertFound(self.resolve())

    def test_failures(self) -> None:
        """
        A failure is everybody's.
        """
        for failure in (HostUnreachable("SERVFAIL"), ZeroDivisionError()):
            resolving = [self.resolve(), self.resolve()]
            self.source.answer(Failure(failure))
            for each in resolving:
                self.assertIs(self.failureResultOf(each).value, failure)

    def test_raises(self) -> None:
        """
        A source that raises spoils the name for nobody.
        """
        patched = self.patch(self.source, "lookUp", lambda host: 1 // 0)
        self.failureResultOf(self.resolve(), ZeroDivisionError)
        patched.restore()
        resolving = self.resolve()
        self.source.answer(FOUND)
        self.assertFound(resolving)

    def test_oneLeaves(self) -> None:
        """
        Who cancels is told at once, and the others do not notice.
        """
        resolving = [self.resolve() for _ in range(3)]
        resolving[0].cancel()
        self.failureResultOf(resolving[0], CancelledError)
        self.assertEqual(self.source.cancelled, [])
        self.source.answer(FOUND)
        self.assertFound(resolving[1])
        self.assertFound(resolving[2])

    def test_allLeave(self) -> None:
        """
        When nobody is left the source is told, and the next one begins a new
        look-up.
        """
        for count in (1, 2):
            resolving = [self.resolve(), self.resolve()]
            for each in resolving:
                each.cancel()
                self.failureResultOf(each, CancelledError)
            self.assertEqual(self.source.cancelled, ["example.org"] * count)
        resolving = [self.resolve()]
        self.source.answer(FOUND)
        self.assertFound(resolving[0])

    def test_timeout(self) -> None:
        """
        Everybody has the same time from the moment of asking; one whose time
        is over leaves the look-up to the others.
        """
        first = self.resolve()
        self.clock.advance(20)
        second = self.resolve()
        self.clock.advance(9)
        self.assertNoResult(first)
        self.clock.advance(1)
        failure = self.failureResultOf(first, TimedOut)
        self.assertIn("30 s", str(failure.value))
        self.assertEqual(self.source.cancelled, [])
        self.clock.advance(20)
        self.failureResultOf(second, TimedOut)
        self.assertEqual(self.source.cancelled, ["example.org"])

    def test_cancelledByAnother(self) -> None:
        """
        What one does with the answer can be the end of another.
        """
        first, second = self.resolve(), self.resolve()
        first.addCallback(lambda _: second.cancel())
        self.source.answer(FOUND)
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)

    def test_askedFromCallback(self) -> None:
        """
        And the beginning of another look-up.
        """
        again: list[Deferred[Any]] = []
        self.resolver = Resolver(self.clock, self.source, 0, 0)
        resolving = [self.resolve(), self.resolve()]
        resolving[0].addCallback(lambda _: again.append(self.resolve()))
        self.source.answer(FOUND)
        self.assertFound(resolving[1])
        self.assertNoResult(again[0])
        self.source.answer(NONE)
        self.assertNone(again[0])


class CacheTests(ResolverTestCase):
    """
    What is remembered, and for how long.
    """

    def learn(self, answer: Answer | Failure, name: str = "example.org") -> None:
        """
        Look C{name} up, and take C{answer} for it.
        """
        self.resolve(name).addErrback(lambda _: None)
        self.source.answer(answer, name)

    def assertRemembered(self, answer: Answer, seconds: float) -> None:
        """
        C{answer} is remembered for so long and no longer.
        """
        asked = len(self.source.asked)
        self.learn(answer)
        for _ in range(2):
            self.clock.advance(seconds / 2 - 0.125)
            resolving = self.resolve(port=22)
            if answer.addresses:
                self.assertFound(resolving, 22)
            else:
                self.assertNone(resolving)
        self.assertEqual(len(self.source.asked), asked + 1)
        self.clock.advance(0.25)
        self.learn(answer)
        self.assertEqual(len(self.source.asked), asked + 2)
        self.clock.advance(1000)

    def assertForgotten(self, answer: Answer | Failure) -> None:
        """
        C{answer} is not remembered at all.
        """
        asked = len(self.source.asked)
        self.learn(answer)
        self.learn(answer)
        self.assertEqual(len(self.source.asked), asked + 2)

    def test_positive(self) -> None:
        """
        Addresses are remembered for as long as the option says, for any port.
        """
        self.assertRemembered(FOUND, 10)

    def test_negative(self) -> None:
        """
        That there are none has a time of its own.
        """
        self.assertRemembered(NONE, 2)

    def test_lifetime(self) -> None:
        """
        What the source says of an answer's lifetime can make it shorter, never
        longer.
        """
        self.assertRemembered(Answer(FOUND.addresses, 5), 5)
        self.assertRemembered(Answer(FOUND.addresses, 86400), 10)
        self.assertRemembered(Answer((), 1, NONE.reason), 1)
        self.assertRemembered(Answer((), 86400, NONE.reason), 2)

    def test_noLifetime(self) -> None:
        """
        An answer with a lifetime of 0 is for those who wait for it.
        """
        self.assertForgotten(Answer(FOUND.addresses, 0))
        self.assertForgotten(Answer((), 0))

    def test_off(self) -> None:
        """
        0 seconds is off, for each of the two.
        """
        self.resolver = Resolver(self.clock, self.source, 0, 2)
        self.assertForgotten(FOUND)
        self.assertRemembered(NONE, 2)
        self.resolver = Resolver(self.clock, self.source, 10, 0)
        self.assertForgotten(NONE)
        self.assertRemembered(FOUND, 10)

    def test_failures(self) -> None:
        """
        A failure says nothing about the name: it is not remembered.
        """
        self.assertForgotten(Failure(HostUnreachable("try again")))
        self.assertForgotten(Failure(TimedOut("nobody answered")))

    def test_left(self) -> None:
        """
        Nor is a look-up that everybody has left.
        """
        self.resolve().addErrback(lambda _: None).cancel()
        self.learn(FOUND)
        self.assertEqual(len(self.source.asked), 2)

    def test_bounded(self) -> None:
        """
        There is room for so many names; the oldest one makes room.
        """
        self.patch(resolver, "CACHED_NAMES", 3)
        for name in ("a", "b", "c", "d"):
            self.learn(FOUND, name)
        for name in ("b", "c", "d"):
            self.assertFound(self.resolve(name))
        self.assertEqual(self.source.asked, ["a", "b", "c", "d"])
        self.learn(FOUND, "a")
        self.learn(FOUND, "b")

    def test_large(self) -> None:
        """
        An answer with very many addresses is not kept.
        """
        addresses = [Address.ip(f"192.0.2.{n}", 0) for n in range(65)]
        self.assertForgotten(Answer(tuple(addresses)))
