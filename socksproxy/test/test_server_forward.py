"""
Tests for L{socksproxy.server.forward}, in memory.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from socksproxy.errors import ConnectionRefused, TimedOut
from socksproxy.interfaces import ANONYMOUS, IConversation, ITargets, Request
from socksproxy.server.factory import Limits
from socksproxy.server.forward import DROPPED, Forwarding
from socksproxy.server.proxylogin import ProxyLogin
from socksproxy.server.session import Session
from socksproxy.server.targets import Targets
from socksproxy.test.test_server_http import HTTPTestCase, withLine
from socksproxy.testing import FakeAttempt, FakeSession, MemoryTransport
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

GET = b"GET http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\n\r\n"
OTHER = GET.replace(b"example.com", b"example.org")
POST = (
    b"POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\n"
    b"Content-Length: 5\r\n\r\n"
)
CHUNKED = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

PASSED_ON = b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nVia: 1.1 socksproxy\r\n\r\n"
TOLD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 socksproxy\r\n\r\nhello"


class ForwardTestCase(HTTPTestCase):
    """
    A client, and targets that the test plays.
    """

    def asked(self, *received: bytes) -> tuple[Session, MemoryTransport, FakeAttempt]:
        """
        A client that has sent C{received}, and the target that is connected then.
        """
        session, transport = self.client(*received)
        attempt = self.connector.attempts[-1]
        attempt.connect()
        return session, transport, attempt

    def headOf(self, data: bytes) -> dict[bytes, bytes]:
        """
        The fields of a message, in lower case, and its first line as that of no
        name.
        """
        lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
        fields = [line.partition(b": ")[::2] for line in lines[1:]]
        found = {name.lower(): value for name, value in fields}
        self.assertEqual(len(found), len(fields), lines)
        return {b"": lines[0], **found}

    def passedOn(self, request: bytes) -> dict[bytes, bytes]:
        """
        What a target gets of it.
        """
        attempt = self.asked(request)[2]
        return self.headOf(attempt.transport.value())

    def told(self, response: bytes, request: bytes = GET) -> dict[bytes, bytes]:
        """
        What a client gets of it.
        """
        _, transport, attempt = self.asked(request)
        attempt.protocol.dataReceived(response)
        return self.headOf(transport.value())


class ExchangeTests(ForwardTestCase):
    """
    One request and its response.
    """

    def test_interfaces(self) -> None:
        """
        The parts are what the session takes them for.
        """
        forwarding = Forwarding(ProxyLogin(FakeSession(), ()))
        verifyObject(IConversation, forwarding)
        session, _ = self.client()
        verifyObject(ITargets, Targets(self.factory, session))

    def test_request(self) -> None:
        """
        A request is a CONNECT to rules and connectors, and goes out in origin form.
        """
        _, _, attempt = self.asked(GET)
        expected = Request(Command.CONNECT, Address.name("example.com", 80), ANONYMOUS)
        self.assertEqual(attempt.request, expected)
        self.assertEqual(attempt.transport.value(), PASSED_ON)

    def test_response(self) -> None:
        """
        The response comes back, and the connection stays open.
        """
        _, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)
        self.assertFalse(transport.writeEnded)
        self.assertFalse(attempt.transport.disconnecting)

    def test_everySplit(self) -> None:
        """
        Both may come in any two pieces.
        """
        request = POST + b"12345"
        for split in range(1, len(request)):
            _, transport, attempt = self.asked(request[:split], request[split:])
            self.assertTrue(attempt.transport.value().endswith(b"\r\n\r\n12345"))
            attempt.protocol.dataReceived(OK[:split])
            attempt.protocol.dataReceived(OK[split:])
            self.assertEqual(transport.value(), TOLD)

    def test_byteByByte(self) -> None:
        """
        Or one byte at a time.
        """
        _session, transport = self.client(*(bytes((b,)) for b in GET))
        attempt = self.connector.attempts[0]
        attempt.connect()
        for octet in OK:
            attempt.protocol.dataReceived(bytes((octet,)))
        self.assertEqual(transport.value(), TOLD)

    def test_bodyWhileConnecting(self) -> None:
        """
        A body that comes before the target is connected reaches it.
        """
        session, _ = self.client(POST, b"12")
        session.dataReceived(b"345")
        target = self.connector.attempts[0].connect()
        self.assertTrue(target.value().endswith(b"\r\n\r\n12345"))

    def test_chunkedRequest(self) -> None:
        """
        A chunked body stays one, with its trailers.
        """
        _, _, attempt = self.asked(CHUNKED, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
        head, _, body = attempt.transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", head)
        self.assertEqual(body, b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")

    def test_chunkedResponse(self) -> None:
        """
        So does that of a response; what the trailers may not say is dropped.
        """
        _, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n"
            b"\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\nX-Sum: 1\r\n\r\n"
        )
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"chunked", head)
        self.assertNotIn(b"ontent-", head)
        self.assertEqual(body, b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")

    def test_untilTheEnd(self) -> None:
        """
        A body that ends with the connection is chunked for the client, which can
        go on.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(b"HTTP/1.0 200 OK\r\n\r\nhello")
        attempt.protocol.readConnectionLost()
        self.assertTrue(transport.value().endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
        attempt.transport.lose(attempt.protocol)
        session.dataReceived(GET)
        self.assertEqual(len(self.connector.attempts), 2)

    def test_oldClient(self) -> None:
        """
        A client of HTTP/1.0 is told nothing that it does not know, and the end.
        """
        _session, transport, attempt = self.asked(GET.replace(b"1.1\r", b"1.0\r"))
        self.assertIn(b"Via: 1.0 socksproxy", attempt.transport.value())
        attempt.protocol.dataReceived(
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertTrue(transport.value().endswith(b"\r\n\r\nhello"))
        self.assertNotIn(b"chunked", transport.value())
        self.assertTrue(transport.writeEnded)

    def test_withoutBody(self) -> None:
        """
        A response to HEAD has none, whatever it says; nor have 204 and 304.
        """
        head = GET.replace(b"GET", b"HEAD")
        for request, response in (
            (head, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            (head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
            (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ):
            session, transport, attempt = self.asked(request)
            attempt.protocol.dataReceived(response)
            self.assertTrue(transport.value().endswith(b"\r\n\r\n"))
            transport.clear()
            session.dataReceived(GET)
            attempt.protocol.dataReceived(OK)
            self.assertEqual(transport.value(), TOLD)

    def test_100Continue(self) -> None:
        """
        A client that waits for leave to send its body gets the target's.
        """
        session, transport, attempt = self.asked(
            withLine(POST, b"Expect: 100-continue\r\n")
        )
        self.assertIn(b"\r\nExpect: 100-continue\r\n", attempt.transport.value())
        attempt.protocol.dataReceived(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 100 Continue\r\n"))
        transport.clear()
        attempt.transport.clear()
        session.dataReceived(b"12345")
        self.assertEqual(attempt.transport.value(), b"12345")
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)

    def test_earlyResponse(self) -> None:
        """
        A response may come before the request is complete; both go on to their
        ends, and then there is another.
        """
        session, transport, attempt = self.asked(POST, b"12")
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)
        session.dataReceived(b"345" + GET)
        self.assertEqual(
            attempt.transport.value().partition(b"\r\n\r\n")[2], b"12345" + PASSED_ON
        )


class PersistenceTests(ForwardTestCase):
    """
    Several requests over one connection.
    """

    def test_sameTarget(self) -> None:
        """
        The connection to the target serves all of them.
        """
        session, transport, attempt = self.asked(GET)
        for _ in range(3):
            attempt.protocol.dataReceived(OK)
            session.dataReceived(GET)
        self.assertEqual(transport.value(), TOLD * 3)
        self.assertEqual(attempt.transport.value(), PASSED_ON * 4)
        self.assertEqual(len(self.connector.attempts), 1)

    def test_otherTarget(self) -> None:
        """
        Another target has another connection, and the old one is closed.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        session.dataReceived(OTHER)
        self.assertTrue(attempt.transport.disconnecting)
        self.assertFalse(attempt.transport.aborted)
        other = self.connector.attempts[1]
        self.assertEqual(other.request.destination, Address.name("example.org", 80))
        attempt.transport.lose(attempt.protocol)
        other.connect()
        other.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD * 2)

    def test_pipelined(self) -> None:
        """
        Requests that are sent without waiting are passed on one after the other,
        and answered in their order.
        """
        _, transport, attempt = self.asked(GET + POST + b"12345" + OTHER)
        self.assertEqual(attempt.transport.value(), PASSED_ON)
        attempt.protocol.dataReceived(OK)
        self.assertTrue(attempt.transport.value().endswith(b"\r\n\r\n12345"))
        self.assertEqual(len(self.connector.attempts), 1)
        attempt.protocol.dataReceived(OK)
        self.connector.attempts[1].connect()
        self.connector.attempts[1].protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD * 3)

    def test_veryManyPipelined(self) -> None:
        """
        However many they are, and however fast their answers are known.
        """

        class Refusing:
            def permitsRequest(self, request: Request, session: object) -> bool:
                return False

            def permitsAddress(self, *args: object) -> bool:
                return False

        self.factory = self.makeFactory(policy=Refusing())
        _session, transport = self.client(GET * 2000)
        self.assertEqual(transport.value().count(b"HTTP/1.1 403 Forbidden\r\n"), 2000)

    def test_clientEndsItsSide(self) -> None:
        """
        A client may end its side once it has asked: it still gets its answer.
        """
        session, transport, attempt = self.asked(GET)
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)
        self.assertTrue(transport.disconnecting)
        self.assertTrue(attempt.transport.disconnecting)

    def test_endsWhileConnecting(self) -> None:
        """
        Also before the target is connected.
        """
        session, transport = self.client(GET)
        session.readConnectionLost()
        attempt = self.connector.attempts[0]
        attempt.connect()
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)
        self.assertTrue(transport.disconnecting)

    def test_endsInTheMiddle(self) -> None:
        """
        In the middle of a request it is the end of all, for the target too.
        """
        for data in (POST + b"12", CHUNKED + b"5\r\nhe", GET + POST[:20]):
            session, transport, attempt = self.asked(data)
            if data.startswith(b"GET"):
                attempt.protocol.dataReceived(OK)
            session.readConnectionLost()
            self.assertTrue(transport.disconnecting)
            self.assertTrue(
                attempt.transport.aborted or attempt.transport.disconnecting
            )

    def test_long(self) -> None:
        """
        A connection may last, with a target and without.
        """
        self.factory = self.makeFactory(limits=Limits(handshakeTimeout=0))
        session, transport = self.client(b"G", b"ET")
        self.asked(GET)
        self.clock.pump([30] * 8)
        self.assertFalse(transport.writeEnded)
        session.dataReceived(GET[3:])
        self.assertEqual(len(self.connector.attempts), 2)

    def test_silence(self) -> None:
        """
        A client has as long for its next request as for its first.
        """
        _session, transport, attempt = self.asked(GET)
        self.clock.advance(100)
        attempt.protocol.dataReceived(OK)
        self.clock.advance(29)
        self.assertFalse(transport.writeEnded)
        self.clock.advance(1)
        self.assertTrue(transport.writeEnded)
        self.assertTrue(attempt.transport.disconnecting)
        self.clock.advance(10)
        self.assertTrue(transport.disconnecting)

    def test_targetEnds(self) -> None:
        """
        A target that closes between two requests is connected again.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        attempt.protocol.readConnectionLost()
        self.assertTrue(attempt.transport.aborted or attempt.transport.disconnecting)
        session.dataReceived(GET)
        self.assertEqual(len(self.connector.attempts), 2)
        attempt.transport.lose(attempt.protocol)
        self.connector.attempts[1].connect()
        self.connector.attempts[1].protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD * 2)

    def test_repeated(self) -> None:
        """
        It may close just when a request is on its way: what can be sent twice is
        sent again.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        session.dataReceived(GET)
        attempt.protocol.readConnectionLost()
        attempt.transport.lose(attempt.protocol)
        again = self.connector.attempts[1]
        self.assertEqual(again.connect().value(), PASSED_ON)
        again.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD * 2)
        session.dataReceived(GET)
        again.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD * 3)

    def test_notRepeated(self) -> None:
        """
        What cannot is not; nor is what a new connection has failed with.
        """
        for request in (POST + b"12345", GET.replace(b"GET", b"DELETE"), GET):
            session, transport, attempt = self.asked(GET)
            count = len(self.connector.attempts)
            if request != GET:
                attempt.protocol.dataReceived(OK)
                transport.clear()
                session.dataReceived(request)
            attempt.transport.lose(attempt.protocol)
            self.assertPage(transport, 502, isLast=False)
            self.assertEqual(len(self.connector.attempts), count)


class FailureTests(ForwardTestCase):
    """
    What goes wrong.
    """

    def test_statuses(self) -> None:
        """
        Each cause has its status, and the connection stays open.
        """
        for failure, status in ((ConnectionRefused("no"), 502), (TimedOut("no"), 504)):
            session, transport = self.client(GET)
            self.connector.attempts[-1].fail(failure)
            self.assertPage(transport, status, isLast=False)
            transport.clear()
            session.dataReceived(GET)
            self.connector.attempts[-1].connect()
            self.connector.attempts[-1].protocol.dataReceived(OK)
            self.assertEqual(transport.value(), TOLD)

    def test_head(self) -> None:
        """
        There is no body where none is expected.
        """
        _, transport = self.client(GET.replace(b"GET", b"HEAD"))
        self.connector.attempts[0].fail(ConnectionRefused("no"))
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 502 "))
        self.assertTrue(transport.value().endswith(b"\r\n\r\n"))

    def test_connectTimeout(self) -> None:
        """
        A target that does not answer in time.
        """
        _, transport = self.client(GET)
        self.clock.advance(29)
        self.assertEqual(transport.value(), b"")
        self.clock.advance(1)
        self.assertTrue(self.connector.attempts[0].cancelled)
        self.assertPage(transport, 504, isLast=False)

    def test_ourFault(self) -> None:
        """
        A fault of the connector's is logged, and is 500 to the client.
        """
        _, transport = self.client(GET)
        self.connector.attempts[0].fail(RuntimeError("fault"))
        self.assertPage(transport, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_wrongProtocol(self) -> None:
        """
        So is a connector that makes a protocol of its own.
        """
        _, transport = self.client(GET)
        protocol = Protocol()
        protocol.makeConnection(MemoryTransport())
        self.connector.attempts[0].result.callback(protocol)
        self.assertPage(transport, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_bodyOfWhatFailed(self) -> None:
        """
        The body of a request that failed is read for nothing, so that there can be
        another; but not for ever.
        """
        session, transport = self.client(POST, b"12")
        self.connector.attempts[0].fail(ConnectionRefused("no"))
        self.assertPage(transport, 502, isLast=False)
        session.dataReceived(b"345" + GET)
        self.assertEqual(len(self.connector.attempts), 2)
        length = b"%d" % (DROPPED * 3)
        session, transport = self.client(POST.replace(b": 5", b": " + length))
        self.connector.attempts[-1].fail(ConnectionRefused("no"))
        for _ in range(DROPPED // 1000 + 1):
            session.dataReceived(b"x" * 1000)
        self.assertTrue(transport.writeEnded)

    def test_bodyThatMayNeverCome(self) -> None:
        """
        A client that has waited for its 100 may send its body now, or not: there is
        no telling, so this is the end.
        """
        _, transport = self.client(withLine(POST, b"Expect: 100-continue\r\n"))
        self.connector.attempts[0].fail(ConnectionRefused("no"))
        self.assertPage(transport, 502)

    def test_notHTTP(self) -> None:
        """
        A target that speaks something else.
        """
        for data in (b"SSH-2.0-x\r\n\r\n", b"\x16\x03\x01", b"x" * 70000):
            _, transport, attempt = self.asked(GET)
            attempt.protocol.dataReceived(data)
            self.assertTrue(attempt.transport.aborted)
            attempt.transport.lose(attempt.protocol, ConnectionLost())
            self.assertPage(transport, 502, isLast=False)

    def test_cutShort(self) -> None:
        """
        A response that ends too early is not taken for a whole one.
        """
        for response, reason in (
            (OK[:-1], ConnectionDone()),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", None),
            (b"HTTP/1.0 200 OK\r\n\r\nhel", ConnectionLost()),
        ):
            _, transport, attempt = self.asked(GET)
            attempt.protocol.dataReceived(response)
            if not isinstance(reason, ConnectionLost):
                attempt.protocol.readConnectionLost()
            attempt.transport.lose(attempt.protocol, reason)
            self.assertTrue(transport.aborted)

    def test_unasked(self) -> None:
        """
        A response that nobody has asked for is not the next one's.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK + b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(attempt.transport.disconnecting)
        session.dataReceived(GET)
        self.assertEqual(len(self.connector.attempts), 2)
        self.assertEqual(transport.value(), TOLD)

    def test_unaskedBeforeTheNext(self) -> None:
        """
        Nor is it when the next request is here already.
        """
        _, transport, attempt = self.asked(GET + GET)
        attempt.protocol.dataReceived(OK + OK.replace(b"hello", b"trick"))
        self.assertEqual(transport.value(), TOLD)
        self.assertEqual(attempt.transport.value(), PASSED_ON)
        self.connector.attempts[1].connect()
        self.connector.attempts[1].protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD * 2)

    def test_clientLeaves(self) -> None:
        """
        A client that leaves takes its connection with it, or its attempt.
        """
        session, transport = self.client(GET)
        transport.lose(session)
        self.assertTrue(self.connector.attempts[0].cancelled)
        self.assertEqual(len(self.factory.admission), 0)
        session, transport, attempt = self.asked(POST, b"12")
        transport.lose(session, ConnectionLost())
        self.assertTrue(attempt.transport.aborted)
        self.assertEqual(len(self.factory.admission), 1)
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertEqual(len(self.factory.admission), 0)
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])


