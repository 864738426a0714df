"""
Tests for L{socksproxy.auth.failures}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.auth.failures import Failures


class FailuresTests(SynchronousTestCase):
    """
    A bounded table of counts.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.failures = Failures(self.clock, 100, size=10)

    def test_counts(self) -> None:
        """
        Each key has its count, and the time of its last failure.
        """
        self.assertEqual(self.failures.of("a"), (0, 0.0))
        self.assertEqual(self.failures.add("a"), 1)
        self.clock.advance(7)
        self.assertEqual(self.failures.add("a"), 2)
        self.assertEqual(self.failures.add(b"b"), 1)
        self.assertEqual(self.failures.of("a"), (2, 7.0))
        self.assertEqual(self.failures.of(b"b"), (1, 7.0))

    def test_forgotten(self) -> None:
        """
        Some time after its last failure a key is forgotten.
        """
        self.failures.add("a")
        self.clock.advance(99)
        self.assertEqual(self.failures.add("a"), 2)
        self.clock.advance(99)
        self.assertEqual(self.failures.of("a")[0], 2)
        self.clock.advance(1)
        self.assertEqual(self.failures.of("a")[0], 0)
        self.assertEqual(len(self.failures), 0)
        self.assertEqual(self.failures.add("a"), 1)

    def test_clear(self) -> None:
        """
        A key can be forgotten at once, also one that is not there.
        """
        self.failures.add("a")
        self.failures.clear("a")
        self.failures.clear("a")
        self.assertEqual(self.failures.of("a")[0], 0)

    def test_bounded(self) -> None:
        """
        However many keys fail, there is room for so many only.
        """
        for number in range(1000):
            self.failures.add(str(number))
            self.assertLessEqual(len(self.failures), 10)

    def test_leastGoFirst(self) -> None:
        """
        A key with several failures cannot be flushed out by any number of keys
        with fewer.
        """
        self.failures.add("guesser")
        self.failures.add("guesser")
        for number in range(1000):
            self.failures.add(str(number))
        self.assertEqual(self.failures.of("guesser")[0], 2)

    def test_oldestGoFirst(self) -> None:
        """
        Of those with as many the oldest goes.
        """
        for number in range(11):
            self.failures.add(str(number))
            self.clock.advance(1)
        self.assertEqual(self.failures.of("0")[0], 0)
        self.assertEqual(self.failures.of("1")[0], 1)
        self.assertEqual(self.failures.of("10")[0], 1)
