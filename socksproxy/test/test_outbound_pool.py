"""
Tests for L{socksproxy.outbound.pool}.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.client.errors import ProxyProtocolError, ProxyUnreachable
from socksproxy.errors import (
    CommandNotSupported,
    ConnectionRefused,
    GeneralFailure,
    NetworkUnreachable,
    NotAllowed,
)
from socksproxy.interfaces import (
    IAssociator,
    IBinder,
    IConnector,
    Identity,
    ISession,
    Request,
)
from socksproxy.outbound.pool import Member, PoolConnector, Strategy
from socksproxy.test.proxyline import Line, recorders
from socksproxy.testing import FakeAssociator, FakeBinder, FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command


class _Both(FakeBinder, FakeAssociator):
    """
    A connector that can do all of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bindings = []
        self.associations = []


class ClosableLine(Line):
    """
    One that tells of its end, as those of our own connections do.
    """

    def whenClosed(self, closed: Any) -> None:
        self.closed = closed


class PoolTestCase(SynchronousTestCase):
    """
    A pool of three.
    """

    strategy = Strategy.FAILOVER

    def setUp(self) -> None:
        self.clock = Clock()
        self.ways = [_Both() for _ in range(3)]
        self.members = [
            Member(way, name) for way, name in zip(self.ways, "abc", strict=True)
        ]
        self.pool = PoolConnector(
            self.clock, self.members, self.strategy, random.Random(7)
        )

    def connect(self, user: str = "", host: str = "192.0.2.1") -> Deferred[Any]:
        request = Request(
            Command.CONNECT, Address.name("example.org", 80), Identity(user)
        )
        session = FakeSession(peer=IPv4Address("TCP", host, 1))
        return self.pool.connect(request, session, recorders())

    def tried(self) -> str:
        """
        The names of those that were asked since this was asked last, each as often
        as it was.
        """
        found = ""
        for way, member in zip(self.ways, self.members, strict=True):
            found += member.name * len(way.attempts)
            way.attempts.clear()
        return found

    def which(self, **who: str) -> str:
        """
        The one that serves a request.
        """
        self.tried()
        connecting = self.connect(**who)
        for way in self.ways:
            for attempt in way.attempts:
                attempt.connect(ClosableLine())
        self.successResultOf(connecting)
        return self.tried()


