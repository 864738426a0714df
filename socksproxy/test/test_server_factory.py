"""
Tests for L{socksproxy.server.factory} and the log lines of sessions.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.errors import ConnectionRefused
from socksproxy.interfaces import Granted, Identity
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.test.test_server_session import (
    GREETING,
    REQUEST,
    SELECTION,
    Scripted,
    SessionTestCase,
    SlowNegotiation,
)
from socksproxy.testing import MemoryTransport


class LimitsTests(SynchronousTestCase):
    """
    How long, and how many.
    """

    def test_negative(self) -> None:
        """
        No limit is negative, or not a number.
        """
        error = self.assertRaises(ValueError, Limits, idleTimeout=-1)
        self.assertEqual(str(error), "idleTimeout cannot be negative")
        self.assertRaises(ValueError, Limits, connectTimeout=float("nan"))

    def test_defaults(self) -> None:
        """
        A factory of nothing but a reactor is a sensible server.
        """
        from twisted.internet import reactor

        factory = SOCKS5Factory(reactor)
        self.assertEqual([a.method for a in factory.authenticators], [0])
        self.assertGreater(factory.limits.handshakeTimeout, 0)
        self.assertGreater(factory.limits.connectTimeout, 0)


class DrainTests(SessionTestCase):
    """
    How it ends.
    """

    def test_nobodyThere(self) -> None:
        """
        Without sessions there is nothing to wait for.
        """
        self.successResultOf(self.factory.drain(5))

    def test_inTime(self) -> None:
        """
        When all sessions end by themselves, that was it.
        """
        session, transport = self.client(GREETING)
        drained = self.factory.drain(5)
        self.clock.advance(4)
        self.assertNoResult(drained)
        transport.lose(session)
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """
        Those that do not are aborted, whatever they are at.
        """
        handshaking, handshakingTransport = self.client(GREETING)
        session, transport, attempt = self.relaying()
        drained = self.factory.drain(5)
        self.clock.advance(5)
        self.assertTrue(handshakingTransport.aborted)
        self.assertTrue(transport.aborted)
        self.assertTrue(attempt.transport.aborted)
        self.assertNoResult(drained)
        handshakingTransport.lose(handshaking)
        transport.lose(session)
        self.assertNoResult(drained)
        attempt.transport.lose(attempt.protocol)
        self.successResultOf(drained)

    def test_waitsForItsTurn(self) -> None:
        """
        With a limit, more clients have to wait; they are served in turn, and
        what they sent meanwhile counts.
        """
        self.factory = self.makeFactory(limits=Limits(maxConnections=1))
        first, firstTransport = self.client(GREETING)
        _, secondTransport = self.client(GREETING)
        self.assertEqual(secondTransport.producerState, "paused")
        self.assertEqual(secondTransport.writes, [])
        self.clock.advance(20)
        firstTransport.lose(first)
        self.assertEqual(secondTransport.producerState, "producing")
        self.assertEqual(secondTransport.writes, [SELECTION])
        self.clock.advance(20)
        self.assertFalse(secondTransport.writeEnded)
        third, thirdTransport = self.client()
        third.readConnectionLost()
        self.assertTrue(thirdTransport.disconnecting)

    def test_stopFactory(self) -> None:
        """
        A factory that is not listened with any more leaves nothing in the
        reactor when its last session is over.
        """
        self.factory.doStart()
        session, transport = self.client(GREETING)
        transport.lose(session)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.factory.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KeepAliveTests(SessionTestCase):
    """
    Sessions that last.
    """

    def connected(self) -> list[float]:
        """
        A session is connected now.

        @return: when its client's connection was kept alive.
        """
        kept: list[float] = []
        clock = self.clock

        class Transport(MemoryTransport):
            def setTcpKeepAlive(self, enabled: bool) -> None:
                kept.append(clock.seconds())
                raise OSError("it is gone")

        self.client(GREETING, REQUEST, transport=Transport())
        self.connector.attempts[-1].connect()
        return kept

    def test_once(self) -> None:
        """
        Each is kept alive once, in its second minute, whatever its age, and whatever
        becomes of others.
        """
        steps = (0, 0, 1, 58.9, 0.1, 0.2, 29.8, 30, 0, 0.3, 60, 119.7, 1, 1, 1, 60.1)
        every = []
        for step in steps:
            self.clock.advance(step)
            every.append((self.clock.seconds(), self.connected()))
            # One that is over.
            session, transport, attempt = self.relaying()
            attempt.transport.lose(attempt.protocol)
            transport.lose(session)
        for _ in range(1500):
            self.clock.advance(0.1)
        for began, kept in every:
            [when] = kept
            self.assertGreaterEqual(round(when - began, 6), 60)
            self.assertLess(when - began, 120.2)

    def test_late(self) -> None:
        """
        What a late clock has missed is made up for.
        """
        one = self.connected()
        self.clock.advance(1)
        other = self.connected()
        self.clock.advance(500)
        third = self.connected()
        self.clock.advance(500)
        self.clock.advance(500)
        self.assertEqual((one, other, third), ([501], [501], [1001]))


class LogTests(SessionTestCase):
    """
    What the operator is told.
    """

    def setUp(self) -> None:
        super().setUp()
        capturing = capturedLogs()
        self.events: Any = capturing.__enter__()
        self.addCleanup(capturing.__exit__, None, None, None)

    def lines(self) -> list[str]:
        """
        The log so far.
        """
        return [formatEvent(event) for event in self.events]

    def test_session(self) -> None:
        """
        One line when a session starts to relay, one when it is over.
        """
        session, transport, attempt = self.relaying()
        session.dataReceived(b"12345")
        attempt.protocol.dataReceived(b"123")
        self.clock.advance(1.5)
        start = "192.0.2.2:40000 - CONNECT 198.51.100.2:80 via 198.51.100.2:80"
        self.assertEqual(self.lines(), [start])
        transport.lose(session)
        attempt.transport.lose(attempt.protocol)
        self.assertEqual(
            self.lines()[1:],
            [f"{start}: closed, 5 bytes sent, 3 received in 1.500 s"],
        )
        end = self.events[1]
        self.assertEqual((end["sent"], end["received"]), (5, 3))
        self.assertEqual((end["seconds"], end["reason"]), (1.5, "closed"))

    def test_refused(self) -> None:
        """
        One line for a request that was not granted, with its reply.
        """
        self.client(GREETING, REQUEST)
        self.connector.attempts[0].fail(ConnectionRefused())
        self.assertEqual(
            self.lines(),
            [
                "192.0.2.2:40000 - CONNECT 198.51.100.2:80 refused: "
                "ConnectionRefused (reply 05)"
            ],
        )

    def test_refusedEarly(self) -> None:
        """
        One line for a client that did not come to a request.
        """
        self.client(b"\x05\x00")
        self.client(b"x")
        self.assertEqual(
            self.lines(),
            [
                "192.0.2.2:40000 refused: no acceptable authentication method",
                "192.0.2.2:40000 refused: first byte 0x78 is of no known protocol",
            ],
        )

    def test_unknownCommand(self) -> None:
        """
        A command that is not known is logged by its number.
        """
        self.client(GREETING, b"\x05\xaa" + REQUEST[2:])
        self.assertIn(" 0xaa 198.51.100.2:80 refused", self.lines()[0])

    def test_veryMany(self) -> None:
        """
        When there are very many lines most of them share an event, in their
        order; each still has a line of its own.
        """
        for number in range(20):
            self.client(bytes((number + 6,)))
        self.assertEqual(len(self.lines()), 16)
        self.clock.advance(0.1)
        self.assertEqual(len(self.lines()), 17)
        self.assertEqual(
            self.lines()[16].split("\n"),
            [
                f"192.0.2.2:40000 refused: first byte {number:#04x} is of no known "
                "protocol"
                for number in range(22, 26)
            ],
        )
        self.assertEqual(len(self.events[16]["events"]), 4)
        self.client(b"x")
        self.assertEqual(len(self.lines()), 18)

    def test_goesOnLikeThis(self) -> None:
        """
        As long as there are very many, no line has an event of its own.
        """
        for _ in range(40):
            self.client(b"x")
        self.clock.advance(0.1)
        self.assertEqual(len(self.lines()), 17)
        for _ in range(3):
            self.client(b"x")
        self.assertEqual(len(self.lines()), 17)
        self.clock.advance(0.1)
        self.assertEqual(self.lines()[17].count("\n"), 2)
        self.client(b"x")
        self.assertEqual(len(self.lines()), 19)

    def test_oneTooMany(self) -> None:
        """
        A line that is alone at the end of the window is as any other, and none
        is lost when the server stops before.
        """
        self.factory.doStart()
        sessions = [self.client(b"x") for _ in range(17)]
        self.assertEqual(len(self.lines()), 16)
        self.factory.doStop()
        for session, transport in sessions:
            transport.lose(session)
        self.assertEqual(len(self.lines()), 17)
        self.assertEqual(self.lines()[16], self.lines()[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothingIsForged(self) -> None:
        """
        Neither a name nor a user can forge a line or a field of one.
        """
        negotiation = SlowNegotiation()
        negotiation.step.callback(Granted(Identity("eve - CONNECT\nx"), b"in"))
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        name = b"a b\r\nc\x1b[2J\xff"
        self.client(
            b"\x05\x01\x80x\x05\x01\x00\x03" + bytes((len(name),)) + name + b"\x00\x50"
        )
        self.connector.attempts[0].connect()
        self.assertEqual(
            self.lines(),
            [
                "192.0.2.2:40000 eve\\x20-\\x20CONNECT\\x0ax CONNECT "
                "a\\x20b\\x0d\\x0ac\\x1b[2J\\udcff:80 via 198.51.100.2:80"
            ],
        )

    def test_clients(self) -> None:
        """
        Clients may come from anywhere.
        """
        for address, text in (
            (IPv6Address("TCP", "2001:db8::1", 1), "[2001:db8::1]:1"),
            (UNIXAddress("/a b"), "unix:/a\\x20b"),
            (UNIXAddress(None), "unix:-"),
        ):
            self.client(b"x", transport=MemoryTransport(None, address))
            self.assertTrue(self.lines()[-1].startswith(f"{text} refused"))
