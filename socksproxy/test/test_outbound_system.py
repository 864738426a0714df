"""
Tests for L{socksproxy.outbound.system}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable, TimedOut
from socksproxy.outbound.resolver import Answer, IAddressSource
from socksproxy.outbound.system import ReverseSystemSource, SystemSource
from socksproxy.test.processes import ProcessTestCase
from socksproxy.wire.address import Address


class ThreadlessReactor(Clock):
    """
    A clock with a thread pool that has no threads: what it was given to do is
    done when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._work: list[Callable[[], None]] = []

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
    return (family, socket.SOCK_STREAM, 6, "", (host, 0, *more))


class SystemSourceTests(SynchronousTestCase):
    """
    Names to addresses, with C{getaddrinfo} and threads of the test's own.
    """

    def setUp(self) -> None:
        self.reactor = ThreadlessReactor()
        self.asked: list[tuple[Any, ...]] = []
        self.answer: object = [stream("192.0.2.1")]
        self.source = SystemSource(self.reactor, 2, self.getaddrinfo, self.reactor)

    def getaddrinfo(self, *args: object, **kwargs: object) -> list[Any]:
        """
        Answers with, or fails with, C{self.answer}.
        """
        self.asked.append((*args, kwargs))
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(self.answer, list)
        return self.answer

    @property
    def names(self) -> list[str]:
        """
        What C{getaddrinfo} was asked for.
        """
        return [host for host, *_ in self.asked]

    def begun(self, answer: object) -> Deferred[Answer]:
        self.answer = answer
        asking = self.source.lookUp("example.org")
        self.reactor.runThreads()
        return asking

    def found(self, *hosts: str) -> Answer:
        return Answer(tuple(Address.ip(host, 0) for host in hosts))

    def test_interface(self) -> None:
        """
        It is an L{IAddressSource}.
        """
        verifyObject(IAddressSource, self.source)

    def test_offTheReactorThread(self) -> None:
        """
        C{getaddrinfo} is called on a thread, once, for streams only.
        """
        asking = self.source.lookUp("example.org")
        self.assertEqual(self.asked, [])
        self.assertNoResult(asking)
        self.reactor.runThreads()
        self.assertEqual(
            self.asked, [("example.org", None, {"type": socket.SOCK_STREAM})]
        )
        self.assertEqual(self.successResultOf(asking), self.found("192.0.2.1"))

    def test_order(self) -> None:
        """
        Addresses of both families come in the system's order, each once.
        """
        asking = self.begun(
            [
                stream("2001:db8::2", 0, 0),
                stream("192.0.2.2"),
                stream("2001:db8::2", 0, 0),
                stream("192.0.2.1"),
                stream("192.0.2.2"),
            ]
        )
        self.assertEqual(
            self.successResultOf(asking),
            self.found("2001:db8::2", "192.0.2.2", "192.0.2.1"),
        )

    def test_oneForm(self) -> None:
        """
        An address is in the one form that it has here: a zone is left out, a
        mapped address is the IPv4 address.
        """
        asking = self.begun(
            [
                stream("fe80::1%lo", 0, 1),
                stream("::ffff:192.0.2.1", 0, 0),
                stream("192.0.2.1"),
            ]
        )
        self.assertEqual(
            self.successResultOf(asking), self.found("fe80::1", "192.0.2.1")
        )

    def test_otherFamilies(self) -> None:
        """
        Addresses of other families are left out, also when there are no
        others.
        """
        other = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/x", 80))
        asking = self.begun([other, stream("192.0.2.1")])
        self.assertEqual(self.successResultOf(asking), self.found("192.0.2.1"))
        self.assertEqual(self.successResultOf(self.begun([other])), Answer(()))

    def test_noAddress(self) -> None:
        """
        That there is no such name, or that there cannot be one, is an answer,
        with a reason.
        """
        for wrong in (
            socket.gaierror(socket.EAI_NONAME, "unknown"),
            socket.gaierror(socket.EAI_NODATA, "no address"),
            UnicodeError("label empty or too long"),
            ValueError("embedded null character"),
        ):
            answer = self.successResultOf(self.begun(wrong))
            self.assertEqual(answer.addresses, ())
            self.assertIn(str(wrong), answer.reason)

    def test_fails(self) -> None:
        """
        What says nothing of the name is a failure.
        """
        for wrong in (
            socket.gaierror(socket.EAI_AGAIN, "try again"),
            socket.gaierror(socket.EAI_FAIL, "trouble"),
            OSError(errno.EIO, "trouble"),
        ):
            failure = self.failureResultOf(self.begun(wrong), HostUnreachable)
            self.assertNotIsInstance(failure.value, TimedOut)
            self.assertIn(str(wrong), str(failure.value))

    def test_fault(self) -> None:
        """
        What is no matter of names comes as it is, to be taken for a fault.
        """
        self.failureResultOf(self.begun(ZeroDivisionError()), ZeroDivisionError)

    def test_bounded(self) -> None:
        """
        There are never more look-ups than there may be threads; the others
        have their turn in the order in which they came.
        """
        asking = [self.source.lookUp(name) for name in "abcde"]
        for expected in ("ab", "abcd", "abcde"):
            self.reactor.runThreads()
            self.assertEqual("".join(self.names), expected)
        for each in asking:
            self.successResultOf(each)

    def test_cancelledInQueue(self) -> None:
        """
        A look-up that nobody wants when its turn comes is not made.
        """
        asking = [self.source.lookUp(name) for name in "abcd"]
        asking[2].cancel()
        self.failureResultOf(asking[2], CancelledError)
        self.reactor.runThreads()
        self.reactor.runThreads()
        self.assertEqual(self.names, ["a", "b", "d"])

    def test_cancelled(self) -> None:
        """
        A thread cannot be cancelled: what it brings, good or bad, is dropped,
        and the thread is free again.
        """
        for late in ([stream("192.0.2.1")], OSError("late"), ZeroDivisionError()):
            self.answer = late
            for name in "ab":
                asking = self.source.lookUp(name)
                asking.cancel()
                self.failureResultOf(asking, CancelledError)
            self.reactor.runThreads()
        self.assertEqual(self.names, ["a", "b"] * 3)

    def test_askedAgain(self) -> None:
        """
        A name that a thread is at already, for somebody who has left, takes no
        second one: who comes later has what the first finds.
        """
        for _ in range(5):
            self.source.lookUp("a").addErrback(lambda _: None).cancel()
        asking = self.source.lookUp("a")
        self.reactor.runThreads()
        self.successResultOf(asking)
        self.assertEqual(self.names, ["a"])


