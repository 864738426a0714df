"""
Tests for L{socksproxy.outbound.resolver}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable, TimedOut
from socksproxy.outbound.resolver import IResolver, SystemResolver
from socksproxy.wire.address import Address

NAME = Address.name("example.org", 80)


class ThreadlessReactor(Clock):
    """
    A clock with a thread pool that has no threads: what it was given to do is
    done when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._work: list[Callable[[], None]] = []

    def getThreadPool(self) -> ThreadlessReactor:
        return self

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, object], object],
        function: Callable[..., object],
        *args: object,
    ) -> None:
        def work() -> None:
            try:
                result = function(*args)
            except Exception:
                onResult(False, Failure())
            else:
                onResult(True, result)

        self._work.append(work)

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def runThreads(self) -> None:
        work, self._work = self._work, []
        for each in work:
            each()


def stream(host: str, *more: int) -> tuple[Any, ...]:
    """
    One of C{getaddrinfo}'s answers.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (host, 80, *more))


class SystemResolverTests(SynchronousTestCase):
    """
    Names to addresses, with C{getaddrinfo} and threads of the test's own.
    """

    def setUp(self) -> None:
        self.reactor = ThreadlessReactor()
        self.asked: list[tuple[Any, ...]] = []

    def resolve(self, answer: object, name: Address = NAME) -> Deferred[list[Address]]:
        """
        Begin a look-up that is answered with, or fails with, C{answer}.
        """

        def getaddrinfo(*args: object, **kwargs: object) -> list[Any]:
            self.asked.append((*args, kwargs))
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, list)
            return answer

        return SystemResolver(self.reactor, 10, getaddrinfo).resolve(name)

    def resolved(self, answer: object, name: Address = NAME) -> list[Address]:
        resolving = self.resolve(answer, name)
        self.reactor.runThreads()
        return self.successResultOf(resolving)

    def test_interface(self) -> None:
        """
        It is an L{IResolver}.
        """
        verifyObject(IResolver, SystemResolver(self.reactor))

    def test_offTheReactorThread(self) -> None:
        """
        C{getaddrinfo} is called on a thread, once, for streams only.
        """
        resolving = self.resolve([stream("192.0.2.1")])
        self.assertEqual(self.asked, [])
        self.assertNoResult(resolving)
        self.reactor.runThreads()
        self.assertEqual(
            self.asked, [("example.org", 80, {"type": socket.SOCK_STREAM})]
        )
        self.assertEqual(self.successResultOf(resolving), [Address.ip("192.0.2.1", 80)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_order(self) -> None:
        """
        Addresses of both families come in the system's order, each once, with
        the name's port.
        """
        found = self.resolved(
            [
                stream("2001:db8::2", 0, 0),
                stream("192.0.2.2"),
                stream("2001:db8::2", 0, 0),
                stream("192.0.2.1"),
                stream("192.0.2.2"),
            ],
            Address.name("example.org", 443),
        )
        hosts = ("2001:db8::2", "192.0.2.2", "192.0.2.1")
        self.assertEqual(found, [Address.ip(host, 443) for host in hosts])

    def test_oneForm(self) -> None:
        """
        An address is in the one form that it has here: a zone is left out, a
        mapped address is the IPv4 address.
        """
        found = self.resolved(
            [
                stream("fe80::1%lo", 0, 1),
                stream("::ffff:192.0.2.1", 0, 0),
                stream("192.0.2.1"),
            ]
        )
        self.assertEqual(
            found, [Address.ip("fe80::1", 80), Address.ip("192.0.2.1", 80)]
        )

    def test_otherFamilies(self) -> None:
        """
        Addresses of other families are left out.
        """
        other = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/x", 80))
        found = self.resolved([other, stream("192.0.2.1")])
        self.assertEqual(found, [Address.ip("192.0.2.1", 80)])

    def test_noAddress(self) -> None:
        """
        Nothing found, or nothing of use, is an unreachable host: never an
        empty list.
        """
        other = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/x", 80))
        for answer in ([], [other]):
            resolving = self.resolve(answer)
            self.reactor.runThreads()
            self.failureResultOf(resolving, HostUnreachable)

    def test_fails(self) -> None:
        """
        What C{getaddrinfo} says of a name that it does not know, or that
        cannot be said in DNS, is an unreachable host.
        """
        for wrong in (
            socket.gaierror(socket.EAI_NONAME, "unknown"),
            socket.gaierror(socket.EAI_AGAIN, "try again"),
            OSError(errno.EIO, "trouble"),
            UnicodeError("label empty or too long"),
            ValueError("embedded null character"),
        ):
            resolving = self.resolve(wrong)
            self.reactor.runThreads()
            failure = self.failureResultOf(resolving, HostUnreachable)
            self.assertNotIsInstance(failure.value, TimedOut)

    def test_fault(self) -> None:
        """
        What is no matter of names comes as it is, to be taken for a fault.
        """
        resolving = self.resolve(ZeroDivisionError())
        self.reactor.runThreads()
        self.failureResultOf(resolving, ZeroDivisionError)

    def test_deadline(self) -> None:
        """
        A look-up that takes too long has timed out, though its thread goes
        on; what that brings later, good or bad, is dropped.
        """
        for late in ([stream("192.0.2.1")], OSError("late"), ZeroDivisionError()):
            resolving = self.resolve(late)
            self.reactor.advance(9.75)
            self.assertNoResult(resolving)
            self.reactor.advance(0.25)
            self.failureResultOf(resolving, TimedOut)
            self.reactor.runThreads()
        self.assertEqual(len(self.asked), 3)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """
        A look-up can be cancelled: it fails at once, which is no timeout, and
        what its thread brings later is dropped.
        """
        for late in ([stream("192.0.2.1")], OSError("late"), ZeroDivisionError()):
            resolving = self.resolve(late)
            resolving.cancel()
            self.failureResultOf(resolving, CancelledError)
            self.reactor.runThreads()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class RealTests(TestCase):
    """
    With the real C{getaddrinfo} and the threads of the real reactor, without
    a network.
    """

    async def test_literal(self) -> None:
        """
        What C{getaddrinfo} takes for the text of an address resolves to it.
        """
        found = await SystemResolver(reactor).resolve(Address.name("127.1", 80))
        self.assertEqual(found, [Address.ip("127.0.0.1", 80)])

    async def test_unspeakable(self) -> None:
        """
        A name that cannot be said in DNS does not resolve.
        """
        for name in (b"\xff\xfe.example", b"a..b", b"."):
            try:
                await SystemResolver(reactor).resolve(Address.name(name, 80))
            except HostUnreachable:
                continue
            self.fail(f"{name!r} resolved")
