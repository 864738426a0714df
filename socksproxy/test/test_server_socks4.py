"""
Tests for L{socksproxy.server.socks4}, in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import ConnectionRefused
from socksproxy.interfaces import (
    ANONYMOUS,
    Denied,
    Granted,
    IAuthenticator,
    Identity,
    IDialect,
    INegotiation,
    ISession,
    Request,
)
from socksproxy.server.dialects import SOCKS4
from socksproxy.server.socks4 import SOCKS4Dialect
from socksproxy.test.test_server_session import SessionTestCase
from socksproxy.testing import (
    FakeBinder,
    FakeNameResolver,
    FakeSession,
    MemoryTransport,
)
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command

CONNECT = b"\x04\x01\x00\x50\xc6\x33\x64\x02ann\x00"  # 198.51.100.2:80
CONNECT_4A = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00example.com\x00"
RESOLVE_4A = b"\x04\xf0\x00\x00\x00\x00\x00\x01\x00example.com\x00"
BIND = b"\x04\x02\x00\x15\xc6\x33\x64\x02\x00"
GRANTED = b"\x00\x5a\xc3\x50\xc6\x33\x64\x01"  # bound 198.51.100.1:50000
REFUSED = b"\x00\x5b\x00\x00\x00\x00\x00\x00"


@implementer(IAuthenticator, INegotiation)
class Unasked:
    """
    An authenticator of method 0 that answers what the test says.
    """

    method = 0

    def __init__(self, step: Any) -> None:
        self.step = step
        self.abandoned = 0

    def beginNegotiation(self, session: ISession) -> INegotiation | None:
        return None if self.step == "not this client" else self

    def advance(self, received: ReceiveBuffer) -> Any:
        return self.step

    def abandon(self) -> None:
        self.abandoned += 1


@implementer(IAuthenticator)
class Asking:
    """
    One that asks for something.
    """

    method = 2

    def beginNegotiation(self, session: ISession) -> INegotiation | None:
        raise AssertionError("nobody has offered this method")


class SOCKS4Tests(SessionTestCase):
    """
    A request and its reply.
    """

    def test_interface(self) -> None:
        """
        It is a dialect.
        """
        verifyObject(IDialect, SOCKS4Dialect(FakeSession(), ()))

    def test_connect(self) -> None:
        """
        CONNECT is granted with the address of the outgoing connection.
        """
        _, transport = self.client(CONNECT)
        attempt = self.connector.attempts[0]
        expected = Request(Command.CONNECT, Address.ip("198.51.100.2", 80), ANONYMOUS)
        self.assertEqual(attempt.request, expected)
        attempt.connect()
        self.assertEqual(transport.writes, [GRANTED])
        attempt.protocol.dataReceived(b"banner")
        self.assertEqual(transport.writes, [GRANTED, b"banner"])

    def test_everySplit(self) -> None:
        """
        The request may come in any two pieces, and what follows is the target's.
        """
        for request in (CONNECT, CONNECT_4A):
            for split in range(1, len(request)):
                _, transport = self.client(request[:split], request[split:] + b"early")
                target = self.connector.attempts[-1].connect()
                self.assertEqual(transport.writes, [GRANTED])
                self.assertEqual(target.value(), b"early")

    def test_name(self) -> None:
        """
        4a sends a name, which is not resolved here.
        """
        self.client(CONNECT_4A)
        self.assertEqual(
            self.connector.attempts[0].request.destination,
            Address.name("example.com", 443),
        )

    def test_failure(self) -> None:
        """
        What fails is answered with 91, and the end.
        """
        _, transport = self.client(CONNECT)
        self.connector.attempts[0].fail(ConnectionRefused("no"))
        self.assertRefused(transport, REFUSED)

    def test_bind(self) -> None:
        """
        BIND has two replies: where it listens, and who has connected.
        """
        self.connector = binder = FakeBinder()
        self.factory = self.makeFactory()
        _, transport = self.client(BIND)
        binding = binder.bindings[0]
        self.assertEqual(binding.request.command, Command.BIND)
        self.assertEqual(binding.request.destination, Address.ip("198.51.100.2", 21))
        binding.listen()
        self.assertEqual(transport.writes, [GRANTED])
        binding.connect()
        self.assertEqual(
            transport.writes, [GRANTED, b"\x00\x5a\x00\x50\xc6\x33\x64\x02"]
        )

    def test_bindSwitchedOff(self) -> None:
        """
        Where it is not served the answer is 91.
        """
        _, transport = self.client(BIND)
        self.assertRefused(transport, REFUSED)

    def test_otherCommands(self) -> None:
        """
        SOCKS4 has no others: what is 3 in SOCKS5 is not here.
        """
        for command in (0, 3, 0xF1, 255):
            _, transport = self.client(bytes((4, command)) + CONNECT[2:])
            self.assertRefused(transport, REFUSED)
        self.assertEqual(self.connector.attempts, [])

    def test_resolve(self) -> None:
        """
        Tor's RESOLVE is answered with the address of a name, and the end.
        """
        self.connector = names = FakeNameResolver()
        self.factory = self.makeFactory()
        _, transport = self.client(RESOLVE_4A)
        expected = Request(Command.RESOLVE, Address.name("example.com", 0), ANONYMOUS)
        self.assertEqual(names.asked, [expected])
        names.results[0].callback(Address.ip("192.0.2.1", 0))
        self.assertRefused(transport, b"\x00\x5a\x00\x00\xc0\x00\x02\x01")

    def test_resolveIPv6(self) -> None:
        """
        There is no way to say an IPv6 address.
        """
        self.connector = names = FakeNameResolver()
        self.factory = self.makeFactory()
        with capturedLogs() as events:
            _, transport = self.client(RESOLVE_4A)
            names.results[0].callback(Address.ip("2001:db8::1", 0))
        self.assertRefused(transport, REFUSED)
        self.assertIn("(reply 08)", formatEvent(events[0]))

    def test_resolveSwitchedOff(self) -> None:
        """
        It can be switched off here, too.
        """
        self.connector = names = FakeNameResolver()
        self.factory = self.makeFactory(resolve=False)
        _, transport = self.client(RESOLVE_4A)
        self.assertRefused(transport, REFUSED)
        self.assertEqual(names.asked, [])

    def test_wrong(self) -> None:
        """
        A user id without an end, or a name that cannot be, is answered with 91.
        """
        for data in (CONNECT[:8] + b"x" * 256, CONNECT_4A[:9] + b"x" * 64 + b"\0"):
            _, transport = self.client(data)
            self.assertRefused(transport, REFUSED)

    def test_endlessUserId(self) -> None:
        """
        What never ends is not kept.
        """
        session, transport = self.client(CONNECT[:8])
        for _ in range(300):
            session.dataReceived(b"u")
        self.assertRefused(transport, REFUSED)

    def test_port0(self) -> None:
        """
        Port 0 is refused.
        """
        _, transport = self.client(CONNECT[:2] + b"\0\0" + CONNECT[4:])
        self.assertRefused(transport, REFUSED)


class LoginTests(SessionTestCase):
    """
    A user id proves nothing.
    """

    def refused(self, *authenticators: Any) -> None:
        """
        With these nobody is let in.
        """
        self.factory = self.makeFactory(authenticators=authenticators)
        _, transport = self.client(CONNECT)
        self.assertRefused(transport, REFUSED)
        self.assertEqual(self.connector.attempts, [])

    def test_demanded(self) -> None:
        """
        Where a login is demanded the answer is 91, and nobody is asked for it.
        """
        self.refused(Asking())
        self.refused()

    def test_notThisClient(self) -> None:
        """
        Method 0 may be there for others only, or refuse.
        """
        for step in ("not this client", Denied("no")):
            self.refused(Unasked(step))

    def test_wantsBytes(self) -> None:
        """
        A negotiation of method 0 that wants bytes gets none.
        """
        authenticator = Unasked(None)
        self.refused(authenticator)
        self.assertEqual(authenticator.abandoned, 1)

    def test_granted(self) -> None:
        """
        Whoever method 0 says that it is, makes the request, and is logged out with
        the session.
        """
        logouts: list[str] = []
        ann = Identity("ann", logout=lambda: logouts.append("ann"))
        self.factory = self.makeFactory(
            authenticators=[Asking(), Unasked(Granted(ann))]
        )
        session, transport = self.client(CONNECT)
        self.assertIs(self.connector.attempts[0].request.identity, ann)
        transport.lose(session)
        self.assertEqual(logouts, ["ann"])

    def test_takesItsTime(self) -> None:
        """
        It can take its time to find out.
        """
        step: Deferred[Any] = Deferred()
        self.factory = self.makeFactory(authenticators=[Unasked(step)])
        _, transport = self.client(CONNECT)
        self.assertEqual(self.connector.attempts, [])
        step.callback(Granted(ANONYMOUS))
        self.assertEqual(len(self.connector.attempts), 1)
        self.assertEqual(transport.writes, [])


class JavaTests(SessionTestCase):
    """
    C{java.net.SocksSocketImpl} sends a SOCKS5 greeting, reads two bytes, and sends
    a SOCKS4 request when the first of them is not 5.
    """

    GREETING = b"\x05\x02\x00\x02"

    def setUp(self) -> None:
        super().setUp()
        self.factory = self.makeFactory(dialects=[SOCKS4()])

    def test_fallback(self) -> None:
        """
        Where SOCKS5 is not spoken it goes on with SOCKS4 over the same connection.
        """
        session, transport = self.client(self.GREETING)
        self.assertEqual(transport.writes, [b"\x00\x5b"])
        self.assertFalse(transport.writeEnded)
        session.dataReceived(CONNECT)
        self.connector.attempts[0].connect()
        self.assertEqual(transport.writes, [b"\x00\x5b", GRANTED])

    def test_everySplit(self) -> None:
        """
        Whatever the pieces are.
        """
        data = self.GREETING + CONNECT
        for split in range(1, len(data)):
            _, transport = self.client(data[:split], data[split:])
            self.connector.attempts[-1].connect()
            self.assertEqual(transport.writes, [b"\x00\x5b", GRANTED])

    def test_notNeeded(self) -> None:
        """
        Where SOCKS5 is spoken the answer is always one of version 5, also a
        refusal: so nobody tries SOCKS4 in vain.
        """
        self.factory = self.makeFactory(authenticators=[])
        _, transport = self.client(self.GREETING)
        self.assertRefused(transport, b"\x05\xff")


class SwitchTests(SessionTestCase):
    """
    Each protocol can be left out.
    """

    def test_off(self) -> None:
        """
        What is not spoken is not answered.
        """
        self.factory = self.makeFactory(dialects=[])
        for data in (CONNECT, b"\x05\x01\x00", b"GET / HTTP/1.1\r\n\r\n"):
            _, transport = self.client(data)
            self.assertRefused(transport)

    def test_transport(self) -> None:
        """
        The session still ends as it should.
        """
        session, transport = self.client(CONNECT, transport=MemoryTransport())
        transport.lose(session)
        self.assertTrue(self.connector.attempts[0].cancelled)
