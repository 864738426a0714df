"""
Tests for L{socksproxy.server.proxylogin}, in memory.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import base64

from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from socksproxy.server.factory import Limits
from socksproxy.test.test_server_forward import (
    GET,
    OK,
    PASSED_ON,
    POST,
    TOLD,
    ForwardTestCase,
)
from socksproxy.test.test_server_http import (
    CONNECT,
    ESTABLISHED,
    FakeLogins,
    HTTPTestCase,
    basic,
    withLine,
)
from socksproxy.test.test_server_socks4 import Asking


class ConnectTests(HTTPTestCase):
    """
    Of a CONNECT.
    """

    def setUp(self) -> None:
        super().setUp()
        self.logins = FakeLogins()
        self.factory = self.makeFactory(authenticators=[Asking(), self.logins])

    def test_right(self) -> None:
        """
        Whoever logs in makes the request, and is logged out at the end.
        """
        session, transport = self.client(withLine(CONNECT, basic("ann", "s3cret")))
        self.assertEqual(self.connector.attempts[0].request.identity.name, "ann")
        self.connector.attempts[0].connect()
        self.assertEqual(transport.writes, [ESTABLISHED])
        self.assertEqual(self.logins.logouts, [])
        session.connectionLost()
        self.connector.attempts[0].protocol.connectionLost()
        self.assertEqual(self.logins.logouts, ["ann"])

    def test_challenge(self) -> None:
        """
        Whoever does not is asked to, and can do so over the same connection.
        """
        session, transport = self.client(CONNECT)
        self.assertPage(transport, 407, isLast=False)
        self.assertEqual(self.logins.asked, [])
        session.dataReceived(withLine(CONNECT, basic("ann", "s3cret")))
        self.assertEqual(len(self.connector.attempts), 1)

    def test_wrong(self) -> None:
        """
        A wrong password can be mended twice; then it is over.
        """
        session, transport = self.client()
        for isLast in (False, False, True):
            transport.clear()
            session.dataReceived(withLine(CONNECT, basic("ann", "wrong")))
            self.assertPage(transport, 407, isLast)
        self.assertEqual(self.logins.asked, [(b"ann", b"wrong")] * 3)
        self.assertEqual(self.connector.attempts, [])

    def test_somethingBehindIt(self) -> None:
        """
        What a client has sent for its target already is never read as a request:
        then a refusal is the end.
        """
        _, transport = self.client(CONNECT + b"GET http://example.com/ HTTP/1.1\r\n")
        self.assertPage(transport, 407)

    def test_garbled(self) -> None:
        """
        What is no login of Basic is none.
        """
        for value in (
            b"Basic",
            b"Basic !!!",
            b"Basic " + base64.b64encode(b"no colon"),
            b"Bearer abc",
            b"Basic YW5uOnMzY3JldA==\r\nProxy-Authorization: Basic YW5uOnMzY3JldA==",
        ):
            line = b"Proxy-Authorization: " + value + b"\r\n"
            _, transport = self.client(withLine(CONNECT, line))
            self.assertPage(transport, 407, isLast=False)
        self.assertEqual(self.logins.asked, [])

    def test_oddNames(self) -> None:
        """
        Names and passwords are bytes; only the first colon parts them.
        """
        for name, password in (("", ""), ("ann", "a:b"), ("jürgen", "pä ss")):
            self.client(withLine(CONNECT, basic(name, password)))
            self.assertEqual(self.logins.asked[-1], (name.encode(), password.encode()))

    def test_takesItsTime(self) -> None:
        """
        The client waits for it, and what it sends meanwhile waits too.
        """
        self.logins.isSlow = True
        session, transport = self.client(withLine(CONNECT, basic("ann", "s3cret")))
        session.dataReceived(b"early")
        self.assertEqual(transport.writes, [])
        self.logins.decide()
        target = self.connector.attempts[0].connect()
        self.assertEqual(target.value(), b"early")

    def test_leaves(self) -> None:
        """
        A client that leaves meanwhile does not log in.
        """
        self.logins.isSlow = True
        session, transport = self.client(withLine(CONNECT, basic("ann", "s3cret")))
        transport.lose(session)
        self.assertTrue(self.logins.cancelled)
        self.assertEqual(self.connector.attempts, [])

    def test_otherFailure(self) -> None:
        """
        A fault of whoever judges it is logged, and ends the connection.
        """
        self.logins.isSlow = True
        _, transport = self.client(withLine(CONNECT, basic("ann", "s3cret")))
        self.logins.result.errback(Failure(RuntimeError("fault")))
        self.assertRefused(transport)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_noLoginForHTTP(self) -> None:
        """
        Where logins are of another kind there is no use in asking.
        """
        for authenticators in ([], [Asking()]):
            self.factory = self.makeFactory(authenticators=authenticators)
            _, transport = self.client(withLine(CONNECT, basic("ann", "s3cret")))
            self.assertPage(transport, 403)

    def test_nothingSecret(self) -> None:
        """
        No password gets into a log line or a C{repr}.
        """
        for data in (
            withLine(CONNECT, basic("ann", "s3cret")),
            withLine(CONNECT, basic("ann", "s3cret") + b"Bad Header: x\r\n"),
            withLine(CONNECT, b" Basic " + basic("ann", "s3cret")),
        ):
            with capturedLogs() as events:
                session, _ = self.client(data)
                session.connectionLost()
            said = "".join(map(str, map(formatEvent, events))) + repr(vars(session))
            self.assertNotIn("s3cret", said)
            self.assertNotIn(base64.b64encode(b"ann:s3cret").decode(), said)


class RequestTests(ForwardTestCase):
    """
    Each request says who makes it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.logins = FakeLogins()
        self.factory = self.makeFactory(authenticators=[self.logins])
        self.request = withLine(GET, basic("ann", "s3cret"))

    def test_challenge(self) -> None:
        """
        Whoever says nothing is asked, over the same connection.
        """
        session, transport = self.client(GET)
        self.assertPage(transport, 407, isLast=False)
        transport.clear()
        session.dataReceived(self.request)
        attempt = self.connector.attempts[0]
        self.assertEqual(attempt.request.identity.name, "ann")
        self.assertEqual(attempt.connect().value(), PASSED_ON)
        attempt.protocol.dataReceived(OK)
        self.assertEqual(transport.value(), TOLD)

    def test_bodyOfTheChallenged(self) -> None:
        """
        The body of a request that was not let through is dropped.
        """
        session, transport = self.client(POST + b"12345")
        self.assertPage(transport, 407, isLast=False)
        session.dataReceived(self.request)
        self.assertEqual(len(self.connector.attempts), 1)

    def test_onceForAll(self) -> None:
        """
        A login that is repeated is not checked again.
        """
        session, _, attempt = self.asked(self.request)
        for _ in range(3):
            attempt.protocol.dataReceived(OK)
            session.dataReceived(self.request)
        self.assertEqual(len(self.logins.asked), 1)
        self.assertEqual(len(self.connector.attempts), 1)

    def test_without(self) -> None:
        """
        A request without one is nobody's, also after one with.
        """
        session, transport, attempt = self.asked(self.request)
        attempt.protocol.dataReceived(OK)
        transport.clear()
        session.dataReceived(GET)
        self.assertPage(transport, 407, isLast=False)

    def test_another(self) -> None:
        """
        Another user has a connection of its own to the target, and the first one
        is logged out.
        """
        session, transport, attempt = self.asked(self.request)
        attempt.protocol.dataReceived(OK)
        session.dataReceived(withLine(GET, basic("bob", "s3cret")))
        self.assertEqual(self.logins.logouts, ["ann"])
        self.assertTrue(attempt.transport.disconnecting)
        self.assertEqual(self.connector.attempts[1].request.identity.name, "bob")
        transport.lose(session)
        attempt.transport.lose(attempt.protocol)
        self.assertEqual(self.logins.logouts, ["ann", "bob"])

    def test_wrong(self) -> None:
        """
        The third wrong one is the last.
        """
        session, transport = self.client()
        for isLast in (False, False, True):
            transport.clear()
            session.dataReceived(withLine(GET, basic("ann", "wrong")))
            self.assertPage(transport, 407, isLast)

    def test_leaves(self) -> None:
        """
        A client that leaves meanwhile does not log in.
        """
        self.logins.isSlow = True
        session, transport = self.client(self.request)
        transport.lose(session)
        self.assertTrue(self.logins.cancelled)
        self.assertEqual(self.connector.attempts, [])
        self.assertEqual(len(self.factory.admission), 0)

    def test_timeout(self) -> None:
        """
        Whoever judges a login has as long as a handshake has.
        """
        self.logins.isSlow = True
        with capturedLogs() as events:
            _, transport = self.client(self.request)
            self.clock.advance(29)
            self.assertFalse(self.logins.cancelled)
            self.clock.advance(1)
        self.assertTrue(self.logins.cancelled)
        self.assertPage(transport, 500)
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["192.0.2.2:40000 refused: the login took too long"],
        )
        self.assertEqual(self.connector.attempts, [])

    def test_noTimeout(self) -> None:
        """
        It has all the time where that is wanted.
        """
        self.factory = self.makeFactory(
            authenticators=[self.logins], limits=Limits(handshakeTimeout=0)
        )
        self.logins.isSlow = True
        self.client(self.request)
        self.clock.advance(1000)
        self.logins.decide()
        self.assertEqual(len(self.connector.attempts), 1)

    def test_inARow(self) -> None:
        """
        Only challenges in a row count.
        """
        session, transport = self.client()
        for _ in range(5):
            session.dataReceived(GET)
            self.assertPage(transport, 407, isLast=False)
            session.dataReceived(self.request)
            attempt = self.connector.attempts[-1]
            attempt.connect()
            attempt.protocol.dataReceived(OK)
            transport.clear()

    def test_logoutFails(self) -> None:
        """
        A logout that fails is logged, and is in nobody's way.
        """

        def fail(name: str) -> None:
            raise RuntimeError("fault")

        self.patch(self.logins, "logout", fail)
        session, transport, attempt = self.asked(self.request)
        attempt.protocol.dataReceived(OK)
        session.dataReceived(withLine(GET, basic("bob", "s3cret")))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.connector.attempts[1].request.identity.name, "bob")
        attempt.transport.lose(attempt.protocol)
        transport.lose(session)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.factory.admission), 0)
