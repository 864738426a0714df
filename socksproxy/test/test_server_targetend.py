"""
Tests for L{socksproxy.server.targetend}, in memory.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import capturedLogs, formatEvent

from socksproxy.server.factory import Limits
from socksproxy.test.test_server_forward import (
    CHUNKED,
    GET,
    OK,
    OTHER,
    POST,
    TOLD,
    ForwardTestCase,
)

CONNECT = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
UNTIL_THE_END = b"HTTP/1.0 200 OK\r\n\r\nhello"


class FakeSocket:
    """
    Tells of the error that a socket has.
    """

    def __init__(self, error: int) -> None:
        self._error = error

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (SOL_SOCKET, SO_ERROR)
        return self._error


class EndTests(ForwardTestCase):
    """
    How a response comes to its end with the connection.
    """

    def test_reset(self) -> None:
        """
        A reset that a reactor takes for an end is none.
        """
        for error in (0, 104):
            _, transport, attempt = self.asked(GET)
            target: Any = attempt.transport
            target.socket = FakeSocket(error)
            attempt.protocol.dataReceived(UNTIL_THE_END)
            attempt.protocol.readConnectionLost()
            attempt.transport.lose(attempt.protocol, ConnectionLost())
            self.assertEqual(transport.aborted, error != 0)
            self.assertEqual(transport.value().endswith(b"0\r\n\r\n"), error == 0)

    def test_ofTLS(self) -> None:
        """
        TLS tells of no end before the connection is closed.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(UNTIL_THE_END)
        attempt.transport.lose(attempt.protocol)
        self.assertTrue(transport.value().endswith(b"hello\r\n0\r\n\r\n"))
        self.assertFalse(transport.aborted)
        session.dataReceived(GET)
        self.assertEqual(len(self.connector.attempts), 2)

    def test_atOnce(self) -> None:
        """
        A connection can be gone before its connector tells of it.
        """
        for request in (GET, POST + b"12345"):
            session, transport = self.client(request)
            attempt = self.connector.attempts[-1]
            peer = attempt.transport.getPeer()
            protocol: Any = attempt._protocolFactory.buildProtocol(peer)
            protocol.makeConnection(attempt.transport)
            attempt.transport.lose(protocol, ConnectionLost())
            attempt.result.callback(protocol)
            self.assertPage(transport, 502, isLast=False)
            transport.lose(session)
        self.assertEqual(len(self.factory.admission), 0)


class FloodTests(ForwardTestCase):
    """
    A target that says more than it was asked.
    """

    def test_duringTheRequest(self) -> None:
        """
        What comes behind a response is not kept, also while its request is not
        complete.
        """
        session, transport, attempt = self.asked(POST, b"12")
        attempt.protocol.dataReceived(OK)
        attempt.protocol.dataReceived(b"x")
        self.assertTrue(attempt.transport.aborted)
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        session.dataReceived(b"345" + GET)
        self.assertEqual(len(self.connector.attempts), 2)
        self.assertEqual(transport.value(), TOLD)


