"""
Tests for L{socksproxy.outbound.dialer}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IWriteDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import TTLExpired
from socksproxy.outbound import dialer
from socksproxy.outbound.dialer import Attempt, Dialer, HubAttempt, interleaved
from socksproxy.relay.hub import Hub
from socksproxy.test.test_relay_hub import FakeReactor as ReactorOfAHub
from socksproxy.wire.address import Address

A, B, C, D = (Address.ip(f"192.0.2.{n}", 80) for n in range(1, 5))
A6, B6, C6 = (Address.ip(f"2001:db8::{n}", 80) for n in range(1, 4))

REFUSED = OSError(errno.ECONNREFUSED, "refused")
UNREACHABLE = OSError(errno.EHOSTUNREACH, "unreachable")
NO_NETWORK = OSError(errno.ENETUNREACH, "no network")


def itself(attempt: Attempt) -> Attempt:
    """
    What adopts an attempt without making anything of it.
    """
    return attempt


class InterleavedTests(SynchronousTestCase):
    """
    The families take turns.
    """

    def test_interleaved(self) -> None:
        """
        The first one's family begins, the order within a family stays, and
        what is left of the longer one comes last; none is lost.
        """
        for addresses, expected in (
            ([A], [A]),
            ([A6, A], [A6, A]),
            ([A, B, C], [A, B, C]),
            ([A6, B6, C6], [A6, B6, C6]),
            ([A6, B6, C6, A, B], [A6, A, B6, B, C6]),
            ([A, B, C, A6], [A, A6, B, C]),
            ([A, A6, B6, C6], [A, A6, B6, C6]),
            ([A6, A, B6, B], [A6, A, B6, B]),
        ):
            before = list(addresses)
            self.assertEqual(interleaved(addresses), expected)
            self.assertEqual(addresses, before)


NON_BLOCKING = getattr(socket, "SOCK_NONBLOCK", 0)


class ScriptedAttempt(Attempt):
    """
    An attempt that is decided by the test.

    @ivar atOnce: what C{start} returns.
    """

    atOnce: Exception | None = None
    abandoned = 0
    startedAt: float

    def start(self) -> Exception | None:
        self.startedAt = self._watcher.seconds()
        return self.atOnce

    def abandon(self) -> None:
        self.abandoned += 1

    def succeed(self) -> None:
        self._succeeded(self)

    def fail(self, failure: Exception) -> None:
        self._failed(self, failure)


class DialerTests(SynchronousTestCase):
    """
    The race of several attempts, with a clock and attempts of the test's own.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: list[ScriptedAttempt] = []
        self.atOnce: dict[Address, Exception] = {}

    def attempt(self, *args: Any) -> Attempt:
        made = ScriptedAttempt(*args)
        made.atOnce = self.atOnce.get(made.address)
        self.attempts.append(made)
        return made

    def dial(self, *addresses: Address) -> Deferred[Attempt]:
        return Dialer(self.clock, attempt=self.attempt).dial(addresses, itself)

    @property
    def tried(self) -> list[Address]:
        return [attempt.address for attempt in self.attempts]

    def assertOver(self, *abandoned: ScriptedAttempt) -> None:
        """
        No delayed call is left, and just these were abandoned, once each.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for attempt in self.attempts:
            self.assertEqual(attempt.abandoned, int(attempt in abandoned))

    def test_one(self) -> None:
        """
        A single address is tried at once; nothing else is waited for.
        """
        dialling = self.dial(A)
        self.assertEqual(self.tried, [A])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNoResult(dialling)
        self.attempts[0].succeed()
        self.assertIs(self.successResultOf(dialling), self.attempts[0])
        self.assertOver()

    def test_oneFails(self) -> None:
        """
        When the only address fails, its failure is the result.
        """
        dialling = self.dial(A)
        self.attempts[0].fail(REFUSED)
        self.assertIs(self.failureResultOf(dialling).value, REFUSED)
        self.assertOver()

    def test_adopted(self) -> None:
        """
        The result is what was made of the attempt, or why nothing could be made
        of it, whether there was one address or a race.
        """
        for addresses in ([A], [A, B]):
            dialer = Dialer(self.clock, attempt=self.attempt)
            dialling = dialer.dial(addresses, lambda attempt: [attempt])
            first = self.attempts[-1]
            first.succeed()
            self.assertEqual(self.successResultOf(dialling), [first])
            failing = dialer.dial(addresses, lambda attempt: 1 / 0)
            self.attempts[-1].succeed()
            self.failureResultOf(failing, ZeroDivisionError)
            self.assertOver()

    def test_stagger(self) -> None:
        """
        Each next address is tried a quarter of a second after the one before
        it, the families in turns, while the earlier ones go on.
        """
        dialling = self.dial(A6, B6, A, B)
        for _ in range(40):
            self.clock.advance(0.03125)
        self.assertEqual(
            [(a.address, a.startedAt) for a in self.attempts],
            [(A6, 0), (A, 0.25), (B6, 0.5), (B, 0.75)],
        )
        self.assertNoResult(dialling)
        self.assertOver()

    def test_otherStagger(self) -> None:
        """
        Another time between two attempts can be chosen.
        """
        Dialer(self.clock, 2, self.attempt).dial([A, B], itself)
        self.clock.advance(1.75)
        self.assertEqual(self.tried, [A])
        self.clock.advance(0.25)
        self.assertEqual(self.tried, [A, B])

    def test_firstWins(self) -> None:
        """
        The first to connect is the result, whichever was started first; the
        others are abandoned and no more are started.
        """
        for winner in (0, 1):
            self.setUp()
            dialling = self.dial(A, B, C)
            self.clock.advance(0.25)
            self.attempts[winner].succeed()
            self.assertIs(self.successResultOf(dialling), self.attempts[winner])
            self.assertOver(self.attempts[1 - winner])
            self.clock.advance(10)
            self.assertEqual(self.tried, [A, B])

    def test_nextAtOnceOnFailure(self) -> None:
        """
        When one fails the next is tried at once, and the one after that a
        quarter of a second later.
        """
        dialling = self.dial(A, B, C)
        self.clock.advance(0.0625)
        self.attempts[0].fail(REFUSED)
        self.assertEqual(self.tried, [A, B])
        self.assertEqual(self.attempts[1].startedAt, 0.0625)
        self.clock.advance(0.1875)
        self.assertEqual(self.tried, [A, B])
        self.clock.advance(0.0625)
        self.assertEqual(self.tried, [A, B, C])
        self.attempts[2].succeed()
        self.assertIs(self.successResultOf(dialling), self.attempts[2])
        self.assertOver(self.attempts[1])

    def test_failsAtOnce(self) -> None:
        """
        An attempt that fails as it starts is followed by the next one at
        once, at the beginning and later.
        """
        self.atOnce = {A: NO_NETWORK, C: NO_NETWORK}
        dialling = self.dial(A, B, C, D)
        self.assertEqual(self.tried, [A, B])
        self.clock.advance(0.25)
        self.assertEqual(self.tried, [A, B, C, D])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.attempts[1].fail(UNREACHABLE)
        self.assertNoResult(dialling)
        self.attempts[3].succeed()
        self.assertIs(self.successResultOf(dialling), self.attempts[3])
        self.assertOver()

    def test_lastFailsAtOnce(self) -> None:
        """
        When the last one fails as it starts, those under way still decide.
        """
        self.atOnce = {B: NO_NETWORK}
        dialling = self.dial(A, B)
        self.clock.advance(0.25)
        self.assertNoResult(dialling)
        self.attempts[0].succeed()
        self.assertIs(self.successResultOf(dialling), self.attempts[0])

    def test_allFailAtOnce(self) -> None:
        """
        When none can even start, the result is there at once.
        """
        self.atOnce = {A: NO_NETWORK, B: UNREACHABLE}
        self.assertIs(self.failureResultOf(self.dial(A, B)).value, UNREACHABLE)
        self.assertOver()

    def test_mostTelling(self) -> None:
        """
        When all have failed, and no sooner, the most telling failure is the
        result, whichever came first.
        """
        for order in (
            (REFUSED, UNREACHABLE, NO_NETWORK),
            (NO_NETWORK, REFUSED, UNREACHABLE),
            (NO_NETWORK, UNREACHABLE, REFUSED),
        ):
            self.setUp()
            dialling = self.dial(A, B, C)
            self.clock.advance(0.25)
            self.clock.advance(0.25)
            for attempt, failure in zip(self.attempts, order, strict=True):
                self.assertNoResult(dialling)
                attempt.fail(failure)
            self.assertIs(self.failureResultOf(dialling).value, REFUSED)
            self.assertOver()

    def test_cancelled(self) -> None:
        """
        Cancelled, it abandons all that is under way and starts no more.
        """
        dialling = self.dial(A, B, C)
        self.clock.advance(0.25)
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)
        self.assertOver(*self.attempts)
        self.clock.advance(10)
        self.assertEqual(self.tried, [A, B])

    def test_cancelledAfterFailures(self) -> None:
        """
        Cancelled, it fails with the most telling of the failures that there
        are by then.
        """
        dialling = self.dial(A, B, C)
        self.attempts[0].fail(REFUSED)
        self.attempts[1].fail(UNREACHABLE)
        dialling.cancel()
        self.assertIs(self.failureResultOf(dialling).value, REFUSED)
        self.assertOver(self.attempts[2])

    def test_cancelledTooLate(self) -> None:
        """
        Cancelling what has a result changes nothing.
        """
        dialling = self.dial(A, B)
        self.attempts[0].succeed()
        dialling.cancel()
        self.assertIs(self.successResultOf(dialling), self.attempts[0])
        self.assertOver()

    def test_races(self) -> None:
        """
        Two races of one dialer have nothing to do with each other.
        """
        both = Dialer(self.clock, attempt=self.attempt)
        one, other = both.dial([A, B], itself), both.dial([C, D], itself)
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.clock.advance(0.25)
        self.assertEqual(self.tried, [A, C, D])
        self.attempts[1].succeed()
        self.assertIs(self.successResultOf(other), self.attempts[1])


class Writers(Clock):
    """
    The part of a reactor that an attempt needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[object] = set()

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)


