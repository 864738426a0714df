"""
Tests for L{socksproxy.server.admission}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.server.admission import Admission, descriptorLimit


class FakePort:
    """
    A listening port.
    """

    reading = True

    def startReading(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False


class FakeSession:
    """
    A session with a descriptor.
    """

    def __init__(self, fileno: int | None = None) -> None:
        self.turns = 0
        self.transport = self
        if fileno is not None:
            self.fileno = lambda: fileno

    def turnCame(self) -> None:
        self.turns += 1


class AdmissionTests(SynchronousTestCase):
    """
    How many are let in.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.port = FakePort()

    def makeAdmission(self, most: int, descriptors: int | None = None) -> Any:
        """
        An admission with a port.
        """
        admission = Admission(self.clock, most, descriptors)
        admission.listening(self.port)
        admission.listening(object())  # a port that cannot be paused
        return admission

    def test_noLimit(self) -> None:
        """
        Without limits all are let in.
        """
        admission = self.makeAdmission(0)
        for number in range(100):
            self.assertTrue(admission.opened(FakeSession(number)))
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
        sessions = [FakeSession(10 + number) for number in range(24)]
        for session in sessions[:22]:
            self.assertTrue(admission.opened(session))
        self.assertTrue(self.port.reading)
        self.assertTrue(admission.opened(sessions[22]))
        self.assertTrue(self.port.reading)
        self.assertTrue(admission.opened(sessions[23]))
        self.assertFalse(self.port.reading)
        admission.closed(sessions[0])
        self.assertTrue(self.port.reading)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectedSessionsNeedNoMore(self) -> None:
        """
        A session that has its target's descriptor is not counted twice.
        """
        admission = self.makeAdmission(0, 64)
        for number in range(0, 54, 2):
            session = FakeSession(number)
            admission.opened(session)
            admission.connected(session)
        self.assertTrue(self.port.reading)

    def test_triesAgain(self) -> None:
        """
        When no session ends, somebody else may have freed descriptors: it is
        tried again after a while.
        """
        admission = self.makeAdmission(0, 64)
        admission.opened(FakeSession(60))
        self.assertFalse(self.port.reading)
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

    def test_descriptorLimit(self) -> None:
        """
        The limit is the soft one; there may be none.
        """
        import resource

        self.patch(resource, "getrlimit", lambda which: (123, 456))
        self.assertEqual(descriptorLimit(), 123)
        self.patch(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
        self.assertIsNone(descriptorLimit())
