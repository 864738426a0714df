"""
Tests for L{socksproxy.relay.hub}.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from socksproxy.relay.hub import Hub


@implementer(IReactorFDSet)
class FakeReactor(Clock):
    """
    A reactor that remembers who reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None: ...

    def removeWriter(self, writer: Any) -> None: ...

    def removeAll(self) -> list[Any]:
        return []

    def getReaders(self) -> list[Any]:
        return []

    def getWriters(self) -> list[Any]:
        return []


class Watcher:
    """
    Remembers its events.
    """

    isOver = False

    def __init__(self) -> None:
        self.events: list[int] = []
        self.lost = 0
        self.turns = 0

    def ready(self, events: int) -> None:
        self.events.append(events)

    def hubLost(self) -> None:
        self.lost += 1

    def turnCame(self) -> None:
        self.turns += 1


class HubTests(SynchronousTestCase):
    """
    One epoll set for many sockets.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.hub = Hub(self.reactor)
        self.one, self.other = self.pair()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Two sockets that are connected.
        """
        pair = socket.socketpair()
        for end in pair:
            self.addCleanup(end.close)
        return pair

    def test_of(self) -> None:
        """
        There is one for each reactor, and none where it is not possible.
        """
        self.assertIs(Hub.of(reactor), Hub.of(reactor))
        self.assertIsNone(Hub.of(Clock()))
        self.patch(os, "splice", None)
        del os.splice
        self.assertIsNone(Hub.of(reactor))

    def test_levels(self) -> None:
        """
        A watcher can have some events only, and be told until it has done
        something about it; batches are numbered.
        """
        watcher = Watcher()
        self.hub.watch(self.one.fileno(), watcher, select.EPOLLIN)
        batch = self.hub.batch
        self.hub.doRead()
        self.assertEqual(watcher.events, [])
        self.other.send(b"x")
        self.hub.doRead()
        self.hub.doRead()
        self.assertEqual(watcher.events, [select.EPOLLIN] * 2)
        self.one.recv(1)
        self.hub.doRead()
        self.assertEqual(len(watcher.events), 2)
        self.assertEqual(self.hub.batch, batch + 4)

    def test_edges(self) -> None:
        """
        What there is already is told first, and everything once.
        """
        self.other.send(b"x")
        watcher = Watcher()
        self.hub.watch(self.one.fileno(), watcher)
        self.hub.doRead()
        self.assertEqual(watcher.events, [select.EPOLLIN | select.EPOLLOUT])
        self.hub.doRead()
        self.assertEqual(len(watcher.events), 1)
        self.other.send(b"y")
        self.hub.doRead()
        self.assertEqual(len(watcher.events), 2)

    def test_readsWhileItWatches(self) -> None:
        """
        The reactor has it as a reader as long as somebody is watched.
        """
        self.assertEqual(self.reactor.readers, [])
        self.hub.watch(self.one.fileno(), Watcher())
        self.hub.watch(self.other.fileno(), Watcher())
        self.assertEqual(self.reactor.readers, [self.hub])
        self.hub.forget(self.one.fileno())
        self.hub.forget(self.one.fileno())
        self.assertEqual((self.reactor.readers, len(self.hub)), ([self.hub], 1))
        self.hub.forget(self.other.fileno())
        self.assertEqual((self.reactor.readers, len(self.hub)), ([], 0))

    def test_handedOver(self) -> None:
        """
        What a watcher has not acted on is told to the next one, in its turn, and
        from then on everything.
        """
        first, second = Watcher(), Watcher()
        self.hub.watch(self.one.fileno(), first)
        self.hub.doRead()
        self.hub.handOver(self.one.fileno(), second, select.EPOLLIN)
        self.hub.doRead()
        self.assertEqual((len(first.events), second.events), (1, []))
        self.reactor.advance(0)
        self.assertEqual(second.events, [select.EPOLLIN])
        self.other.send(b"x")
        self.hub.doRead()
        self.assertEqual(len(second.events), 2)

    def test_handedOverWithNothing(self) -> None:
        """
        A watcher that has acted on everything leaves nothing to be told.
        """
        second = Watcher()
        self.hub.watch(self.one.fileno(), Watcher())
        self.hub.doRead()
        self.hub.handOver(self.one.fileno(), second)
        self.hub.doRead()
        self.reactor.advance(0)
        self.assertEqual(second.events, [])

    def test_handedOnBeforeItsTurn(self) -> None:
        """
        A watcher that hands over what it was still to be told is not told it, and
        the next one is told once.
        """
        second, third = Watcher(), Watcher()
        self.hub.watch(self.one.fileno(), Watcher())
        self.hub.doRead()
        self.hub.handOver(self.one.fileno(), second, select.EPOLLIN)
        untold = select.EPOLLIN | select.EPOLLRDHUP
        self.hub.handOver(self.one.fileno(), third, untold)
        self.reactor.advance(0)
        self.assertEqual((second.events, third.events), ([], [untold]))

    def test_numberOfOneThatWasClosed(self) -> None:
        """
        A descriptor that was closed without a word, before its watcher was told
        what there was, is in nobody's way who has its number now.
        """
        number = self.one.fileno()
        second, third = Watcher(), Watcher()
        self.hub.watch(number, Watcher())
        self.hub.handOver(number, second, select.EPOLLIN)
        self.one.close()
        another, _ = self.pair()
        if another.fileno() != number:
            os.dup2(another.fileno(), number)
            self.addCleanup(os.close, number)
        self.hub.watch(number, third)
        self.hub.doRead()
        self.reactor.advance(0)
        self.assertEqual((second.events, third.events), ([], [select.EPOLLOUT]))

    def test_toldWithinABatch(self) -> None:
        """
        An event of a descriptor that is handed over in the same batch reaches
        whom it was handed to.
        """
        hub, test, heir = self.hub, self, Watcher()

        class HandsOver(Watcher):
            def ready(self, events: int) -> None:
                super().ready(events)
                for end in (test.one, test.other):
                    hub.handOver(end.fileno(), heir)

        first = HandsOver()
        for end in (self.one, self.other):
            hub.watch(end.fileno(), first)
        hub.doRead()
        self.assertEqual((len(first.events), len(heir.events)), (1, 1))

    def test_untoldAndOver(self) -> None:
        """
        Who is gone before its turn comes is told nothing.
        """
        second = Watcher()
        self.hub.watch(self.one.fileno(), Watcher())
        self.hub.handOver(self.one.fileno(), second, select.EPOLLIN)
        self.hub.forget(self.one.fileno())
        self.reactor.advance(0)
        self.assertEqual(second.events, [])

    def test_faultWithUntold(self) -> None:
        """
        A fault of one who is told later is logged, and ends it.
        """

        class Faulty(Watcher):
            def ready(self, events: int) -> None:
                raise ZeroDivisionError("a fault")

        faulty = Faulty()
        self.hub.watch(self.one.fileno(), Watcher())
        self.hub.handOver(self.one.fileno(), faulty, select.EPOLLIN)
        self.reactor.advance(0)
        self.assertEqual((faulty.lost, len(self.hub)), (1, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cannotBeWatched(self) -> None:
        """
        Nothing is left of a descriptor that the system does not take.
        """
        self.one.close()
        self.assertRaises(
            OSError, self.hub.watch, os.sysconf("SC_OPEN_MAX") - 1, Watcher()
        )
        self.assertEqual((len(self.hub), self.reactor.readers), (0, []))

    def test_exits(self) -> None:
        """
        Whatever one of them raises is not the end of the others.
        """

        class Exits(Watcher):
            def ready(self, events: int) -> None:
                raise SystemExit

            def turnCame(self) -> None:
                raise SystemExit

        exits, other = Exits(), Watcher()
        self.hub.watch(self.one.fileno(), exits)
        self.hub.watch(self.other.fileno(), other)
        self.hub.doRead()
        self.assertEqual((exits.lost, other.lost, len(self.hub)), (1, 0, 1))
        self.hub.soon(exits)
        self.reactor.advance(0)
        self.assertEqual(exits.lost, 2)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 2)

    def test_leftToOthers(self) -> None:
        """
        A descriptor that was forgotten and is open still costs one event, and no
        more.
        """
        self.hub.watch(self.one.fileno(), Watcher())
        self.hub.watch(self.other.fileno(), Watcher())
        self.hub.forget(self.one.fileno())
        self.hub.doRead()
        self.assertRaises(
            FileNotFoundError, self.hub._epoll.unregister, self.one.fileno()
        )

    def test_numberUsedAgain(self) -> None:
        """
        An event that was fetched for the last owner of a descriptor's number
        does not reach the next one.
        """
        test = self
        fresh = Watcher()

        class Replaces(Watcher):
            """
            Ends both, and lets another have their numbers.
            """

            def ready(self, events: int) -> None:
                super().ready(events)
                for end in (test.one, test.other):
                    test.hub.forget(end.fileno())
                    test.hub._epoll.unregister(end.fileno())
                    test.hub.watch(end.fileno(), fresh)

        old = Replaces()
        for end in (self.one, self.other):
            self.hub.watch(end.fileno(), old)
        self.hub.doRead()
        self.assertEqual((len(old.events), fresh.events), (1, []))
        self.hub.doRead()
        self.assertEqual(len(fresh.events), 2)

    def test_fault(self) -> None:
        """
        A fault of one watcher is logged and ends that one; others go on.
        """

        class Faulty(Watcher):
            def ready(self, events: int) -> None:
                raise ZeroDivisionError("a fault")

        faulty, sound = Faulty(), Watcher()
        self.hub.watch(self.one.fileno(), faulty)
        self.hub.watch(self.other.fileno(), sound)
        self.hub.doRead()
        self.assertEqual((faulty.lost, sound.lost), (1, 0))
        self.assertEqual(len(sound.events), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_faultOfOneThatLeft(self) -> None:
        """
        A fault of one that has handed its descriptor over is logged, and the
        one that has it now keeps it.
        """
        hub, number, heir, test = self.hub, self.one.fileno(), Watcher(), self

        class Faulty(Watcher):
            def ready(self, events: int) -> None:
                hub.handOver(number, heir)
                test.other.send(b"x")
                raise ZeroDivisionError("a fault")

        faulty = Faulty()
        hub.watch(number, faulty)
        hub.doRead()
        hub.doRead()
        self.assertEqual((faulty.lost, heir.lost, len(heir.events)), (0, 0, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_soon(self) -> None:
        """
        Who wants another turn gets it in the reactor's next round, unless it
        is over by then.
        """
        first, second = Watcher(), Watcher()
        self.hub.soon(first)
        self.hub.soon(second)
        second.isOver = True
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(0)
        self.assertEqual((first.turns, second.turns), (1, 0))

    def test_soonTwice(self) -> None:
        """
        Asking twice is asking once, and a fault takes nobody's turn away.
        """

        class Faulty(Watcher):
            def turnCame(self) -> None:
                raise ZeroDivisionError("a fault")

        faulty, sound = Faulty(), Watcher()
        self.hub.soon(faulty)
        self.hub.soon(sound)
        self.hub.soon(sound)
        self.reactor.advance(0)
        self.assertEqual((faulty.lost, sound.turns), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_faultOfOneThatIsOver(self) -> None:
        """
        One that is over when it fails is not told that it is.
        """

        class Faulty(Watcher):
            def turnCame(self) -> None:
                self.isOver = True
                raise ZeroDivisionError("a fault")

        faulty = Faulty()
        self.hub.soon(faulty)
        self.reactor.advance(0)
        self.assertEqual(faulty.lost, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reactorStops(self) -> None:
        """
        When the reactor stops, all are told.
        """
        watcher = Watcher()
        self.hub.watch(self.one.fileno(), watcher)
        self.hub.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(watcher.lost, 1)
        self.assertEqual(self.hub.logPrefix(), "socksproxy hub")