class FakeSocket:
    """
    A socket to which anything can happen.
    """

    def __init__(
        self,
        connects: int = errno.EINPROGRESS,
        error: int = 0,
        queue: list[tuple[int, int, bytes]] | OSError | None = None,
        refusesOptions: bool = False,
    ) -> None:
        self.closed = False
        self.blocking = True
        self.connectedTo: list[object] = []
        self._connects = connects
        self._error = error
        self._queue = [] if queue is None else queue
        self._refusesOptions = refusesOptions

    def setblocking(self, blocking: bool) -> None:
        self.blocking = blocking

    def setsockopt(self, *option: int) -> None:
        if self._refusesOptions:
            raise OSError(errno.ENOPROTOOPT, "no such option")

    def connect_ex(self, where: object) -> int:
        self.connectedTo.append(where)
        return self._connects

    def getsockopt(self, level: int, option: int) -> int:
        if self.closed:
            raise OSError(errno.EBADF, "closed")
        return self._error

    def recvmsg(self, *args: int) -> tuple[object, ...]:
        if isinstance(self._queue, OSError):
            raise self._queue
        return b"", self._queue, 0, ("192.0.2.9", 0)

    def fileno(self) -> int:
        return -1 if self.closed else 99

    def close(self) -> None:
        self.closed = True


