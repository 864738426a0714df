"""
Tests for L{socksproxy.server.http} and L{socksproxy.server.pages}, in memory.
"""

from __future__ import annotations

import base64
from typing import Any

from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.error import TCPTimedOutError
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import (
    ConnectionRefused,
    HostUnreachable,
    NotAllowed,
    RequestFailed,
    TimedOut,
)
from socksproxy.interfaces import (
    ANONYMOUS,
    IAuthenticator,
    Identity,
    IDialect,
    IDialectFactory,
    ILogins,
    INegotiation,
    ISession,
    Request,
)
from socksproxy.server.dialects import ALL_DIALECTS
from socksproxy.server.http import HTTPDialect
from socksproxy.server.pages import pageOf
from socksproxy.test.test_server_session import SessionTestCase
from socksproxy.testing import FakeSession, MemoryTransport
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command, ReplyCode

CONNECT = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def basic(username: str, password: str) -> bytes:
    """
    The header line of a login.
    """
    encoded = base64.b64encode(f"{username}:{password}".encode())
    return b"Proxy-Authorization: Basic " + encoded + b"\r\n"


def withLine(head: bytes, line: bytes) -> bytes:
    """
    C{head} with one line more.
    """
    return head[:-2] + line + b"\r\n"


@implementer(IAuthenticator, ILogins)
class FakeLogins:
    """
    Knows ann, whose password is s3cret, and takes its time when the test says so.
    """

    method = 2

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.logouts: list[str] = []
        self.isSlow = False
        self.cancelled = False
        self.result: Deferred[Identity] = Deferred()

    def beginNegotiation(self, session: ISession) -> INegotiation | None:
        raise AssertionError("nobody has offered this method")

    def login(
        self, username: bytes, password: bytes, session: ISession
    ) -> Deferred[Identity]:
        self.asked.append((username, password))
        self.result = Deferred(self._cancel)
        if not self.isSlow:
            self.decide()
        return self.result

    def _cancel(self, result: object) -> None:
        self.cancelled = True

    def logout(self, name: str) -> None:
        """
        C{name} has left.
        """
        self.logouts.append(name)

    def decide(self) -> None:
        """
        Say it now.
        """
        username, password = self.asked[-1]
        if password == b"s3cret":
            name = username.decode()
            self.result.callback(Identity(name, logout=lambda: self.logout(name)))
        else:
            self.result.errback(Failure(UnauthorizedLogin()))


class HTTPTestCase(SessionTestCase):
    """
    What these tests have in common.
    """

    def assertPage(
        self, transport: MemoryTransport, status: int, isLast: bool = True
    ) -> None:
        """
        The client was told one page with this status and nothing else.
        """
        head, _, body = transport.value().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertTrue(lines[0].startswith(b"HTTP/1.1 %d " % status), lines)
        self.assertIn(b"Content-Length: %d" % len(body), lines)
        self.assertTrue(body.endswith(b".\n"))
        self.assertEqual(b"Connection: close" in lines, isLast)
        self.assertEqual(transport.writeEnded, isLast)
        isChallenge = any(line.startswith(b"Proxy-Authenticate: ") for line in lines)
        self.assertEqual(isChallenge, status == 407)


