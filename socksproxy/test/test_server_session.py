"""
Tests for L{socksproxy.server.session}, in memory.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.access import PermitAll
from socksproxy.errors import ConnectionRefused, HostUnreachable
from socksproxy.interfaces import (
    ANONYMOUS,
    Continue,
    Denied,
    Granted,
    IAccessPolicy,
    IAuthenticator,
    Identity,
    INegotiation,
    ISession,
    NegotiationStep,
    Request,
)
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.server.session import EARLY_DATA, Session
from socksproxy.testing import FakeAttempt, FakeConnector, MemoryTransport
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command

GREETING = b"\x05\x01\x00"
SELECTION = b"\x05\x00"
REQUEST = b"\x05\x01\x00\x01\xc6\x33\x64\x02\x00\x50"  # CONNECT 198.51.100.2:80
SUCCESS = b"\x05\x00\x00\x01\xc6\x33\x64\x01\xc3\x50"  # bound 198.51.100.1:50000


def failure(code: int) -> bytes:
    """
    The reply with C{code} and nothing else to say.
    """
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


class SessionTestCase(SynchronousTestCase):
    """
    A factory with a connector that the test decides for, and clients of it.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector = FakeConnector()
        self.factory = self.makeFactory()

    def makeFactory(self, **kwargs: Any) -> SOCKS5Factory:
        kwargs.setdefault("connector", self.connector)
        return SOCKS5Factory(None, clock=self.clock, **kwargs)

    def client(
        self, *received: bytes, transport: MemoryTransport | None = None
    ) -> tuple[Session, MemoryTransport]:
        """
        A client that has connected and sent C{received}.
        """
        transport = transport or MemoryTransport()
        session = self.factory.buildProtocol(transport.getPeer())
        session.makeConnection(transport)
        for data in received:
            session.dataReceived(data)
        return session, transport

    def relaying(self) -> tuple[Session, MemoryTransport, FakeAttempt]:
        """
        A session whose relay has started.
        """
        session, transport = self.client(GREETING, REQUEST)
        attempt = self.connector.attempts[-1]
        attempt.connect()
        transport.writes.clear()
        return session, transport, attempt

    def assertRefused(self, transport: MemoryTransport, *writes: bytes) -> None:
        """
        The client was told exactly C{writes} and then the end.
        """
        self.assertEqual(transport.writes, list(writes))
        self.assertTrue(transport.writeEnded)