class AttemptTestsMixin:
    """
    An attempt whose outcome is remembered.
    """

    def setUp(self) -> None:
        self.reactor = Writers()
        self.outcomes: list[Exception | None] = []

    def make(self, address: Address) -> Attempt:
        return Attempt(
            self.reactor,
            address,
            lambda attempt: self.outcomes.append(None),
            lambda attempt, failure: self.outcomes.append(failure),
        )


class FakeSocketAttemptTests(AttemptTestsMixin, SynchronousTestCase):
    """
    One non-blocking connect, on a socket of the test's own.
    """

    def start(
        self, fake: FakeSocket, address: Address = A
    ) -> tuple[Attempt, Exception | None]:
        def make(family: int, kind: int) -> FakeSocket:
            fake.blocking = not kind & NON_BLOCKING
            return fake

        self.patch(socket, "socket", make)
        attempt = self.make(address)
        return attempt, attempt.start()

    def under(self, fake: FakeSocket, address: Address = A) -> Attempt:
        attempt, failure = self.start(fake, address)
        self.assertIsNone(failure)
        self.assertEqual(self.reactor.writers, {attempt})
        return attempt

    def test_start(self) -> None:
        """
        It connects without blocking, and waits for the reactor to say that
        the socket can be written to.
        """
        for code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self.setUp()
            fake = FakeSocket(code)
            attempt = self.under(fake)
            verifyObject(IWriteDescriptor, attempt)
            self.assertEqual(attempt.fileno(), 99)
            self.assertIsInstance(attempt.logPrefix(), str)
            self.assertFalse(fake.blocking)
            self.assertEqual(fake.connectedTo, [("192.0.2.1", 80)])
            self.assertEqual(self.outcomes, [])

    def test_family(self) -> None:
        """
        The socket is of the family of the address.
        """
        families: list[int] = []

        def make(family: int, kind: int) -> FakeSocket:
            families.append(family)
            return FakeSocket()

        self.patch(socket, "socket", make)
        for address in (A, A6):
            self.make(address).start()
        self.assertEqual(families, [socket.AF_INET, socket.AF_INET6])

    def test_failsAtOnce(self) -> None:
        """
        What C{connect} says at once is what C{start} returns, as an
        L{OSError} with its errno; the socket is closed, nobody is called.
        """
        for address in (A, A6):
            fake = FakeSocket(errno.ENETUNREACH)
            _, failure = self.start(fake, address)
            assert isinstance(failure, OSError)
            self.assertEqual(failure.errno, errno.ENETUNREACH)
            self.assertTrue(fake.closed)
            self.assertEqual(self.reactor.writers, set())
        self.assertEqual(self.outcomes, [])

    def test_noDescriptor(self) -> None:
        """
        When there is no socket to be had, C{start} says so.
        """

        def exhausted(family: int, kind: int) -> None:
            raise OSError(errno.EMFILE, "too many")

        self.patch(socket, "socket", exhausted)
        failure = self.make(A).start()
        assert isinstance(failure, OSError)
        self.assertEqual(failure.errno, errno.EMFILE)
        self.assertEqual(self.reactor.writers, set())

    def test_optionRefused(self) -> None:
        """
        When the socket cannot be made ready it is closed, and C{start} says
        why.
        """
        self.patch(dialer, "_HAS_ERROR_QUEUE", True)
        fake = FakeSocket(refusesOptions=True)
        _, failure = self.start(fake, A6)
        self.assertIsInstance(failure, OSError)
        self.assertTrue(fake.closed)

    def test_fails(self) -> None:
        """
        What the socket says when it is ready is the failure; whether the
        reactor calls that writable or lost does not matter.
        """
        calls: tuple[Callable[[Attempt], object], ...] = (
            Attempt.doWrite,
            lambda attempt: attempt.connectionLost(Failure(ConnectionLost())),
        )
        for call in calls:
            self.setUp()
            fake = FakeSocket(error=errno.ECONNREFUSED)
            call(self.under(fake))
            [failure] = self.outcomes
            assert isinstance(failure, OSError)
            self.assertEqual(failure.errno, errno.ECONNREFUSED)
            self.assertTrue(fake.closed)

    def test_reactorStops(self) -> None:
        """
        When the reactor stops while it is under way it has failed, and its
        socket is closed.
        """
        fake = FakeSocket()
        self.under(fake).connectionLost(Failure(ConnectionLost()))
        [failure] = self.outcomes
        assert isinstance(failure, OSError)
        self.assertEqual(failure.errno, errno.ECONNABORTED)
        self.assertTrue(fake.closed)

    def test_abandoned(self) -> None:
        """
        Abandoned, its socket is closed, the reactor has forgotten it, and
        nobody is called.
        """
        fake = FakeSocket()
        self.under(fake).abandon()
        self.assertTrue(fake.closed)
        self.assertEqual(self.reactor.writers, set())
        self.assertEqual(self.outcomes, [])

    def test_abandonedThenReactorStops(self) -> None:
        """
        A reactor that stops tells all that it had, so also an attempt that
        was abandoned a moment before, by a client's connection that was told
        first: that does nothing.
        """
        attempt = self.under(FakeSocket())
        attempt.abandon()
        attempt.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.outcomes, [])

    def _unreachable(self, queue: list[tuple[int, int, bytes]] | OSError) -> Exception:
        """
        The failure with EHOSTUNREACH and this in the socket's error queue.
        """
        self.setUp()
        self.under(FakeSocket(error=errno.EHOSTUNREACH, queue=queue)).doWrite()
        [failure] = self.outcomes
        assert failure is not None
        return failure

    def test_timeToLive(self) -> None:
        """
        A host that is unreachable because a router says that the time to live
        ran out is told from all others by the error queue.
        """
        self.patch(dialer, "_HAS_ERROR_QUEUE", True)

        def said(origin: int, kind: int) -> tuple[int, int, bytes]:
            record = struct.pack(
                "=IBBBBII", errno.EHOSTUNREACH, origin, kind, 0, 0, 0, 0
            )
            return (0, 11, record + bytes(16))

        icmp, icmp6, local, junk = 2, 3, 1, (0, 11, b"\0" * 8)
        for queue in ([said(icmp, 11)], [said(icmp6, 3)], [junk, said(icmp, 11)]):
            self.assertIsInstance(self._unreachable(queue), TTLExpired)
        others: tuple[list[tuple[int, int, bytes]] | OSError, ...] = (
            [said(icmp, 3)],
            [said(icmp6, 1)],
            [said(icmp6, 11)],
            [said(local, 11)],
            [junk],
            [],
            BlockingIOError(errno.EAGAIN, "empty"),
        )
        for other in others:
            failure = self._unreachable(other)
            assert isinstance(failure, OSError)
            self.assertEqual(failure.errno, errno.EHOSTUNREACH)

    def test_otherFailuresLeaveTheQueue(self) -> None:
        """
        The queue decides nothing but what an unreachable host means.
        """
        record = struct.pack("=IBBBBII", 0, 2, 11, 0, 0, 0, 0)
        fake = FakeSocket(error=errno.ECONNREFUSED, queue=[(0, 11, record)])
        self.under(fake).doWrite()
        self.assertIsInstance(self.outcomes[0], ConnectionRefusedError)

    def test_withoutErrorQueue(self) -> None:
        """
        On systems without an error queue nothing is asked of it.
        """
        self.patch(dialer, "_HAS_ERROR_QUEUE", False)
        fake = FakeSocket(
            error=errno.EHOSTUNREACH, queue=OSError("asked"), refusesOptions=True
        )
        self.under(fake, A6).doWrite()
        [failure] = self.outcomes
        assert isinstance(failure, OSError)
        self.assertEqual(failure.errno, errno.EHOSTUNREACH)