class FailoverTests(PoolTestCase):
    """
    What happens when one does not work.
    """

    def test_interfaces(self) -> None:
        """
        It can be asked for everything.
        """
        for interface in (IConnector, IBinder, IAssociator):
            verifyObject(interface, self.pool)

    def test_first(self) -> None:
        """
        The first serves as long as it works.
        """
        self.assertEqual([self.which() for _ in range(3)], ["a", "a", "a"])

    def test_next(self) -> None:
        """
        What fails for a reason that is not the target's is tried elsewhere.
        """
        for failure in (
            ProxyUnreachable(),
            ProxyProtocolError(),
            GeneralFailure(),
            NetworkUnreachable(),
        ):
            self.setUp()
            connecting = self.connect()
            self.ways[0].attempts[0].fail(failure)
            self.assertNoResult(connecting)
            self.ways[1].attempts[0].connect(ClosableLine())
            self.successResultOf(connecting)
            self.assertEqual(self.ways[2].attempts, [])

    def test_target(self) -> None:
        """
        What one says of the target is believed.
        """
        for failure in (ConnectionRefused(), NotAllowed(), ZeroDivisionError()):
            connecting = self.connect()
            self.ways[0].attempts[-1].fail(failure)
            self.failureResultOf(connecting, type(failure))
        self.assertEqual(self.tried(), "aaa")
        self.assertEqual(self.members[0].failures, 0)

    def test_all(self) -> None:
        """
        When none works the last one says why.
        """
        connecting = self.connect()
        for way in self.ways:
            way.attempts[0].fail(ProxyUnreachable("no"))
        self.failureResultOf(connecting, ProxyUnreachable)

    def test_backOff(self) -> None:
        """
        One that does not work is the last to be tried, for longer each time; and
        the first again once it has worked.
        """
        for pause in (1, 2, 4, 8, 16, 32, 60, 60):
            connecting = self.connect()
            self.ways[0].attempts[0].fail(ProxyUnreachable())
            self.ways[1].attempts[0].connect(ClosableLine())
            self.successResultOf(connecting)
            self.assertEqual(self.tried(), "ab")
            self.clock.advance(pause - 0.01)
            self.assertEqual(self.which(), "b")
            self.clock.advance(0.02)
        self.assertEqual(self.which(), "a")
        self.assertEqual(self.members[0].failures, 0)

    def test_backOffOfMany(self) -> None:
        """
        Those who find out at the same time have found out one thing.
        """
        attempts = [self.connect() for _ in range(50)]
        for attempt in list(self.ways[0].attempts):
            attempt.fail(ProxyUnreachable())
        self.assertEqual(self.members[0].failures, 1)
        self.assertEqual(self.members[0].isBrokenUntil, 1)
        for connecting in attempts:
            connecting.cancel()
            self.failureResultOf(connecting)

    def test_allBroken(self) -> None:
        """
        Better one that does not work than none: that which is due first.
        """
        self.members[0].isBrokenUntil = 9
        self.members[1].isBrokenUntil = 7
        self.members[2].isBrokenUntil = 8
        self.assertEqual(self.which(), "b")

    def test_notWorkingOnce(self) -> None:
        """
        What it cannot do does not mean that it does not work.
        """
        connecting = self.connect()
        self.ways[0].attempts[0].fail(CommandNotSupported())
        self.assertNoResult(connecting)
        self.assertEqual(self.members[0].failures, 0)

    def test_cancel(self) -> None:
        """
        Whoever has lost the interest has the attempt cancelled, and there is no
        other.
        """
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(self.ways[0].attempts[0].cancelled)
        self.assertEqual(self.tried(), "a")
        self.assertEqual(self.members[0].connections, 0)

    def test_cancelFails(self) -> None:
        """
        Nor is there another when what is known of the attempt by then is an error;
        which, being half an answer, says nothing of the way.
        """
        connecting = self.connect()
        result = self.ways[0].attempts[0].result
        result._canceller = lambda _: result.errback(ProxyUnreachable())
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertEqual(self.tried(), "a")
        self.assertEqual([m.failures for m in self.members], [0, 0, 0])
        self.assertEqual([m.connections for m in self.members], [0, 0, 0])

    def test_bind(self) -> None:
        """
        The same for BIND, until the client was told where it is listened.
        """
        request = Request(Command.BIND, Address.UNSPECIFIED)
        binding = self.pool.bind(request, FakeSession(), Factory())
        self.ways[0].bindings[0].cannotListen(ProxyUnreachable())
        self.ways[1].bindings[0].listen()
        self.assertIs(self.successResultOf(binding), self.ways[1].bindings[0])

    def test_associate(self) -> None:
        """
        And for datagrams.
        """
        request = Request(Command.UDP_ASSOCIATE, Address.UNSPECIFIED)
        receiver: Any = object()
        associating = self.pool.associate(request, FakeSession(), receiver)
        self.ways[0].associations[0].fail(ProxyUnreachable())
        self.ways[1].associations[0].associate()
        self.assertIs(self.successResultOf(associating), self.ways[1].associations[0])

    def test_plainConnectors(self) -> None:
        """
        Those that can only connect are passed over for all else.
        """
        pool = PoolConnector(self.clock, [Member(_Plain(), "x")])
        request = Request(Command.BIND, Address.UNSPECIFIED)
        receiver: Any = object()
        self.failureResultOf(
            pool.bind(request, FakeSession(), Factory()), CommandNotSupported
        )
        self.failureResultOf(
            pool.associate(request, FakeSession(), receiver), CommandNotSupported
        )


@implementer(IConnector)
class _Plain:
    """
    Neither a binder nor an associator.
    """

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        return Deferred()


class RoundRobinTests(PoolTestCase):
    """
    L{Strategy.ROUND_ROBIN}.
    """

    strategy = Strategy.ROUND_ROBIN

    def test_fewer(self) -> None:
        """
        They may come and go.
        """
        self.which()
        self.which()
        del self.members[1:], self.ways[1:]
        self.assertEqual(self.which(), "a")
        self.members.clear()
        self.failureResultOf(self.connect(), GeneralFailure)

    def test_inTurn(self) -> None:
        """
        Each has its turn, and one that is broken is passed over.
        """
        self.assertEqual("".join(self.which() for _ in range(7)), "abcabca")
        self.members[1].isBrokenUntil = 9
        self.assertEqual("".join(self.which() for _ in range(6)), "ccacca")


class RandomTests(PoolTestCase):
    """
    L{Strategy.RANDOM}.
    """

    strategy = Strategy.RANDOM

    def test_any(self) -> None:
        """
        Each has its share.
        """
        counts = Counter(self.which() for _ in range(300))
        self.assertEqual(sum(counts.values()), 300)
        self.assertGreater(min(counts[name] for name in "abc"), 60)


class LeastConnectionsTests(PoolTestCase):
    """
    L{Strategy.LEAST_CONNECTIONS}.
    """

    strategy = Strategy.LEAST_CONNECTIONS

    def test_fewest(self) -> None:
        """
        What is under way counts, and what is closed does not any more.
        """
        lines = []
        for name in "abca":
            way = self.ways["abc".index(name)]
            connecting = self.connect()
            line = ClosableLine()
            way.attempts[-1].connect(line)
            self.successResultOf(connecting)
            lines.append(line)
        self.assertEqual([m.connections for m in self.members], [2, 1, 1])
        lines[1].closed()
        self.assertEqual(self.which(), "b")
        connecting = self.connect()
        self.assertEqual([m.connections for m in self.members], [2, 2, 1])
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertEqual([m.connections for m in self.members], [2, 1, 1])

    def test_otherTransports(self) -> None:
        """
        A transport that does not tell of its end does not count for ever.
        """
        connecting = self.connect()
        self.ways[0].attempts[0].connect()
        self.successResultOf(connecting)
        self.assertEqual(self.members[0].connections, 0)


