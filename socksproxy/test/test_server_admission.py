"""
Tests for L{socksproxy.server.admission}.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.server.admission import Admission, descriptorLimit, openDescriptors


class FakePort:
    """
    A listening port.
    """

    reading = True
    numberAccepts = 100

    def startReading(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False


class FakeSession:
    """
    A session.
    """

    turns = 0
    isConnected = False

    def turnCame(self) -> None:
        self.turns += 1


class AdmissionTests(SynchronousTestCase):
    """
    How many are let in.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.port = FakePort()
        self.open = 0

    def makeAdmission(self, most: int, descriptors: int | None = None) -> Any:
        """
        An admission with a port.
        """
        admission = Admission(self.clock, most, descriptors, lambda: self.open)
        admission.listening(self.port)
        admission.listening(object())  # a port that cannot be paused
        return admission

    def test_noLimit(self) -> None:
        """
        Without limits all are let in.
        """
        admission = self.makeAdmission(0)
        for _ in range(100):
            self.assertTrue(admission.opened(FakeSession()))
        self.assertTrue(self.port.reading)

    def test_othersWait(self) -> None:
        """
        When there are as many as there may be, the ports stop to accept, and
        who was accepted by then waits for its turn, in order.
        """
        admission = self.makeAdmission(2)
        first, second, third, fourth = (FakeSession() for _ in range(4))
        self.assertTrue(admission.opened(first))
        self.assertTrue(self.port.reading)
        self.assertTrue(admission.opened(second))
        self.assertFalse(self.port.reading)
        self.assertFalse(admission.opened(third))
        self.assertFalse(admission.opened(fourth))
        self.assertEqual(len(admission), 4)
        self.assertEqual(set(admission), {first, second, third, fourth})
        admission.closed(first)
        self.assertEqual((third.turns, fourth.turns), (1, 0))
        self.assertFalse(self.port.reading)
        admission.closed(second)
        self.assertEqual((third.turns, fourth.turns), (1, 1))
        admission.closed(third)
        self.assertTrue(self.port.reading)

    def test_leavesWhileWaiting(self) -> None:
        """
        Who leaves while it waits gets no turn.
        """
        admission = self.makeAdmission(1)
        first, second = FakeSession(), FakeSession()
        admission.opened(first)
        admission.opened(second)
        admission.closed(second)
        self.assertFalse(self.port.reading)
        admission.closed(first)
        self.assertEqual(second.turns, 0)
        self.assertEqual(len(admission), 0)

    def test_descriptors(self) -> None:
        """
        The ports stop to accept before descriptors run out, those that the
        sessions will still need counted in, and go on when a session ends.
        """
        admission = self.makeAdmission(0, 64)  # of which 8 are kept back
        sessions = [FakeSession() for _ in range(23)]
        self.open = 10
        for session in sessions[:22]:
            self.open += 1
            self.assertTrue(admission.opened(session))
        self.assertTrue(self.port.reading)
        self.open += 1
        self.assertTrue(admission.opened(sessions[22]))
        self.assertFalse(self.port.reading)
        admission.closed(sessions[0])
        self.assertTrue(self.port.reading)
        self.assertEqual(self.port.numberAccepts, 1)

    def test_fewerInARow(self) -> None:
        """
        The fewer descriptors are left, the fewer clients are accepted before
        it is looked at again.
        """
        admission = self.makeAdmission(0, 1024)
        self.assertEqual(self.port.numberAccepts, 100)
        self.open = 860
        admission.opened(FakeSession())
        self.clock.advance(0)
        self.assertEqual(self.port.numberAccepts, (1024 - 64 - 860 - 1) // 4)
        admission.opened(FakeSession())
        admission.opened(FakeSession())
        admission.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_took(self) -> None:
        """
        Sessions that need more than others can make them run short, too.
        """
        admission = self.makeAdmission(0, 80)
        admission.opened(FakeSession())
        self.open = 60
        admission.took(2)
        self.assertTrue(self.port.reading)
        self.open = 70
        admission.took(80)
        self.assertFalse(self.port.reading)
        admission.took(-80)
        self.open = 10
        self.clock.advance(1)
        self.assertTrue(self.port.reading)
        admission.close()

    def test_tookLess(self) -> None:
        """
        What sessions could have taken and have not is no more, when they are over,
        than what there is.
        """
        admission = self.makeAdmission(0, 80)
        sessions = [FakeSession() for _ in range(20)]
        for session in sessions:
            self.open += 2
            session.isConnected = True
            admission.opened(session)
            admission.took(2)
        admission._measure()
        for session in sessions:
            self.open -= 2
            admission.took(-2)
            admission.closed(session)
            self.assertLessEqual(admission._left, 70 - self.open)
        self.assertEqual(self.open, 0)
        admission.close()

    def test_connectedSessionsNeedNoMore(self) -> None:
        """
        A session that has its target's descriptor is not counted twice.
        """
        admission = self.makeAdmission(0, 64)
        for _ in range(26):
            session = FakeSession()
            self.open += 1
            admission.opened(session)
            self.open += 1
            session.isConnected = True
        self.assertTrue(self.port.reading)

    def test_bothLimits(self) -> None:
        """
        The count of descriptors holds with a limit of clients, too, and when
        some had to wait.
        """
        admission = self.makeAdmission(2, 64)
        self.open = 20
        lefts = set()
        for _ in range(100):
            sessions = [FakeSession() for _ in range(4)]
            for session in sessions:
                admission.opened(session)
            for session in sessions:
                admission.closed(session)
            lefts.add(admission._left)
        self.assertEqual(len(lefts), 1)

    def test_triesAgain(self) -> None:
        """
        When no session ends, somebody else may have freed descriptors: it is
        looked at from time to time.
        """
        admission = self.makeAdmission(0, 64)
        self.open = 60
        admission.opened(FakeSession())
        self.assertFalse(self.port.reading)
        self.clock.advance(1)
        self.assertFalse(self.port.reading)
        self.open = 40
        self.clock.advance(0.9)
        self.assertFalse(self.port.reading)
        self.clock.advance(0.1)
        self.assertTrue(self.port.reading)

    def test_saysSoOnce(self) -> None:
        """
        It is logged once a minute at the most.
        """
        admission = self.makeAdmission(0, 64)
        with capturedLogs() as events:
            for _ in range(59):
                admission.descriptorsRanShort()
                admission.descriptorsRanShort()
                self.clock.advance(1)
            self.assertEqual(len(events), 1)
            self.clock.advance(1)
            admission.descriptorsRanShort()
            self.assertEqual(len(events), 2)
        admission.close()

    def test_notListening(self) -> None:
        """
        Ports that are closed are left alone.
        """
        admission = self.makeAdmission(1)
        session = FakeSession()
        admission.opened(session)
        admission.notListening()
        admission.closed(session)
        self.assertFalse(self.port.reading)

    def test_openDescriptors(self) -> None:
        """
        What is open is counted where there is a way to.
        """
        before = openDescriptors()
        self.assertGreater(before, 2)
        with open(os.devnull):
            self.assertEqual(openDescriptors(), before + 1)

        def missing(path: str) -> None:
            raise FileNotFoundError

        self.patch(os, "listdir", missing)
        self.assertEqual(openDescriptors(), 0)

    def test_descriptorLimit(self) -> None:
        """
        The limit is the soft one; there may be none.
        """
        import resource

        self.patch(resource, "getrlimit", lambda which: (123, 456))
        self.assertEqual(descriptorLimit(), 123)
        self.patch(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
        self.assertIsNone(descriptorLimit())