class LoopbackAttemptTests(AttemptTestsMixin, SynchronousTestCase):
    """
    One non-blocking connect, to this machine.
    """

    def bound(self, family: int = socket.AF_INET) -> tuple[socket.socket, Address]:
        made = socket.socket(family)
        self.addCleanup(made.close)
        made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        host, port, *_ = made.getsockname()
        return made, Address.ip(host, port)

    def settle(self, attempt: Attempt) -> Exception | None:
        """
        Its outcome, as soon as the kernel knows.
        """
        failure = attempt.start()
        if failure is not None:
            return failure
        self.assertEqual(self.outcomes, [])
        _, writable, _ = select.select([], [attempt], [], 60)
        self.assertEqual(writable, [attempt])
        attempt.doWrite()
        self.assertEqual(self.reactor.writers, set())
        [outcome] = self.outcomes
        return outcome

    def test_connects(self) -> None:
        """
        Connected, its socket is the caller's: open, non-blocking, and at its
        other end is who listens there.
        """
        families = [socket.AF_INET]
        if socket.has_ipv6:
            families.append(socket.AF_INET6)
        for family in families:
            self.outcomes.clear()
            try:
                listening, address = self.bound(family)
            except OSError:  # IPv6 is built in but switched off.
                continue
            listening.listen()
            attempt = self.make(address)
            self.addCleanup(attempt.abandon)
            self.assertIsNone(self.settle(attempt))
            accepted, _ = listening.accept()
            self.addCleanup(accepted.close)
            self.assertEqual(attempt.socket.getsockname(), accepted.getpeername())
            self.assertFalse(attempt.socket.getblocking())
            if family == socket.AF_INET6 and dialer._HAS_ERROR_QUEUE:
                # Left on, the first ICMPv6 error would end the connection.
                reports = attempt.socket.getsockopt(
                    socket.IPPROTO_IPV6, dialer.IPV6_RECVERR
                )
                self.assertEqual(reports, 0)

    def test_refused(self) -> None:
        """
        Where nobody listens it is refused, and its socket is closed.
        """
        _, address = self.bound()
        attempt = self.make(address)
        self.assertIsInstance(self.settle(attempt), ConnectionRefusedError)
        self.assertEqual(attempt.socket.fileno(), -1)

    def test_spuriousCall(self) -> None:
        """
        A reactor can call for a descriptor that is not ready: an event of the
        one that had its number a moment before.  That is not taken for a
        connection: nobody is called, and it goes on.
        """
        listening, address = self.bound()
        listening.listen(0)
        # Linux drops what does not fit into the queue of those to accept.
        for _ in range(2):
            filling = socket.socket()
            self.addCleanup(filling.close)
            filling.setblocking(False)
            filling.connect_ex((address.host, address.port))
        attempt = self.make(address)
        self.assertIsNone(attempt.start())
        self.addCleanup(attempt.abandon)
        attempt.doWrite()
        self.assertEqual(self.outcomes, [])
        self.assertEqual(self.reactor.writers, {attempt})

    if sys.platform != "linux":
        test_spuriousCall.skip = "how to keep a connection waiting"  # type: ignore[attr-defined]