class SilenceTests(ForwardTestCase):
    """
    Targets that have come to say nothing.
    """

    def setUp(self) -> None:
        super().setUp()
        self.factory = self.makeFactory(limits=Limits(idleTimeout=60))

    def test_beforeTheResponse(self) -> None:
        """
        A client that was told nothing is told that its target has not answered.
        """
        for request in (GET, POST + b"12345"):
            with capturedLogs() as events:
                session, transport, attempt = self.asked(request)
                self.clock.pump([10] * 8)
                self.assertTrue(attempt.transport.aborted)
                attempt.transport.lose(attempt.protocol, ConnectionLost())
            self.assertPage(transport, 504, isLast=False)
            self.assertIn(": idle for too long, ", formatEvent(events[-1]))
            transport.clear()
            session.dataReceived(GET)
            self.connector.attempts[-1].connect()
            self.connector.attempts[-1].protocol.dataReceived(OK)
            self.assertEqual(transport.value(), TOLD)

    def test_moving(self) -> None:
        """
        With every byte its time begins anew.
        """
        _, transport, attempt = self.asked(GET)
        for octet in OK:
            self.clock.pump([10] * 5)
            attempt.protocol.dataReceived(bytes((octet,)))
        self.assertEqual(transport.value(), TOLD)

    def test_notRepeated(self) -> None:
        """
        A request is not sent again to a target that is silent.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        transport.clear()
        session.dataReceived(GET)
        self.clock.pump([10] * 8)
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertPage(transport, 504, isLast=False)
        self.assertEqual(len(self.connector.attempts), 1)

    def test_inTheMiddle(self) -> None:
        """
        What has begun ends in a reset.
        """
        _, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK[:-1])
        self.clock.pump([10] * 8)
        self.assertTrue(attempt.transport.aborted)
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertTrue(transport.aborted)

    def test_betweenRequests(self) -> None:
        """
        A connection that nobody uses is closed, and the client does not notice.
        """
        self.factory = self.makeFactory(
            limits=Limits(idleTimeout=60, handshakeTimeout=300)
        )
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        self.clock.pump([10] * 8)
        self.assertTrue(attempt.transport.aborted)
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertEqual(transport.value(), TOLD)
        session.dataReceived(GET)
        self.assertEqual(len(self.connector.attempts), 2)


class CloseTests(ForwardTestCase):
    """
    Connections that nobody needs any more.
    """

    def test_doesNotTake(self) -> None:
        """
        A target that does not take what it was sent does not hold its connection,
        whether the client has left or is still there.
        """
        for leaves in (True, False):
            session, transport, attempt = self.asked(POST + b"12345")
            if leaves:
                transport.lose(session)
            else:
                attempt.protocol.dataReceived(OK)
                session.dataReceived(OTHER)
            self.assertTrue(attempt.transport.disconnecting)
            self.clock.advance(9)
            self.assertFalse(attempt.transport.aborted)
            self.clock.advance(1)
            self.assertTrue(attempt.transport.aborted)

    def test_unlimited(self) -> None:
        """
        It has all the time where that is wanted.
        """
        self.factory = self.makeFactory(limits=Limits(closeTimeout=0))
        session, transport, attempt = self.asked(POST + b"12345")
        transport.lose(session)
        self.clock.pump([1000] * 5)
        self.assertFalse(attempt.transport.aborted)

    def test_stop(self) -> None:
        """
        The proxy does not wait for it when it stops.
        """
        self.factory = self.makeFactory(limits=Limits(closeTimeout=0))
        session, transport, attempt = self.asked(POST + b"12345")
        transport.lose(session)
        drained = self.factory.drain(5)
        self.clock.advance(5)
        self.assertTrue(attempt.transport.aborted)
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.successResultOf(drained)

    def test_beforeATunnel(self) -> None:
        """
        The session is over once: when the old connection is closed, too, and not
        with the tunnel that came after it.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        session.dataReceived(CONNECT)
        tunnel = self.connector.attempts[1]
        tunnel.connect()
        tunnel.transport.lose(tunnel.protocol)
        transport.lose(session)
        self.assertEqual(len(self.factory.admission), 1)
        attempt.transport.lose(attempt.protocol)
        self.assertEqual(len(self.factory.admission), 0)

    def test_stopWithATunnel(self) -> None:
        """
        All of them are ended when the proxy stops.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        session.dataReceived(CONNECT)
        tunnel = self.connector.attempts[1]
        tunnel.connect()
        self.factory.drain(5)
        self.clock.advance(5)
        transports: list[Any] = [transport, attempt.transport, tunnel.transport]
        self.assertEqual([each.aborted for each in transports], [True] * 3)

    def test_clientLeaves(self) -> None:
        """
        An exchange that is not complete ends with its client.
        """
        session, transport, attempt = self.asked(CHUNKED, b"5\r\nhel")
        transport.lose(session, ConnectionLost())
        self.assertTrue(attempt.transport.aborted)
