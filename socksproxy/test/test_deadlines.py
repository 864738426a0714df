"""
Tests for L{socksproxy.deadlines}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.deadlines import Deadlines


class DeadlinesTests(SynchronousTestCase):
    """
    What was started is due the same time later, unless it is stopped.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 10, self.expired.append)

    def test_expires(self) -> None:
        """
        It expires when its time is over, once, and no sooner.
        """
        self.deadlines.start("a")
        self.assertEqual(len(self.deadlines), 1)
        self.clock.advance(9.75)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.25)
        self.assertEqual(self.expired, ["a"])
        self.assertEqual(len(self.deadlines), 0)
        self.clock.advance(100)
        self.assertEqual(self.expired, ["a"])

    def test_eachItsOwn(self) -> None:
        """
        Each has its own deadline, for all that they share a delayed call.
        """
        for name in "abc":
            self.deadlines.start(name)
            self.clock.advance(3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for expected in ([], ["a"], ["a"], ["a"], ["a", "b"], ["a", "b"]):
            self.assertEqual(self.expired, expected)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.expired, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """
        What is stopped does not expire, and the next one still does in time;
        stopping twice, or what was never started, is no fault.
        """
        self.deadlines.start("a")
        self.clock.advance(1)
        self.deadlines.start("b")
        self.deadlines.stop("a")
        self.deadlines.stop("a")
        self.deadlines.stop("c")
        self.clock.advance(9.75)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.25)
        self.assertEqual(self.expired, ["b"])

    def test_allStopped(self) -> None:
        """
        With nothing left no delayed call stays for long, and a later start
        has its whole time.
        """
        self.deadlines.start("a")
        self.deadlines.stop("a")
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.start("b")
        self.clock.advance(9.75)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.25)
        self.assertEqual(self.expired, ["b"])

    def test_startedAgain(self) -> None:
        """
        What is started again has its whole time from then on, and its place
        in the order.
        """
        self.deadlines.start("a")
        self.deadlines.start("b")
        self.clock.advance(5)
        self.deadlines.start("a")
        self.assertEqual(len(self.deadlines), 2)
        self.clock.advance(5)
        self.assertEqual(self.expired, ["b"])
        self.clock.advance(4.75)
        self.assertEqual(self.expired, ["b"])
        self.clock.advance(0.25)
        self.assertEqual(self.expired, ["b", "a"])

    def test_switchedOff(self) -> None:
        """
        With 0 seconds nothing expires and nothing is remembered.
        """
        deadlines: Deadlines[str] = Deadlines(self.clock, 0, self.expired.append)
        deadlines.start("a")
        self.assertEqual(len(deadlines), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        deadlines.stop("a")
        deadlines.close()

    def test_close(self) -> None:
        """
        Closed, it has forgotten everything and leaves no delayed call behind;
        it can be closed twice, and used again.
        """
        self.deadlines.start("a")
        self.deadlines.close()
        self.deadlines.close()
        self.assertEqual(len(self.deadlines), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.start("b")
        self.clock.advance(10)
        self.assertEqual(self.expired, ["b"])

    def _whenExpires(self, first: str, act: str, *others: str) -> Deadlines[str]:
        """
        Deadlines of which the first one to expire does C{act} to the others.
        """

        def expired(name: str) -> None:
            self.expired.append(name)
            if name == first:
                for other in others:
                    getattr(deadlines, act)(other)

        deadlines: Deadlines[str] = Deadlines(self.clock, 10, expired)
        return deadlines

    def test_stoppedByAnother(self) -> None:
        """
        One that expires can stop another that is due at the same time.
        """
        deadlines = self._whenExpires("a", "stop", "b")
        for name in "abc":
            deadlines.start(name)
        self.clock.advance(10)
        self.assertEqual(self.expired, ["a", "c"])

    def test_startedByAnother(self) -> None:
        """
        One that expires can start another anew, which is due at the same time
        and then has its whole time.
        """
        deadlines = self._whenExpires("a", "start", "b")
        for name in "abc":
            deadlines.start(name)
        self.clock.advance(10)
        self.assertEqual(self.expired, ["a", "c"])
        self.clock.advance(10)
        self.assertEqual(self.expired, ["a", "c", "b"])

    def test_startedByItself(self) -> None:
        """
        One that expires can start itself again.
        """
        deadlines = self._whenExpires("a", "start", "a")
        deadlines.start("a")
        for count in (1, 2, 3):
            self.clock.advance(10)
            self.assertEqual(self.expired, ["a"] * count)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from(("start", "stop")), st.sampled_from("abc")),
                st.tuples(st.just("advance"), st.sampled_from((0.5, 1, 4, 10, 25))),
            )
        )
    )
    def test_model(self, steps: list[tuple[str, str | float]]) -> None:
        """
        Whatever is started and stopped, it expires when a delayed call of its
        own would have expired, and there is never more than one such call.
        """
        clock, found = Clock(), list[tuple[str, float]]()
        deadlines: Deadlines[str] = Deadlines(
            clock, 10, lambda name: found.append((name, clock.seconds()))
        )
        due: dict[str, float] = {}
        expected: list[tuple[str, float]] = []
        for act, what in steps:
            if act == "advance":
                for _ in range(int(float(what) * 2)):
                    clock.advance(0.5)
                    for name in [n for n, at in due.items() if at == clock.seconds()]:
                        expected.append((name, due.pop(name)))
            else:
                getattr(deadlines, act)(what)
                due.pop(str(what), None)
                if act == "start":
                    due[str(what)] = clock.seconds() + 10
            self.assertEqual(found, expected)
            self.assertEqual(len(deadlines), len(due))
            self.assertLessEqual(len(clock.getDelayedCalls()), 1)
