"""
Tests for L{socksproxy.server.clientend}, in memory.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from socksproxy.errors import ConnectionRefused
from socksproxy.server.clientend import WAITING
from socksproxy.test.test_server_forward import (
    CHUNKED,
    GET,
    OK,
    OTHER,
    PASSED_ON,
    POST,
    TOLD,
    ForwardTestCase,
)
from socksproxy.test.test_server_http import withLine


class StrictnessTests(ForwardTestCase):
    """
    What could be read in two ways is not passed on.
    """

    def test_refused(self) -> None:
        """
        Such requests get 400, or whatever says it better, and the end; nothing of
        them reaches a target.
        """
        for data, status in (
            (withLine(POST, b"Transfer-Encoding: chunked\r\n"), 400),
            (withLine(POST, b"Content-Length: 6\r\n"), 400),
            (POST.replace(b": 5", b": +5"), 400),
            (POST.replace(b": 5", b": 5, 6"), 400),
            (POST.replace(b": 5", b": -1"), 400),
            (CHUNKED.replace(b"chunked", b"gzip, chunked"), 501),
            (CHUNKED.replace(b"chunked", b"xchunked"), 501),
            (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
            (POST.replace(b"Content-Length", b"Content-Length "), 400),
            (withLine(GET, b"Host: example.org\r\n"), 400),
            (withLine(GET, b"X: a\0b\r\n"), 400),
            (withLine(GET, b"X: a\rb\r\n"), 400),
            (withLine(GET, b"no colon\r\n"), 400),
            (GET.replace(b"Host: example.com\r\n", b""), 400),
            (GET.replace(b"/a?b", b"/a b"), 400),
            (GET.replace(b"HTTP/1.1", b"HTTP/2.0"), 400),
            (GET.replace(b"example.com/", b"u:p@example.com/"), 400),
            (GET.replace(b"http:", b"https:"), 400),
            (GET.replace(b"http:", b"ftp:"), 400),
            (GET.replace(b"http://example.com/a?b", b"*"), 400),
            (GET.replace(b"http://example.com/a?b", b"/"), 400),
            (b"GARBAGE\r\n\r\n", 400),
        ):
            _, transport = self.client(data)
            self.assertEqual(self.connector.attempts, [], data)
            self.assertPage(transport, status)

    def test_endlessHead(self) -> None:
        """
        A head that does not end is not kept.
        """
        session, transport = self.client(GET[:-2] + b"X: ")
        for _ in range(70):
            session.dataReceived(b"x" * 1000)
        self.assertPage(transport, 431)

    def test_unaskedWhileIdle(self) -> None:
        """
        A target that says something between two requests is not heard.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        attempt.protocol.dataReceived(OK)
        self.assertTrue(attempt.transport.aborted)
        session.dataReceived(GET)
        self.assertEqual(len(self.connector.attempts), 2)
        self.assertEqual(transport.value(), TOLD)

    def test_bareNewlines(self) -> None:
        """
        What is lenient in what came is strict in what goes on.
        """
        _, _, attempt = self.asked(GET.replace(b"\r\n", b"\n"))
        self.assertEqual(attempt.transport.value(), PASSED_ON)

    def test_garbageAfterHead(self) -> None:
        """
        A refusal of what follows a HEAD has a body again.
        """
        session, transport, attempt = self.asked(GET.replace(b"GET", b"HEAD"))
        attempt.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        transport.clear()
        session.dataReceived(b"\r\n")
        self.assertPage(transport, 400)

    def test_folded(self) -> None:
        """
        A folded line is one line then (RFC 9112 section 5.2).
        """
        fields = self.passedOn(withLine(GET, b"X-Long: a\r\n  b\r\n"))
        self.assertEqual(fields[b"x-long"], b"a b")

    def test_badChunk(self) -> None:
        """
        A body that is not chunked as it should be ends there.
        """
        for chunk in (b"zz\r\n", b"-1\r\n", b"5\r\nhelloXX"):
            _, transport, attempt = self.asked(CHUNKED, chunk)
            self.assertTrue(attempt.transport.aborted)
            self.assertPage(transport, 400)

    def test_greeting(self) -> None:
        """
        Whoever takes the port for a web site is told what it is.
        """
        _, transport = self.client(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"This is a proxy", transport.value())
        self.assertPage(transport, 400)

    def test_responseOfTwoLengths(self) -> None:
        """
        A response with two opinions on its length is not believed at all.
        """
        _, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(
            OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\n")
        )
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertPage(transport, 502, isLast=False)


