"""
Tests for L{socksproxy.relay.idle}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from socksproxy.relay.idle import LOOKS, IdleWatch, IWatched


@implementer(IWatched)
class FakeRelay:
    """
    A relay that remembers when and why it was ended.
    """

    def __init__(
        self,
        clock: Clock,
        watch: IdleWatch,
        aborted: Callable[[], object] = lambda: None,
    ) -> None:
        self.bytesSent = 0
        self.bytesReceived = 0
        self.ended: list[tuple[float, str]] = []
        self._clock = clock
        self._watch = watch
        self._aborted = aborted

    def abort(self, reason: str) -> None:
        self.ended.append((self._clock.seconds(), reason))
        self._watch.finished(self)
        self._aborted()


class IdleWatchTests(SynchronousTestCase):
    """
    A relay that has fallen silent is ended.
    """

    def setUp(self) -> None:
        self.clock = Clock()

    def watch(self, idle: float, halfClosed: float = 0) -> IdleWatch:
        return IdleWatch(self.clock, idle, halfClosed)

    def relay(self, watch: IdleWatch) -> FakeRelay:
        relay = FakeRelay(self.clock, watch)
        watch.started(relay)
        return relay

    def pump(self, seconds: float) -> None:
        """
        Let time go by in small steps, all exact in binary.
        """
        self.clock.pump([0.125] * int(seconds * 8))

    def test_silent(self) -> None:
        """
        A relay without a byte is ended when its timeout is over, once, and
        then there is nothing left to look at.
        """
        relay = self.relay(self.watch(8))
        self.pump(7.875)
        self.assertEqual(relay.ended, [])
        self.pump(20)
        self.assertEqual(relay.ended, [(8, "idle for too long")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lateness(self) -> None:
        """
        Whenever a relay starts, it is ended at the timeout or at most an
        eighth of it later.
        """
        watch = self.watch(8)
        keepsWatchBusy = self.relay(watch)
        relays = []
        for _ in range(16):
            self.pump(0.125)
            relays.append((self.clock.seconds(), self.relay(watch)))
        self.pump(20)
        for startedAt, relay in relays:
            [(endedAt, _)] = relay.ended
            self.assertGreaterEqual(endedAt - startedAt, 8)
            self.assertLessEqual(endedAt - startedAt, 8 + 8 / LOOKS)
        self.assertEqual(len(keepsWatchBusy.ended), 1)

    def test_bytesKeepItAlive(self) -> None:
        """
        A byte either way, now and then, keeps a relay alive; when they stop
        it is ended, no sooner than the timeout after the last one.
        """
        relay = self.relay(self.watch(8))
        for _ in range(5):
            self.pump(7)
            relay.bytesSent += 1
            self.pump(7)
            relay.bytesReceived += 1
        self.assertEqual(relay.ended, [])
        last = self.clock.seconds()
        self.pump(7.875)
        self.assertEqual(relay.ended, [])
        self.pump(3)
        [(endedAt, _)] = relay.ended
        self.assertLessEqual(endedAt - last, 8 + 2 * 8 / LOOKS)

    def test_finished(self) -> None:
        """
        A relay that has ended by itself is left alone; one that was never
        watched may end too.
        """
        watch = self.watch(8)
        relay = self.relay(watch)
        watch.finished(relay)
        watch.finished(FakeRelay(self.clock, watch))
        self.pump(20)
        self.assertEqual(relay.ended, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_halfClosed(self) -> None:
        """
        A relay of which one side has ended has the other timeout from then
        on, shorter or longer, and other words.
        """
        for idle, halfClosed in ((8, 16), (16, 8)):
            clock = self.clock = Clock()
            watch = self.watch(idle, halfClosed)
            relay, other = self.relay(watch), self.relay(watch)
            self.pump(4)
            watch.halfClosed(relay)
            self.pump(40)
            [(endedAt, reason)] = relay.ended
            self.assertEqual(
                (endedAt, reason), (4 + halfClosed, "half-closed for too long")
            )
            self.assertEqual(other.ended, [(idle, "idle for too long")])
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_halfClosedKeptAlive(self) -> None:
        """
        Bytes keep a half-closed relay alive too.
        """
        watch = self.watch(0, 8)
        relay = self.relay(watch)
        watch.halfClosed(relay)
        for _ in range(5):
            self.pump(7)
            relay.bytesReceived += 1
        self.assertEqual(relay.ended, [])

    def test_idleOff(self) -> None:
        """
        With an idle timeout of 0 only half-closed relays are ended.
        """
        watch = self.watch(0, 8)
        relay = self.relay(watch)
        self.pump(100)
        self.assertEqual(relay.ended, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        watch.halfClosed(relay)
        self.pump(8)
        self.assertEqual(relay.ended, [(108, "half-closed for too long")])

    def test_halfClosedOff(self) -> None:
        """
        With a half-closed timeout of 0 the idle timeout goes on.
        """
        watch = self.watch(8, 0)
        relay = self.relay(watch)
        self.pump(4)
        watch.halfClosed(relay)
        self.pump(4)
        self.assertEqual(relay.ended, [(8, "idle for too long")])

    def test_bothOff(self) -> None:
        """
        With both timeouts 0 nothing is watched.
        """
        watch = self.watch(0, 0)
        relay = self.relay(watch)
        watch.halfClosed(relay)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        watch.finished(relay)
        watch.close()

    def test_close(self) -> None:
        """
        Closed, it ends nobody and leaves no delayed call behind; it can be
        closed twice.
        """
        watch = self.watch(8)
        relay = self.relay(watch)
        watch.close()
        watch.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pump(20)
        self.assertEqual(relay.ended, [])

    def test_oneCallForAll(self) -> None:
        """
        Any number of relays costs one delayed call.
        """
        watch = self.watch(8)
        relays = []
        for _ in range(20):
            relays.append(self.relay(watch))
            self.pump(0.25)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_startedByAnEnd(self) -> None:
        """
        When the end of a relay lets another start, there is still one delayed
        call, and none once the watch is closed.
        """
        watch = self.watch(8)
        next = FakeRelay(self.clock, watch)
        relay = FakeRelay(self.clock, watch, lambda: watch.started(next))
        watch.started(relay)
        self.pump(8)
        self.assertEqual(len(relay.ended), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        watch.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