class TunnelTests(ForwardTestCase):
    """
    What is no HTTP any more.
    """

    UPGRADE = withLine(GET, b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    SWITCHED = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n\r\n"
    )

    def test_upgrade(self) -> None:
        """
        After the target has agreed, all that comes is passed on as it is.
        """
        session, transport, attempt = self.asked(self.UPGRADE, b"early ")
        fields = self.headOf(attempt.transport.value())
        self.assertEqual(fields[b"upgrade"], b"websocket")
        self.assertEqual(fields[b"connection"], b"Upgrade")
        attempt.transport.clear()
        attempt.protocol.dataReceived(self.SWITCHED + b"banner ")
        told = self.headOf(transport.value())
        self.assertEqual(told[b""], b"HTTP/1.1 101 Switching Protocols")
        self.assertEqual(told[b"upgrade"], b"websocket")
        self.assertEqual(told[b"connection"], b"Upgrade")
        self.assertTrue(transport.value().endswith(b"\r\n\r\nbanner "))
        session.dataReceived(b"GET")
        self.assertEqual(attempt.transport.value(), b"early GET")
        attempt.protocol.dataReceived(b"HTTP")
        self.assertTrue(transport.value().endswith(b"banner HTTP"))

    def test_end(self) -> None:
        """
        Ends are passed on, and the session is over with both.
        """
        session, transport, attempt = self.asked(self.UPGRADE)
        with capturedLogs() as events:
            attempt.protocol.dataReceived(self.SWITCHED)
            session.dataReceived(b"12345")
            session.readConnectionLost()
            self.assertTrue(attempt.transport.writeEnded)
            attempt.protocol.readConnectionLost()
            attempt.transport.lose(attempt.protocol)
            transport.lose(session)
        self.assertEqual(len(self.factory.admission), 0)
        sent = len(attempt.transport.value())
        self.assertIn(f"closed, {sent} bytes sent", formatEvent(events[-1]))

    def test_refused(self) -> None:
        """
        A target may refuse: then it goes on as before.
        """
        _session, transport, attempt = self.asked(self.UPGRADE + GET)
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)
        self.assertTrue(attempt.transport.value().endswith(PASSED_ON))

    def test_unasked(self) -> None:
        """
        A target that switches without being asked to is not believed.
        """
        _, _transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(self.SWITCHED)
        self.assertTrue(attempt.transport.aborted)

    def test_connect(self) -> None:
        """
        CONNECT after something else is served too.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        transport.clear()
        session.dataReceived(
            b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\nearly"
        )
        other = self.connector.attempts[1]
        other.connect()
        self.assertEqual(
            transport.value(), b"HTTP/1.1 200 Connection established\r\n\r\n"
        )
        self.assertEqual(other.transport.value(), b"early")
        other.protocol.dataReceived(b"banner")
        self.assertTrue(transport.value().endswith(b"banner"))

    def test_connectIsNew(self) -> None:
        """
        A connection that has had requests is not what a CONNECT leads to.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        transport.clear()
        session.dataReceived(
            b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n"
        )
        self.assertTrue(attempt.transport.disconnecting)
        self.connector.attempts[1].connect()
        self.connector.attempts[1].protocol.dataReceived(b"banner")
        self.assertTrue(transport.value().endswith(b"\r\n\r\nbanner"))

    def test_connectToAFastTarget(self) -> None:
        """
        What a target says first may come, with its end, before a connector tells of
        the connection.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        transport.clear()
        session.dataReceived(b"CONNECT h:25 HTTP/1.1\r\nHost: h:25\r\n\r\n")
        other = self.connector.attempts[1]
        protocol: Any = other._protocolFactory.buildProtocol(other.transport.getPeer())
        protocol.makeConnection(other.transport)
        protocol.dataReceived(b"banner")
        protocol.readConnectionLost()
        other.result.callback(protocol)
        self.assertTrue(transport.value().endswith(b"\r\n\r\nbanner"))
        self.assertTrue(transport.writeEnded)
        self.assertFalse(other.transport.aborted)

    def test_connectFails(self) -> None:
        """
        When it fails that is the end: what follows was not meant for us.
        """
        session, transport, attempt = self.asked(GET)
        attempt.protocol.dataReceived(OK)
        transport.clear()
        session.dataReceived(
            b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n" + GET
        )
        self.connector.attempts[1].fail(ConnectionRefused("no"))
        self.assertPage(transport, 502)

    def test_aborted(self) -> None:
        """
        It is ended like all others when the proxy stops.
        """
        _session, transport, attempt = self.asked(self.UPGRADE)
        attempt.protocol.dataReceived(self.SWITCHED)
        self.factory.drain(5)
        self.clock.advance(5)
        self.assertTrue(transport.aborted)
        self.assertTrue(attempt.transport.aborted)


class LogTests(ForwardTestCase):
    """
    A pair of lines for each connection to a target.
    """

    def lines(self, events: Iterable[dict[str, Any]]) -> list[str]:
        """
        What was logged.
        """
        return [formatEvent(event) for event in events]

    def test_connections(self) -> None:
        """
        Requests over one connection are one session.
        """
        with capturedLogs() as events:
            session, _transport, attempt = self.asked(GET)
            attempt.protocol.dataReceived(OK)
            session.dataReceived(GET)
            attempt.protocol.dataReceived(OK)
            self.clock.advance(2)
            session.dataReceived(OTHER)
            self.connector.attempts[1].fail(ConnectionRefused("no"))
        head = "192.0.2.2:40000 - CONNECT"
        sent, received = 2 * len(PASSED_ON), 2 * len(OK)
        self.assertEqual(
            self.lines(events),
            [
                f"{head} example.com:80 via 198.51.100.2:80",
                f"{head} example.com:80 via 198.51.100.2:80: closed, {sent} bytes "
                f"sent, {received} received in 2.000 s",
                f"{head} example.org:80 refused: no (reply 05)",
            ],
        )

    def test_refused(self) -> None:
        """
        What is no request is one line.
        """
        with capturedLogs() as events:
            self.client(b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n")
            self.client(b"GET secret\r\n\r\n")
        self.assertEqual(
            self.lines(events),
            [
                "192.0.2.2:40000 refused: a request that names no http:// target",
                "192.0.2.2:40000 refused: a request that is not one of HTTP",
            ],
        )
        self.assertFalse(re.search("secret", "".join(self.lines(events))))


PIECES = (
    *(GET, OTHER, POST, CHUNKED, OK, b"12345", b"5\r\nhello\r\n", b"0\r\n\r\n"),
    withLine(GET, b"Connection: Upgrade\r\nUpgrade: x\r\n"),
    withLine(GET, b"Connection: close\r\n"),
    withLine(POST, b"Expect: 100-continue\r\n"),
    GET.replace(b"GET", b"HEAD"),
    GET.replace(b"1.1\r", b"1.0\r"),
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"\r\n",
    b"\x00",
    b"GET",
)

steps = st.tuples(
    st.sampled_from(
        ("client", "target", "connect", "fail", "clientEnds", "targetEnds")
        + ("targetLost", "pause", "resume", "wait")
    ),
    st.sampled_from(PIECES),
    st.integers(0, 3),
)


class AnythingTests(ForwardTestCase):
    """
    Whatever comes, in whatever order.
    """

    @settings(deadline=None, max_examples=500, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, max_size=25))
    def test_anything(self, script: list[tuple[str, bytes, int]]) -> None:
        """
        Nothing that a client or a target does raises, and when both are gone
        nothing is left.
        """
        self.setUp()
        transport = LosingTransport()
        session, _ = self.client(GET, transport=transport)
        transport.loses = session
        for what, data, index in script:
            self.play(session, transport, what, data, index)
        if transport.connected:
            transport.lose(session, ConnectionLost())
        for attempt in self.connector.attempts:
            if attempt.protocol is not None and attempt.transport.connected:
                attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertEqual(len(self.factory.admission), 0)
        self.factory.stopFactory()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def play(
        self,
        session: Session,
        transport: LosingTransport,
        what: str,
        data: bytes,
        index: int,
    ) -> None:
        """
        One thing that happens.
        """
        attempts = self.connector.attempts
        attempt = attempts[-1 - index % len(attempts)]
        isOpen = attempt.protocol is not None and attempt.transport.connected
        if what == "wait":
            self.clock.advance(20)
        elif what == "connect" and not attempt.result.called:
            target = LosingTransport()
            attempt.connect(target)
            target.loses = attempt.protocol
        elif what == "fail" and not attempt.result.called:
            attempt.fail(ConnectionRefused("no"))
        elif what == "target" and isOpen:
            attempt.protocol.dataReceived(data)
        elif what == "targetEnds" and isOpen:
            attempt.protocol.readConnectionLost()
        elif what == "targetLost" and isOpen:
            attempt.transport.lose(attempt.protocol, ConnectionLost())
        elif what == "client" and transport.connected:
            session.dataReceived(data)
        elif what == "clientEnds" and transport.connected:
            session.readConnectionLost()
        elif what in ("pause", "resume") and transport.connected:
            producer: Any = transport.producer
            if producer is not None and what == "pause":
                producer.pauseProducing()
            elif producer is not None:
                producer.resumeProducing()
        for each in (transport, *(attempt.transport for attempt in attempts)):
            if isinstance(each, LosingTransport):
                each.loseIfDue()


class LosingTransport(MemoryTransport):
    """
    One that is lost when that was asked for.
    """

    loses: Any = None

    def loseIfDue(self) -> None:
        if self.connected and (self.aborted or self.disconnecting):
            self.lose(self.loses)