HANGING = """
import sys, time
from twisted.internet import reactor
from socksproxy.outbound.system import ReverseSystemSource, SystemSource

def getaddrinfo(*args, **kwargs):
    print("hangs", flush=True)
    time.sleep(100000)

source = SystemSource(reactor, getaddrinfo=getaddrinfo)
reactor.callWhenRunning(source.lookUp, "example.org")
reactor.run()
"""


class ShutdownTests(ProcessTestCase):
    """
    The end of the process.
    """

    def test_hangs(self) -> None:
        """
        A look-up that the system does not answer does not keep it from ending.
        """
        program = self.startProcess([sys.executable, "-c", HANGING])
        self.until(lambda: "hangs" in program.log, "the look-up does not begin")
        self.assertIn(program.terminate(), (0, -signal.SIGTERM))
        self.assertEqual(program.errors, "")


class RealTests(TestCase):
    """
    With the real C{getaddrinfo} and the threads of the real reactor, without
    a network.
    """

    async def test_literal(self) -> None:
        """
        What C{getaddrinfo} takes for the text of an address resolves to it.
        """
        found = await SystemSource(reactor).lookUp("127.1")
        self.assertEqual(found, Answer((Address.ip("127.0.0.1", 0),)))

    async def test_unspeakable(self) -> None:
        """
        A name that cannot be said in DNS does not resolve.
        """
        for name in ("\udcff\udcfe.example", "a..b", "."):
            found = await SystemSource(reactor).lookUp(name)
            self.assertEqual(found.addresses, ())


class ReverseSystemSourceTests(SynchronousTestCase):
    """
    Addresses to names, with C{getnameinfo}.
    """

    def found(self, outcome: object, host: str = "192.0.2.1") -> Deferred[Answer]:
        """
        What is made of what the system says.
        """

        def getnameinfo(address: object, flags: int) -> object:
            self.assertEqual(address, (host, 0))
            self.assertEqual(flags, socket.NI_NAMEREQD)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome, "0"

        self.patch(socket, "getnameinfo", getnameinfo)
        threads = ThreadlessReactor()
        looking = ReverseSystemSource(threads, pool=threads).lookUp(host)
        threads.runThreads()
        return looking

    def test_name(self) -> None:
        """
        A name is what is found.
        """
        expected = Answer((Address.name("example.org", 0),))
        for host in ("192.0.2.1", "2001:db8::1"):
            found = self.successResultOf(self.found("example.org", host))
            self.assertEqual(found, expected)

    def test_none(self) -> None:
        """
        There may be none, or one that cannot be.
        """
        for outcome in (socket.gaierror(socket.EAI_NONAME, "none"), "x" * 64):
            found = self.successResultOf(self.found(outcome))
            self.assertEqual(found.addresses, ())
            self.assertIn("the address has ", found.reason)

    def test_unknown(self) -> None:
        """
        Where there is no saying, that is not remembered.
        """
        looking = self.found(socket.gaierror(socket.EAI_AGAIN, "again"))
        self.failureResultOf(looking, HostUnreachable)