class FlowTests(ForwardTestCase):
    """
    Nobody has to keep what the other side does not take.
    """

    def test_slowTarget(self) -> None:
        """
        The client is read as fast as the target takes it.
        """
        _, transport, attempt = self.asked(POST.replace(b": 5", b": 500"))
        self.assertEqual(transport.producerState, "producing")
        producer: Any = attempt.transport.producer
        producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(transport.producerState, "producing")

    def test_slowClient(self) -> None:
        """
        The target is read as fast as the client takes it; that holds for the next
        one, too.
        """
        session, transport, attempt = self.asked(GET)
        producer: Any = transport.producer
        producer.pauseProducing()
        self.assertEqual(attempt.transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(attempt.transport.producerState, "producing")
        attempt.protocol.dataReceived(OK)
        session.dataReceived(OTHER)
        producer.pauseProducing()
        other = self.connector.attempts[1]
        self.assertEqual(other.connect().producerState, "paused")

    def test_doesNotRead(self) -> None:
        """
        A client that does not read its answers is not given more of them.
        """
        session, transport = self.client(GET.replace(b".com/", b".com:0/"))
        self.assertPage(transport, 403, isLast=False)
        producer: Any = transport.producer
        producer.pauseProducing()
        session.dataReceived(GET.replace(b".com/", b".com:0/") * 2000)
        self.assertPage(transport, 403, isLast=False)
        self.assertEqual(transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(transport.value().count(b"HTTP/1.1 403 Forbidden\r\n"), 2001)
        self.assertEqual(transport.producerState, "producing")

    def test_readsInTheMiddle(self) -> None:
        """
        What it sends of a request that is under way is taken all the same.
        """
        session, transport, attempt = self.asked(POST, b"12")
        producer: Any = transport.producer
        producer.pauseProducing()
        session.dataReceived(b"345")
        self.assertTrue(attempt.transport.value().endswith(b"\r\n\r\n12345"))

    def test_tooEarly(self) -> None:
        """
        A client that sends more than is due has to wait.
        """
        session, transport, _attempt = self.asked(GET)
        for _ in range(WAITING // 1000 + 1):
            session.dataReceived(b"x" * 1000)
        self.assertEqual(transport.producerState, "paused")

    def test_resumedForTheNext(self) -> None:
        """
        With its turn it is read again.
        """
        session, transport, attempt = self.asked(GET)
        session.dataReceived(GET * (WAITING // len(GET) + 1))
        self.assertEqual(transport.producerState, "paused")
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.producerState, "producing")

    def test_drainedAtOnce(self) -> None:
        """
        Who waits for nothing is not waited for, and whoever does is answered first.
        """
        idle, idleTransport = self.client(b"G", b"ET")
        session, transport, attempt = self.asked(GET)
        drained = self.factory.drain(5)
        self.assertTrue(idleTransport.writeEnded)
        self.assertFalse(transport.writeEnded)
        attempt.protocol.dataReceived(OK)
        fields = self.headOf(transport.value())
        self.assertEqual(fields[b"connection"], b"close")
        self.assertTrue(transport.writeEnded)
        self.assertTrue(attempt.transport.disconnecting)
        self.assertNoResult(drained)
        attempt.transport.lose(attempt.protocol)
        for each, its in ((idle, idleTransport), (session, transport)):
            its.lose(each)
        self.successResultOf(drained)

    def test_drained(self) -> None:
        """
        When the proxy stops, what is left after the grace period is ended.
        """
        session, transport, attempt = self.asked(GET)
        drained: Deferred[Any] = self.factory.drain(5)
        self.clock.advance(5)
        self.assertTrue(transport.aborted)
        self.assertTrue(attempt.transport.aborted)
        transport.lose(session, ConnectionLost())
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.successResultOf(drained)


class DeadlineTests(ForwardTestCase):
    """
    No wait for a client is for ever.
    """

    def test_restOfTheRequest(self) -> None:
        """
        Once it was answered the rest of its request has to come, be it read for
        nothing or sent on.
        """
        for isConnected in (True, False):
            session, transport = self.client(POST, b"1")
            attempt = self.connector.attempts[-1]
            if isConnected:
                attempt.connect()
                attempt.protocol.dataReceived(OK)
            else:
                attempt.fail(ConnectionRefused("no"))
            self.clock.advance(29)
            session.dataReceived(b"2")
            self.clock.advance(29)
            self.assertFalse(transport.writeEnded)
            self.clock.advance(1)
            self.assertTrue(transport.writeEnded)
            self.assertEqual(attempt.transport.aborted, isConnected)

    def test_slowUpload(self) -> None:
        """
        Before that it has the time that it wants.
        """
        session, transport, attempt = self.asked(POST, b"1")
        self.clock.pump([100] * 4)
        session.dataReceived(b"2345")
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)

    def test_restInTime(self) -> None:
        """
        With the rest of the request the next one has all of its time.
        """
        session, transport, attempt = self.asked(POST, b"1")
        attempt.protocol.dataReceived(OK)
        self.clock.advance(29)
        session.dataReceived(b"2345")
        self.clock.advance(29)
        self.assertFalse(transport.writeEnded)
        self.clock.advance(1)
        self.assertTrue(transport.writeEnded)

    def test_slowReader(self) -> None:
        """
        What a client was told is not taken back because it reads slowly: the
        system goes on with it after the connection is closed.
        """
        request = withLine(GET, b"Connection: close\r\n")
        _, transport, attempt = self.asked(request)
        attempt.protocol.dataReceived(OK)
        self.clock.advance(9)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborted)

    def test_refused(self) -> None:
        """
        Who was told nothing but that it is refused is not waited for so long.
        """
        _, transport = self.client(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertPage(transport, 400)
        self.clock.advance(9)
        self.assertFalse(transport.aborted)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)

    def test_noReader(self) -> None:
        """
        It ends at some time all the same, also where the client has ended its side.
        """
        for hasEnded in (False, True):
            session, transport, attempt = self.asked(GET)
            if hasEnded:
                session.readConnectionLost()
            attempt.protocol.dataReceived(OK)
            if not hasEnded:
                self.clock.advance(30)
            self.clock.advance(2000)
            self.assertTrue(transport.disconnecting)
            self.assertFalse(transport.aborted)
            self.clock.pump([450] * 5)
            self.assertTrue(transport.aborted)
            attempt.transport.lose(attempt.protocol)
            transport.lose(session, ConnectionLost())
        self.assertEqual(len(self.factory.admission), 0)