class HandshakeTests(SessionTestCase):
    """
    From the first byte to the request.
    """

    def test_interface(self) -> None:
        """
        A session is what plugs expect.
        """
        session, _ = self.client()
        verifyObject(ISession, session)

    def test_answersAreSingleWrites(self) -> None:
        """
        A whole handshake in one segment is answered with one write for each
        answer, of its exact length: some clients read just that.
        """
        _, transport = self.client(GREETING + REQUEST)
        self.connector.attempts[0].connect()
        self.assertEqual(transport.writes, [SELECTION, SUCCESS])

    def test_everySplit(self) -> None:
        """
        The handshake may come in any two pieces.
        """
        handshake = GREETING + REQUEST
        for split in range(1, len(handshake)):
            _, transport = self.client(handshake[:split], handshake[split:])
            self.connector.attempts[-1].connect()
            self.assertEqual(transport.writes, [SELECTION, SUCCESS])

    def test_byteByByte(self) -> None:
        """
        Or one byte at a time.
        """
        _, transport = self.client(*(bytes((b,)) for b in GREETING + REQUEST))
        self.connector.attempts[-1].connect()
        self.assertEqual(transport.writes, [SELECTION, SUCCESS])

    def test_request(self) -> None:
        """
        The connector gets the request as a value.
        """
        session, _ = self.client(GREETING, REQUEST)
        attempt = self.connector.attempts[0]
        expected = Request(Command.CONNECT, Address.ip("198.51.100.2", 80), ANONYMOUS)
        self.assertEqual(attempt.request, expected)
        self.assertIs(attempt.session, session)

    def test_otherProtocol(self) -> None:
        """
        A first byte of no known protocol ends the connection.
        """
        _, transport = self.client(b"\x16\x03\x01")
        self.assertRefused(transport)

    def test_noMethodsOffered(self) -> None:
        """
        A greeting without methods gets FF and the end.
        """
        _, transport = self.client(b"\x05\x00")
        self.assertRefused(transport, b"\x05\xff")

    def test_noMethodAcceptable(self) -> None:
        """
        So does one whose methods the server does not have.
        """
        _, transport = self.client(b"\x05\x02\x01\x02")
        self.assertRefused(transport, b"\x05\xff")

    def test_wrongVersionOfRequest(self) -> None:
        """
        A request of another version gets reply 01.
        """
        _, transport = self.client(GREETING, b"\x04\x01\x00")
        self.assertRefused(transport, SELECTION, failure(1))

    def test_unknownAddressType(self) -> None:
        """
        An unknown ATYP gets reply 08, before the address is complete.
        """
        _, transport = self.client(GREETING, b"\x05\x01\x00\x02")
        self.assertRefused(transport, SELECTION, failure(8))

    def test_impossibleName(self) -> None:
        """
        A name that cannot be one gets reply 04.
        """
        for name in (b"", b"a\0b", b"x" * 64):
            _, transport = self.client(
                GREETING, b"\x05\x01\x00\x03" + bytes((len(name),)) + name + b"\x00\x50"
            )
            self.assertRefused(transport, SELECTION, failure(4))

    def test_unknownCommand(self) -> None:
        """
        A command that is unknown or switched off gets reply 07.
        """
        for command in (0, 2, 3, 4, 0xF0, 255):
            _, transport = self.client(GREETING, bytes((5, command)) + REQUEST[2:])
            self.assertRefused(transport, SELECTION, failure(7))

    def test_portZero(self) -> None:
        """
        CONNECT to port 0 is refused with a reply.
        """
        _, transport = self.client(GREETING, REQUEST[:-2] + b"\x00\x00")
        self.assertRefused(transport, SELECTION, failure(2))

    def test_whatComesAfterARefusalIsDropped(self) -> None:
        """
        A client that goes on sending is not listened to any more.
        """
        session, transport = self.client(b"\x05\x00")
        session.dataReceived(GREETING + REQUEST)
        self.assertRefused(transport, b"\x05\xff")
        self.assertEqual(self.connector.attempts, [])

    def test_closesWhenTheClientDoes(self) -> None:
        """
        The connection of a client that was refused is closed when the client
        ends its side.
        """
        session, transport = self.client(b"\x05\x00")
        self.assertFalse(transport.disconnecting)
        session.readConnectionLost()
        self.assertTrue(transport.disconnecting)

    def test_closesAnyhow(self) -> None:
        """
        It is closed soon when the client does not.
        """
        _, transport = self.client(b"\x05\x00")
        self.clock.advance(10)
        self.assertTrue(transport.aborted)

    def test_handshakeTimeout(self) -> None:
        """
        A handshake that does not come to its end is ended.
        """
        _, transport = self.client(GREETING)
        self.clock.advance(29.9)
        self.assertFalse(transport.writeEnded)
        self.clock.advance(0.1)
        self.assertTrue(transport.writeEnded)

    def test_clientEndsEarly(self) -> None:
        """
        A client that ends its side before its request was complete has left.
        """
        session, transport = self.client(GREETING, REQUEST[:5])
        session.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.writes, [SELECTION])

    def test_clientLeaves(self) -> None:
        """
        A client that is gone leaves nothing behind.
        """
        session, transport = self.client(GREETING)
        transport.lose(session, ConnectionLost())
        self.assertEqual(len(self.factory.admission), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leavesOneLine(self) -> None:
        """
        Whoever leaves during the handshake costs one line, with what TLS had to
        say if that was why; one who was told to leave already costs no other.
        """
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        failed = Exception([("SSL routines", "", "wrong version number")])
        for why, reason in (
            (ConnectionDone(), "the client left during the handshake"),
            (ConnectionLost(), "the client left during the handshake"),
            (failed, "TLS failed: wrong version number"),
        ):
            session, transport = self.client()
            transport.lose(session, why)
            (event,) = events
            events.clear()
            self.assertEqual(event["reason"], reason)
        session, transport = self.client()
        session.abort("the proxy stopped")
        transport.lose(session, ConnectionLost())
        self.assertEqual(events, [])

    def test_certificate(self) -> None:
        """
        Plugs can see the client's certificate as long as it is there, if there
        is any.
        """
        session, _ = self.client()
        self.assertIsNone(session.certificate)

        class Certified(MemoryTransport):
            shown: Any = None

            def getPeerCertificate(self) -> Any:
                return self.shown

            def to_cryptography(self) -> str:
                return "certificate"

        transport = Certified()
        session, _ = self.client(transport=transport)
        self.assertIsNone(session.certificate)
        transport.shown = transport
        self.assertEqual(session.certificate, "certificate")
        transport.lose(session)
        self.assertIsNone(session.certificate)

    def test_tooMuchBeforeItWasAsked(self) -> None:
        """
        What a client may send before its turn is bounded.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0, negotiation)])
        session, transport = self.client(GREETING + b"x")
        for _ in range(5):
            session.dataReceived(b"x" * (1 << 16))
        self.assertRefused(transport, SELECTION)

    def test_tcpOptions(self) -> None:
        """
        A TCP connection does not delay small segments, and once it lasts it
        notices a peer that is gone; other transports have no such options.
        """
        options = []

        class TCPTransport(MemoryTransport):
            def setTcpNoDelay(self, enabled: bool) -> None:
                options.append(("nodelay", enabled))

            def setTcpKeepAlive(self, enabled: bool) -> None:
                options.append(("keepalive", enabled))

        self.client(GREETING, REQUEST, transport=TCPTransport())
        self.assertEqual(options, [("nodelay", True)])
        self.connector.attempts[-1].connect(TCPTransport())
        self.clock.advance(59.9)
        self.assertEqual(len(options), 1)
        self.clock.advance(0.1)
        self.assertEqual(options[1:], [("keepalive", True)] * 2)
        transport = TCPTransport(peerAddress=UNIXAddress(b"/client"))
        self.factory.buildProtocol(None).makeConnection(transport)
        self.assertEqual(len(options), 3)

    def test_lastsHalfLost(self) -> None:
        """
        A connection that is gone already is not kept alive.
        """
        session, transport, attempt = self.relaying()
        transport.lose(session)
        self.clock.advance(60)
        self.assertTrue(attempt.transport.disconnecting)


@implementer(IAuthenticator)
class Scripted:
    """
    An authenticator whose negotiation the test provides.
    """

    def __init__(self, method: int, negotiation: INegotiation | None) -> None:
        self.method = method
        self.negotiation = negotiation

    def beginNegotiation(self, session: ISession) -> INegotiation | None:
        return self.negotiation


@implementer(INegotiation)
class SlowNegotiation:
    """
    Takes one byte and answers when the test says.
    """

    abandoned = False

    def __init__(self) -> None:
        self.step: Deferred[NegotiationStep] = Deferred()

    def advance(self, received: ReceiveBuffer) -> Deferred[NegotiationStep] | None:
        return None if received.take(1) is None else self.step

    def abandon(self) -> None:
        self.abandoned = True


@implementer(INegotiation)
class TwoRounds:
    """
    Challenge, answer, challenge, answer: a private method's sub-protocol.
    """

    def __init__(self) -> None:
        self.rounds = 0

    def advance(self, received: ReceiveBuffer) -> NegotiationStep | None:
        answer = received.take(4)
        if answer is None:
            return None
        self.rounds += 1
        if answer != b"%04d" % self.rounds:
            return Denied("wrong answer", b"no")
        if self.rounds == 1:
            return Continue(b"again")
        return Granted(Identity("private"), b"yes")

    def abandon(self) -> None:
        pass


@implementer(INegotiation)
class Raises:
    """
    A negotiation with a fault of its own.
    """

    def advance(self, received: ReceiveBuffer) -> NegotiationStep:
        raise ZeroDivisionError("a fault")

    def abandon(self) -> None:
        pass


class AuthenticationTests(SessionTestCase):
    """
    Who is it?
    """

    def test_serverPrefers(self) -> None:
        """
        The server's order decides, not the client's.
        """
        self.factory = self.makeFactory(
            authenticators=[Scripted(0x80, TwoRounds()), Scripted(0, TwoRounds())]
        )
        _, transport = self.client(b"\x05\x02\x00\x80")
        self.assertEqual(transport.writes, [b"\x05\x80"])

    def test_notOfferedToThisClient(self) -> None:
        """
        An authenticator may decline a client: the next one is asked.
        """
        self.factory = self.makeFactory(
            authenticators=[Scripted(0x80, None), Scripted(0x81, TwoRounds())]
        )
        _, transport = self.client(b"\x05\x02\x80\x81")
        self.assertEqual(transport.writes, [b"\x05\x81"])

    def test_privateMethod(self) -> None:
        """
        A method from outside the package, in two round trips; the identity
        that it found reaches the connector.
        """
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, TwoRounds())])
        session, transport = self.client(b"\x05\x01\x80")
        self.assertEqual(transport.writes, [b"\x05\x80"])
        session.dataReceived(b"00")
        session.dataReceived(b"01")
        self.assertEqual(transport.writes[1:], [b"again"])
        session.dataReceived(b"0002" + REQUEST)
        self.assertEqual(transport.writes[2:], [b"yes"])
        self.assertEqual(self.connector.attempts[0].request.identity.name, "private")

    def test_privateMethodPipelined(self) -> None:
        """
        The same in one segment, and byte by byte.
        """
        whole = b"\x05\x01\x80" + b"0001" + b"0002" + REQUEST
        for pieces in ([whole], [bytes((b,)) for b in whole]):
            self.factory = self.makeFactory(
                authenticators=[Scripted(0x80, TwoRounds())]
            )
            _, transport = self.client(*pieces)
            self.assertEqual(transport.writes, [b"\x05\x80", b"again", b"yes"])

    def test_denied(self) -> None:
        """
        A refusal is answered as the method has it, and ends the connection.
        """
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, TwoRounds())])
        _, transport = self.client(b"\x05\x01\x80" + b"9999" + REQUEST)
        self.assertRefused(transport, b"\x05\x80", b"no")
        self.assertEqual(self.connector.attempts, [])

    def test_slow(self) -> None:
        """
        While an authenticator takes its time the client is not read from, and
        what it sent before is looked at afterwards.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        session, transport = self.client(b"\x05\x01\x80" + b"x" + REQUEST[:4])
        self.assertEqual(transport.producerState, "paused")
        session.dataReceived(REQUEST[4:])
        self.assertEqual(self.connector.attempts, [])
        negotiation.step.callback(Granted(ANONYMOUS, b"in"))
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual(transport.writes, [b"\x05\x80", b"in"])
        self.assertEqual(len(self.connector.attempts), 1)

    def test_slowDenied(self) -> None:
        """
        A refusal may come late as well.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        _, transport = self.client(b"\x05\x01\x80" + b"x")
        negotiation.step.callback(Denied("no", b"no"))
        self.assertRefused(transport, b"\x05\x80", b"no")

    def test_slowTimesOut(self) -> None:
        """
        An authenticator that never answers does not hold the connection.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        session, transport = self.client(b"\x05\x01\x80" + b"x")
        self.clock.advance(30)
        self.assertRefused(transport, b"\x05\x80")
        self.assertTrue(negotiation.step.called)
        transport.lose(session)
        self.assertTrue(negotiation.abandoned)

    def test_leavesMeanwhile(self) -> None:
        """
        A client that leaves cancels what it waited for.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        session, transport = self.client(b"\x05\x01\x80" + b"x")
        transport.lose(session)
        self.assertTrue(negotiation.step.called)
        self.assertTrue(negotiation.abandoned)

    def test_endsMeanwhile(self) -> None:
        """
        A client that ended its side during its login and had not sent its
        request by then has left.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        session, transport = self.client(b"\x05\x01\x80" + b"x")
        session.readConnectionLost()
        negotiation.step.callback(Granted(ANONYMOUS, b"in"))
        self.assertTrue(transport.disconnecting)

    def test_faultAtOnce(self) -> None:
        """
        A fault of an authenticator is logged and ends the connection.
        """
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, Raises())])
        _, transport = self.client(b"\x05\x01\x80")
        self.assertRefused(transport, b"\x05\x80")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_faultLater(self) -> None:
        """
        The same when it comes late.
        """
        negotiation = SlowNegotiation()
        self.factory = self.makeFactory(authenticators=[Scripted(0x80, negotiation)])
        _, transport = self.client(b"\x05\x01\x80" + b"x")
        negotiation.step.errback(ZeroDivisionError("a fault"))
        self.assertRefused(transport, b"\x05\x80")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_logoutFails(self) -> None:
        """
        A realm that cannot log out does not keep its session.
        """

        def logout() -> None:
            raise ZeroDivisionError("a fault of the realm's")

        negotiation = SlowNegotiation()
        negotiation.step.callback(Granted(Identity("u", logout=logout), b"in"))
        self.factory = self.makeFactory(authenticators=[Scripted(0, negotiation)])
        session, transport = self.client(GREETING + b"x" + REQUEST)
        transport.lose(session)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.factory.admission), 0)

    def test_logout(self) -> None:
        """
        Whoever logged in is logged out when the session is over, once.
        """
        for received, ends in (
            (REQUEST, False),
            (b"", False),
            (b"\x05\x01\x00\x09", True),
            (REQUEST, True),
        ):
            logouts: list[None] = []
            negotiation = SlowNegotiation()
            negotiation.step.callback(
                Granted(Identity("u", logout=lambda: logouts.append(None)), b"in")  # noqa: B023
            )
            self.factory = self.makeFactory(
                authenticators=[Scripted(0x80, negotiation)]
            )
            session, transport = self.client(b"\x05\x01\x80" + b"x" + received)
            if ends:
                session.readConnectionLost()
            self.assertEqual(logouts, [])
            transport.lose(session)
            self.assertEqual(logouts, [None])


