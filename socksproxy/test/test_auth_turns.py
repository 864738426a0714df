"""
Tests for L{socksproxy.auth.turns}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.turns import Turns


class TurnsTests(SynchronousTestCase):
    """
    One after the other.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.room = 2
        self.ready = 0.0
        self.turns = Turns(
            self.clock, lambda source: self.room, lambda source: self.ready, 8
        )

    def waits(self, source: str = "a") -> Deferred[None]:
        turn = self.turns.take(source)
        assert turn is not None
        self.assertNoResult(turn)
        return turn

    def assertNothingLeft(self) -> None:
        self.assertEqual(len(self.turns), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_room(self) -> None:
        """
        As many as there is room for go on at once, others when one of these is
        over, in their order.  Another source's do not matter.
        """
        self.assertIsNone(self.turns.take("a"))
        self.assertIsNone(self.turns.take("a"))
        third, fourth = self.waits(), self.waits()
        self.assertIsNone(self.turns.take("b"))
        self.turns.over("b")
        self.turns.over("a")
        self.successResultOf(third)
        self.assertNoResult(fourth)
        self.turns.over("a")
        self.successResultOf(fourth)
        self.turns.over("a")
        self.turns.over("a")
        self.assertNothingLeft()

    def test_pause(self) -> None:
        """
        Nobody goes on before it is time, though there is room.
        """
        self.ready = 5
        first, second = self.waits(), self.waits()
        self.clock.advance(4.5)
        self.assertNoResult(first)
        self.clock.advance(0.5)
        self.successResultOf(first)
        self.successResultOf(second)
        self.turns.over("a")
        self.turns.over("a")
        self.assertNothingLeft()

    def test_pauseAfterEach(self) -> None:
        """
        A pause that begins when one is over holds the next one up.
        """
        self.room = 1
        self.assertIsNone(self.turns.take("a"))
        second, third = self.waits(), self.waits()
        self.ready = 3
        self.turns.over("a")
        self.assertNoResult(second)
        self.clock.advance(3)
        self.successResultOf(second)
        self.assertNoResult(third)
        self.ready = 9
        self.turns.over("a")
        self.clock.advance(5.5)
        self.assertNoResult(third)
        self.clock.advance(0.5)
        self.successResultOf(third)
        self.turns.over("a")
        self.assertNothingLeft()

    def test_noOvertaking(self) -> None:
        """
        Who comes when others wait is behind them, also when it is time.
        """
        self.room = 1
        self.ready = 5
        first = self.waits()
        self.ready = 0
        second = self.turns.take("a")
        assert second is not None
        self.clock.advance(5)
        self.successResultOf(first)
        self.assertNoResult(second)

    def test_leaves(self) -> None:
        """
        Who leaves while it waits is not waited for, and leaves nothing behind.
        """
        self.room = 1
        self.assertIsNone(self.turns.take("a"))
        second, third = self.waits(), self.waits()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.turns.over("a")
        self.successResultOf(third)
        self.turns.over("a")
        self.assertNothingLeft()
        self.ready = 5
        alone = self.waits()
        alone.cancel()
        self.failureResultOf(alone, CancelledError)
        self.assertNothingLeft()

    def test_refuse(self) -> None:
        """
        All that wait fail; those that are under way come to their end.
        """
        self.room = 1
        self.assertIsNone(self.turns.take("a"))
        waiting = [self.waits(), self.waits()]
        self.turns.refuse("a", NotChecked("enough"))
        for turn in waiting:
            self.failureResultOf(turn, NotChecked)
        self.turns.over("a")
        self.assertNothingLeft()

    def test_refuseBeforeTheirTime(self) -> None:
        """
        When they are refused nobody is thought of any more: who comes then is not
        mixed up with them.
        """
        self.assertIsNone(self.turns.take("a"))
        self.ready = 5
        turn = self.waits()
        self.turns.refuse("a", NotChecked("enough"))
        self.failureResultOf(turn, NotChecked)
        self.turns.over("a")
        self.assertNothingLeft()

    def test_leavesWhileTheyMove(self) -> None:
        """
        One whose turn comes may be the reason for the last one to leave, and for
        another one to come.
        """
        self.ready = 5
        first, second = self.waits(), self.waits()

        def goesOn(_: None) -> None:
            self.turns.over("a")
            second.cancel()
            self.assertIsNone(self.turns.take("a"))

        first.addCallback(goesOn)
        self.clock.advance(5)
        self.failureResultOf(second, CancelledError)
        self.turns.over("a")
        self.assertNothingLeft()

    def test_refuseAndLeave(self) -> None:
        """
        One that is refused may be the reason for another one to leave.
        """
        self.room = 1
        self.assertIsNone(self.turns.take("a"))
        first, second = self.waits(), self.waits()
        first.addErrback(lambda _: second.cancel())
        self.turns.refuse("a", NotChecked("enough"))
        self.failureResultOf(second, CancelledError)
        self.turns.over("a")
        self.assertNothingLeft()

    def test_bounds(self) -> None:
        """
        So many may wait, and a quarter of them from one source.
        """
        self.ready = 5
        waiting = []
        for source in "abcd":
            waiting += [self.waits(source), self.waits(source)]
            if source != "d":
                self.assertRaises(NotChecked, self.turns.take, source)
        self.assertRaises(NotChecked, self.turns.take, "e")
        self.assertEqual(len(self.turns), 4)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        waiting.append(self.waits("e"))
        self.clock.advance(5)
        for turn in waiting[1:]:
            self.successResultOf(turn)
        for source in "abbccdde":
            self.turns.over(source)
        self.assertNothingLeft()

    def test_deep(self) -> None:
        """
        Those that are over at once, as what is remembered is, let each other in
        without going ever deeper.
        """
        self.turns = Turns(self.clock, lambda _: 1, lambda _: 0.0, 40_000)
        self.assertIsNone(self.turns.take("a"))
        seen: list[int] = []

        def over(_: None, number: int) -> None:
            seen.append(number)
            self.turns.over("a")

        for number in range(10_000):
            self.waits().addCallback(over, number)
        self.turns.over("a")
        self.assertEqual(seen, list(range(10_000)))
        self.assertNothingLeft()