class HubAttemptTests(SynchronousTestCase):
    """
    One that a hub watches.
    """

    def test_faultAfterwards(self) -> None:
        """
        When who was given the connection fails, its socket stays as it is: it
        has another owner by then.
        """
        reactor = ReactorOfAHub()
        hub = Hub(reactor)
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)

        def faulty(attempt: Attempt) -> None:
            raise ZeroDivisionError("a fault")

        address = Address.ip(*listening.getsockname())
        attempt = HubAttempt(
            hub, address, faulty, lambda attempt, failure: self.fail(str(failure))
        )
        self.assertIsNone(attempt.start())
        self.addCleanup(attempt.socket.close)
        select.select([], [attempt], [], 60)
        hub.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(attempt.socket.getpeername(), listening.getsockname())
        self.assertEqual((len(hub), reactor.readers), (0, []))

    def test_errorThatIsNone(self) -> None:
        """
        An error that is queued, and that the attempt has survived so far, decides
        nothing, and who has the socket next does not hear of it.
        """
        done: list[object] = []
        attempt = HubAttempt(
            None,
            Address.ip("127.0.0.1", 9),
            done.append,
            lambda attempt, failure: self.fail(str(failure)),
        )
        attempt.socket = socket.socket()
        self.addCleanup(attempt.socket.close)
        attempt.ready(select.EPOLLERR)
        self.assertEqual(done, [])
        attempt.ready(select.EPOLLERR | select.EPOLLOUT | select.EPOLLIN)
        self.assertEqual(done, [attempt])
        self.assertEqual(attempt.told, select.EPOLLOUT | select.EPOLLIN)

    def test_reactorStops(self) -> None:
        """
        One that is under way when the reactor stops fails.
        """
        reactor = ReactorOfAHub()
        hub = Hub(reactor)
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        failures: list[object] = []
        attempt = HubAttempt(
            hub,
            Address.ip(*listening.getsockname()),
            self.fail,
            lambda attempt, failure: failures.append(failure),
        )
        self.assertIsNone(attempt.start())
        hub.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(attempt.socket.fileno(), -1)
        [failure] = failures
        self.assertIsInstance(failure, ConnectionAbortedError)

    if Hub.of(reactor) is None:
        skip = "there are no hubs here"