@implementer(IAccessPolicy)
class ScriptedPolicy(PermitAll):
    """
    A policy that the test decides for.
    """

    def __init__(self, permitted: Any) -> None:
        self.permitted = permitted
        self.asked: list[Request] = []

    def permitsRequest(self, request: Request, session: ISession) -> Any:
        self.asked.append(request)
        if isinstance(self.permitted, Exception):
            raise self.permitted
        return self.permitted


class RequestTests(SessionTestCase):
    """
    From the request to its answer.
    """

    def test_permitted(self) -> None:
        """
        The policy is asked before the connector.
        """
        policy = ScriptedPolicy(True)
        self.factory = self.makeFactory(policy=policy)
        self.client(GREETING, REQUEST)
        self.assertEqual(policy.asked, [self.connector.attempts[0].request])

    def test_notPermitted(self) -> None:
        """
        What the policy does not permit gets reply 02 and is not dialled.
        """
        self.factory = self.makeFactory(policy=ScriptedPolicy(False))
        _, transport = self.client(GREETING, REQUEST)
        self.assertRefused(transport, SELECTION, failure(2))
        self.assertEqual(self.connector.attempts, [])

    def test_slowPolicy(self) -> None:
        """
        A policy may take its time, either way.
        """
        for permitted, writes in (
            (True, [SELECTION]),
            (False, [SELECTION, failure(2)]),
        ):
            answer: Deferred[bool] = Deferred()
            self.factory = self.makeFactory(policy=ScriptedPolicy(answer))
            _, transport = self.client(GREETING, REQUEST)
            before = len(self.connector.attempts)
            self.assertEqual(transport.writes, [SELECTION])
            answer.callback(permitted)
            self.assertEqual(transport.writes, writes)
            self.assertEqual(len(self.connector.attempts) - before, int(permitted))

    def test_slowPolicyTimesOut(self) -> None:
        """
        A policy that never answers gets the client reply 04.
        """
        answer: Deferred[bool] = Deferred()
        self.factory = self.makeFactory(policy=ScriptedPolicy(answer))
        _, transport = self.client(GREETING, REQUEST)
        self.clock.advance(30)
        self.assertRefused(transport, SELECTION, failure(4))

    def test_faultOfPolicy(self) -> None:
        """
        A fault of the policy is logged and answered with 01, at once or late.
        """
        late: Deferred[bool] = Deferred()
        late.errback(ZeroDivisionError("a fault"))
        for permitted in (ZeroDivisionError("a fault"), late):
            self.factory = self.makeFactory(policy=ScriptedPolicy(permitted))
            _, transport = self.client(GREETING, REQUEST)
            self.assertRefused(transport, SELECTION, failure(1))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failures(self) -> None:
        """
        A failure is answered with the reply of its cause.
        """
        for exception, code in (
            (ConnectionRefused(), 5),
            (HostUnreachable("no such name"), 4),
            (OSError(errno.ENETUNREACH, "unreachable"), 3),
            (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 1),
        ):
            _, transport = self.client(GREETING, REQUEST)
            self.connector.attempts[-1].fail(exception)
            self.assertRefused(transport, SELECTION, failure(code))
        self.factory.admission.close()

    def test_faultOfConnector(self) -> None:
        """
        Anything else is the connector's fault: logged, and answered with 01.
        """
        _, transport = self.client(GREETING, REQUEST)
        self.connector.attempts[0].fail(ZeroDivisionError("a fault"))
        self.assertRefused(transport, SELECTION, failure(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_connectorRaises(self) -> None:
        """
        So is what it raises.
        """

        class Raising:
            def connect(self, *args: object) -> Deferred[IProtocol]:
                raise ConnectionRefused()

        self.factory = self.makeFactory(connector=Raising())
        _, transport = self.client(GREETING, REQUEST)
        self.assertRefused(transport, SELECTION, failure(5))

    def test_foreignProtocol(self) -> None:
        """
        A connector must return what the protocolFactory built.
        """
        _, transport = self.client(GREETING, REQUEST)
        self.connector.attempts[0].result.callback(Protocol())
        self.assertRefused(transport, SELECTION, failure(1))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_timeout(self) -> None:
        """
        A connector has limited time; then it is cancelled and the reply is 04.
        """
        _, transport = self.client(GREETING, REQUEST)
        self.clock.advance(29.9)
        self.assertEqual(transport.writes, [SELECTION])
        self.clock.advance(0.1)
        self.assertTrue(self.connector.attempts[0].cancelled)
        self.assertRefused(transport, SELECTION, failure(4))

    def test_timeoutWithSomethingToTell(self) -> None:
        """
        A connector that knows more when it is cancelled is heard.
        """

        class Knowing:
            def connect(self, *args: object) -> Deferred[IProtocol]:
                return Deferred(lambda d: d.errback(ConnectionRefused()))

        self.factory = self.makeFactory(connector=Knowing())
        _, transport = self.client(GREETING, REQUEST)
        self.clock.advance(30)
        self.assertRefused(transport, SELECTION, failure(5))

    def test_connectedTooLate(self) -> None:
        """
        A connection that comes although it was cancelled is not kept.
        """

        class Stubborn(FakeConnector):
            def connect(self, *args: Any) -> Deferred[IProtocol]:
                super().connect(*args)
                attempt = self.attempts[-1]

                def connectAnyhow(result: Deferred[IProtocol]) -> None:
                    attempt.connect()

                attempt.result = Deferred(connectAnyhow)
                return attempt.result

        self.factory = self.makeFactory(connector=Stubborn())
        session, transport = self.client(GREETING, REQUEST)
        transport.lose(session)
        connector: Any = self.factory.connector
        self.assertTrue(connector.attempts[0].transport.aborted)

    def test_leavesMeanwhile(self) -> None:
        """
        A client that leaves cancels its connection.
        """
        session, transport = self.client(GREETING, REQUEST)
        transport.lose(session, ConnectionLost())
        self.assertTrue(self.connector.attempts[0].cancelled)
        self.assertEqual(len(self.factory.admission), 0)

    def test_earlyData(self) -> None:
        """
        What a client sends before it was answered reaches the target first.
        """
        session, transport = self.client(GREETING + REQUEST + b"one ")
        session.dataReceived(b"two ")
        target = self.connector.attempts[0].connect()
        session.dataReceived(b"three")
        self.assertEqual(target.value(), b"one two three")
        self.assertEqual(transport.writes, [SELECTION, SUCCESS])

    def test_earlyDataIsBounded(self) -> None:
        """
        Too much of it, and the client has to wait for the answer.
        """
        session, transport = self.client(GREETING + REQUEST)
        session.dataReceived(b"x" * EARLY_DATA)
        self.assertEqual(transport.producerState, "producing")
        session.dataReceived(b"x")
        self.assertEqual(transport.producerState, "paused")
        target = self.connector.attempts[0].connect()
        self.assertEqual(len(target.value()), EARLY_DATA + 1)
        self.assertEqual(transport.producerState, "producing")

    def test_earlyEnd(self) -> None:
        """
        A client may end its side before it was answered: its data and then its
        end reach the target, and the answer of the target reaches it.
        """
        session, transport = self.client(GREETING + REQUEST + b"all")
        session.readConnectionLost()
        attempt = self.connector.attempts[0]
        target = attempt.connect()
        self.assertEqual(target.value(), b"all")
        self.assertTrue(target.writeEnded)
        attempt.protocol.dataReceived(b"thanks")
        self.assertEqual(transport.writes[-1], b"thanks")

    def test_bannerFollowsTheAnswer(self) -> None:
        """
        What the target says first comes after the reply.
        """
        _, transport = self.client(GREETING, REQUEST)
        attempt = self.connector.attempts[0]
        protocol = attempt._protocolFactory.buildProtocol(attempt.transport.getPeer())
        assert protocol is not None
        protocol.makeConnection(attempt.transport)
        protocol.dataReceived(b"220 hello")
        attempt.result.callback(protocol)
        self.assertEqual(transport.writes, [SELECTION, SUCCESS, b"220 hello"])

    def test_boundAddresses(self) -> None:
        """
        BND.ADDR is the outgoing connection's own address, never a name; an
        IPv4-mapped one is IPv4, and one of another kind is 0.0.0.0.
        """
        from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

        for host, expected in (
            (IPv4Address("TCP", "203.0.113.9", 258), b"\x01\xcb\x00\x71\x09\x01\x02"),
            (
                IPv6Address("TCP", "2001:db8::1", 258),
                b"\x04" + bytes.fromhex("20010db8" + "0" * 23 + "1") + b"\x01\x02",
            ),
            (
                IPv6Address("TCP", "::ffff:203.0.113.9", 2),
                b"\x01\xcb\x00\x71\x09\x00\x02",
            ),
            (IPv6Address("TCP", "fe80::1%eth0", 2), None),
            (UNIXAddress("/some/path"), b"\x01" + bytes(6)),
        ):
            _, transport = self.client(GREETING, REQUEST)
            target = MemoryTransport(host, host)
            self.connector.attempts[-1].connect(target)
            if expected is not None:
                self.assertEqual(transport.writes[-1], b"\x05\x00\x00" + expected)
            else:
                self.assertEqual(transport.writes[-1][3:6], b"\x04\xfe\x80")


class RelayingTests(SessionTestCase):
    """
    From the answer to the end.
    """

    def test_bothWays(self) -> None:
        """
        Bytes go both ways.
        """
        session, transport, attempt = self.relaying()
        session.dataReceived(b"ping")
        self.assertEqual(attempt.transport.value(), b"ping")
        attempt.protocol.dataReceived(b"pong")
        self.assertEqual(transport.writes, [b"pong"])

    def test_halfClose(self) -> None:
        """
        The client's end is passed on; then the target's, which ends it.
        """
        session, transport, attempt = self.relaying()
        session.readConnectionLost()
        self.assertTrue(attempt.transport.writeEnded)
        self.assertFalse(transport.disconnecting)
        session.writeConnectionLost()
        attempt.protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        self.assertTrue(attempt.transport.disconnecting)
        transport.lose(session)
        self.assertEqual(len(self.factory.admission), 1)
        attempt.transport.lose(attempt.protocol)
        self.assertEqual(len(self.factory.admission), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reset(self) -> None:
        """
        A reset of one side resets the other.
        """
        session, transport, attempt = self.relaying()
        transport.lose(session, ConnectionLost())
        self.assertTrue(attempt.transport.aborted)
        session, transport, attempt = self.relaying()
        attempt.transport.lose(attempt.protocol, ConnectionLost())
        self.assertTrue(transport.aborted)

    def test_idle(self) -> None:
        """
        With an idle timeout a silent session is ended.
        """
        self.factory = self.makeFactory(limits=Limits(idleTimeout=8))
        session, transport, attempt = self.relaying()
        self.clock.pump([1] * 7)
        session.dataReceived(b"x")
        self.clock.pump([1] * 7)
        self.assertFalse(transport.aborted)
        self.clock.pump([1] * 3)
        self.assertTrue(transport.aborted)
        self.assertTrue(attempt.transport.aborted)

    def test_noTimers(self) -> None:
        """
        Without one there is nothing left that will expire: no answer, however
        late, comes too late.
        """
        _, transport, attempt = self.relaying()
        self.clock.pump([30] * 1000)
        self.assertFalse(transport.aborted or attempt.transport.aborted)

    def test_faultAtTheStart(self) -> None:
        """
        A fault when the relay is to start is logged and ends the session.
        """

        def raising(*args: object) -> None:
            raise ZeroDivisionError("a fault")

        _, transport = self.client(GREETING, REQUEST)
        self.patch(self.factory, "sessionConnected", raising)
        target = self.connector.attempts[0].connect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(transport.aborted)
        self.assertTrue(target.aborted)