class StickyTests(PoolTestCase):
    """
    L{Strategy.STICKY_CLIENT} and L{Strategy.STICKY_USER}.
    """

    strategy = Strategy.STICKY_CLIENT

    def test_client(self) -> None:
        """
        A client's requests have all the same way, whichever user's they are; and
        clients are spread.
        """
        hosts = [f"192.0.2.{number}" for number in range(1, 200)]
        ways = {host: self.which(host=host) for host in hosts}
        self.assertEqual(
            {host: self.which(host=host, user=host) for host in hosts}, ways
        )
        self.assertGreater(min(Counter(ways.values())[name] for name in "abc"), 40)

    def test_onlyThoseThatHaveTo(self) -> None:
        """
        When one is broken, only its own clients move.
        """
        hosts = [f"192.0.2.{number}" for number in range(1, 100)]
        ways = {host: self.which(host=host) for host in hosts}
        self.members[1].isBrokenUntil = 9
        for host in hosts:
            moved = self.which(host=host)
            if ways[host] == "b":
                self.assertIn(moved, "ac")
            else:
                self.assertEqual(moved, ways[host])

    def test_user(self) -> None:
        """
        A user's requests have all the same way, wherever they come from.
        """
        self.strategy = Strategy.STICKY_USER
        self.setUp()
        users = [f"user{number}" for number in range(100)]
        ways = {user: self.which(user=user) for user in users}
        self.assertEqual(
            {user: self.which(user=user, host="198.51.100.1") for user in users}, ways
        )
        self.assertGreater(len(set(ways.values())), 1)

    def test_sameEverywhere(self) -> None:
        """
        Every process finds the same.
        """
        self.assertEqual(
            [self.which(host=f"192.0.2.{number}") for number in range(8)],
            list("bccbaaba"),
        )


class ProbeTests(PoolTestCase):
    """
    Looking before somebody wants it.
    """

    def test_probes(self) -> None:
        """
        What does not work is found out, and what works again too.
        """
        broken: set[object] = {self.ways[0]}

        def probe(way: object) -> Deferred[None]:
            return fail(ProxyUnreachable()) if way in broken else succeed(None)

        self.pool.startProbing(5, probe)
        self.assertEqual(self.which(), "a")
        self.clock.advance(5)
        self.assertEqual(self.which(), "b")
        broken.clear()
        self.clock.advance(5)
        self.assertEqual(self.which(), "a")
        self.pool.stopProbing()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """
        What is under way when it stops is cancelled, and nobody is to blame.
        """
        probes = [Deferred[None]() for _ in range(3)]
        waiting = iter(probes)
        self.pool.startProbing(5, lambda way: next(waiting))
        self.clock.advance(5)
        self.pool.stopProbing()
        self.assertEqual([probe.called for probe in probes], [True] * 3)
        self.assertEqual([m.failures for m in self.members], [0, 0, 0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow(self) -> None:
        """
        A probe that takes its time is waited for.
        """
        probes: list[Deferred[None]] = []

        def probe(way: object) -> Deferred[None]:
            probes.append(Deferred())
            return probes[-1]

        self.pool.startProbing(5, probe)
        self.clock.pump([5] * 10)
        self.assertEqual(len(probes), 3)
        for waiting in probes[:]:
            waiting.callback(None)
        self.clock.advance(5)
        self.assertEqual(len(probes), 6)
        self.pool.stopProbing()

    def test_pool(self) -> None:
        """
        A pool is there as long as one of its ways is.
        """

        class Probed:
            def __init__(self, answer: Any) -> None:
                self.probe = answer

        def gone() -> Deferred[None]:
            return fail(ProxyUnreachable())

        for last, isThere in ((partial(succeed, None), True), (gone, False)):
            ways: list[Any] = [Probed(gone), Probed(last)]
            members = [Member(way, "x") for way in ways]
            probing = PoolConnector(self.clock, members).probe()
            if isThere:
                self.successResultOf(probing)
            else:
                self.failureResultOf(probing, ProxyUnreachable)

    def test_ourFault(self) -> None:
        """
        A probe with a fault of its own says nothing, but to the log.
        """

        def raising(way: object) -> Deferred[None]:
            raise ZeroDivisionError

        for probe in (lambda way: fail(ZeroDivisionError()), raising):
            self.pool.startProbing(5, probe)
            for _ in range(2):
                self.clock.advance(5)
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
            self.assertEqual(self.which(), "a")
            self.pool.stopProbing()