class RealReactorTests(TestCase):
    """
    The whole of it, on the real reactor and this machine.
    """

    def setUp(self) -> None:
        self.bound = socket.socket()
        self.addCleanup(self.bound.close)
        self.bound.bind(("127.0.0.1", 0))
        self.address = Address.ip(*self.bound.getsockname())

    async def test_connects(self) -> None:
        """
        It connects to the address at which somebody listens, after one that
        refuses.
        """
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = Address.ip(*listening.getsockname())
        attempt = await Dialer(reactor, stagger=3600).dial(
            [self.address, address], itself
        )
        self.addCleanup(attempt.socket.close)
        self.assertEqual(attempt.address, address)
        self.assertEqual(attempt.socket.getpeername(), listening.getsockname())

    async def test_refused(self) -> None:
        """
        Where nobody listens it is refused, by an L{OSError} with that errno.
        """
        with self.assertRaises(ConnectionRefusedError):
            await Dialer(reactor).dial([self.address], itself)

    def test_cancelled(self) -> None:
        """
        Cancelled before the reactor has turned, nothing is left in it.
        """
        self.bound.listen()
        dialling = Dialer(reactor).dial([self.address, self.address], itself)
        dialling.cancel()
        self.failureResultOf(dialling, CancelledError)
        writers = cast(Any, reactor).getWriters()
        self.assertEqual([w for w in writers if isinstance(w, Attempt)], [])