class ConnectTests(HTTPTestCase):
    """
    CONNECT.
    """

    def test_interfaces(self) -> None:
        """
        It is a dialect, and the protocols are what makes one.
        """
        verifyObject(IDialect, HTTPDialect(FakeSession(), ()))
        for dialect in ALL_DIALECTS:
            verifyObject(IDialectFactory, dialect)

    def test_established(self) -> None:
        """
        The connector gets the request, the client the answer in one write, and
        then they talk.
        """
        session, transport = self.client(CONNECT)
        attempt = self.connector.attempts[0]
        expected = Request(Command.CONNECT, Address.name("example.com", 443), ANONYMOUS)
        self.assertEqual(attempt.request, expected)
        target = attempt.connect()
        self.assertEqual(transport.writes, [ESTABLISHED])
        attempt.protocol.dataReceived(b"banner")
        session.dataReceived(b"hello")
        self.assertEqual(transport.writes, [ESTABLISHED, b"banner"])
        self.assertEqual(target.value(), b"hello")

    def test_everySplit(self) -> None:
        """
        The head may come in any two pieces; what follows it is the target's.
        """
        for split in range(1, len(CONNECT)):
            _, transport = self.client(CONNECT[:split], CONNECT[split:] + b"\x16early")
            target = self.connector.attempts[-1].connect()
            self.assertEqual(transport.writes, [ESTABLISHED])
            self.assertEqual(target.value(), b"\x16early")

    def test_byteByByte(self) -> None:
        """
        Or one byte at a time.
        """
        _, transport = self.client(*(bytes((b,)) for b in CONNECT))
        self.connector.attempts[0].connect()
        self.assertEqual(transport.writes, [ESTABLISHED])

    def test_hosts(self) -> None:
        """
        Addresses are addresses.
        """
        for text, host in ((b"[::1]:443", "::1"), (b"192.0.2.1:443", "192.0.2.1")):
            self.client(CONNECT.replace(b"example.com:443", text))
            self.assertEqual(
                self.connector.attempts[-1].request.destination, Address.ip(host, 443)
            )

    def test_failures(self) -> None:
        """
        Each cause has its status, and the connection ends.
        """
        for failure, status in (
            (NotAllowed("no"), 403),
            (ConnectionRefused("no"), 502),
            (HostUnreachable("no"), 502),
            (TimedOut("no"), 504),
            (TCPTimedOutError(), 504),
            (RequestFailed("no"), 500),
        ):
            _, transport = self.client(CONNECT)
            self.connector.attempts[-1].fail(failure)
            self.assertPage(transport, status)

    def test_connectTimeout(self) -> None:
        """
        Who does not answer in time has timed out.
        """
        _, transport = self.client(CONNECT)
        self.clock.advance(30)
        self.assertPage(transport, 504)

    def test_everyReplyHasAPage(self) -> None:
        """
        Whatever code a failure has, there is something to say.
        """
        for code in set(ReplyCode) - {ReplyCode.SUCCEEDED}:
            self.assertGreaterEqual(pageOf(code, None).status, 400)

    def test_port0(self) -> None:
        """
        Port 0 is refused as in every protocol.
        """
        _, transport = self.client(CONNECT.replace(b":443", b":0"))
        self.assertPage(transport, 403)

    def test_bad(self) -> None:
        """
        What is no CONNECT as it should be gets 400.
        """
        for data in (
            CONNECT.replace(b"CONNECT example.com:443", b"CONNECT example.com"),
            CONNECT.replace(b"CONNECT example.com:443", b"CONNECT /"),
            CONNECT.replace(b"CONNECT example.com:443", b"CONNECT http://h/"),
            CONNECT.replace(b"CONNECT example.com:443", b"CONNECT u@h:443"),
            withLine(CONNECT, b"Content-Length: 5\r\n"),
            withLine(CONNECT, b"Transfer-Encoding: chunked\r\n"),
            withLine(CONNECT, b"Bad Header: x\r\n"),
            CONNECT.replace(b"HTTP/1.1", b"HTTP/2.0"),
            b"CONNECT example.com:443\r\n\r\n",
            b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
        ):
            _, transport = self.client(data)
            self.assertPage(transport, 400)
        self.assertEqual(self.connector.attempts, [])

    def test_endlessHead(self) -> None:
        """
        A head that does not end is not kept.
        """
        session, transport = self.client(CONNECT[:-2])
        line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
        for _ in range(70):
            session.dataReceived(line)
        self.assertPage(transport, 431)


class PasswordAuthenticatorTests(SessionTestCase):
    """
    What comes with the package provides logins for HTTP.
    """

    def test_login(self) -> None:
        """
        It puts them before its portal.
        """
        from twisted.cred.checkers import (
            InMemoryUsernamePasswordDatabaseDontUse as Checker,
        )

        from socksproxy.auth.password import PasswordAuthenticator

        checker: Any = Checker()
        checker.users = {b"ann": b"s3cret"}
        authenticator = PasswordAuthenticator([checker])
        verifyObject(ILogins, authenticator)
        identity = self.successResultOf(
            authenticator.login(b"ann", b"s3cret", FakeSession())
        )
        self.assertEqual(identity.name, "ann")
        failure = self.failureResultOf(
            authenticator.login(b"ann", b"wrong", FakeSession())
        )
        failure.trap(LoginFailed)
