"""
Tests for L{socksproxy.secured}, and for sessions with a security layer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import ConnectionRefused, RemoteProtocolError
from socksproxy.interfaces import (
    Granted,
    IAuthenticator,
    Identity,
    INegotiation,
    ISecurityLayer,
    ISession,
    NegotiationStep,
)
from socksproxy.relay.choice import isPlain
from socksproxy.relay.relay import ProtocolRelay
from socksproxy.secured import MESSAGE, SecuredTransport
from socksproxy.server.session import EARLY_DATA, Session
from socksproxy.test.securedsuite import MaskLayer, SecuredRelaySuite
from socksproxy.test.test_server_session import (
    REQUEST,
    SUCCESS,
    SessionTestCase,
    failure,
)
from socksproxy.testing import FakeAttempt, FakeBinder, MemoryTransport
from socksproxy.wire.buffer import ReceiveBuffer

HELLO = b"\x05\x01\x80" + b"?"
CLEAR = [b"\x05\x80", b"!"]
BIND = b"\x05\x02" + REQUEST[2:]
LAYER = MaskLayer()
wrap = LAYER.wrap


def unwrapped(writes: list[bytes]) -> list[bytes]:
    """
    What was in messages that were written one by one.
    """
    return [LAYER.unwrapDatagram(message) for message in writes]


class BrokenLayer(MaskLayer):
    """
    Cannot protect anything any more.
    """

    def wrap(self, data: bytes) -> bytes:
        raise ZeroDivisionError("a fault of the layer's")


@implementer(IAuthenticator, INegotiation)
class Protecting:
    """
    A question and an answer in clear, then all is protected.
    """

    method = 0x80

    def __init__(
        self, layer: ISecurityLayer | None = None, waits: bool = False
    ) -> None:
        self.layer = layer or MaskLayer()
        self.step: Deferred[NegotiationStep] | None = Deferred() if waits else None

    def beginNegotiation(self, session: ISession) -> INegotiation:
        return self

    def advance(
        self, received: ReceiveBuffer
    ) -> NegotiationStep | Deferred[NegotiationStep] | None:
        if received.take(1) is None:
            return None
        return self.granted() if self.step is None else self.step

    def granted(self) -> Granted:
        return Granted(Identity("u"), b"!", self.layer)

    def abandon(self) -> None: ...


class TransportTests(SynchronousTestCase):
    """
    One transport around another.
    """

    def setUp(self) -> None:
        self.below = MemoryTransport()
        self.transport = SecuredTransport(self.below, MaskLayer())

    def test_layer(self) -> None:
        """
        The layer of these tests is one.
        """
        verifyObject(ISecurityLayer, self.transport.layer)

    def test_write(self) -> None:
        """
        What is written is wrapped, in messages of a bounded size each.
        """
        data = bytes(range(256)) * 300
        self.transport.write(data)
        self.transport.write(b"")
        self.transport.writeSequence([b"one ", b"two"])
        pieces = unwrapped(self.below.writes)
        self.assertEqual([len(piece) for piece in pieces], [MESSAGE, MESSAGE, 11264, 7])
        self.assertEqual(b"".join(pieces), data + b"one two")

    def test_everythingElse(self) -> None:
        """
        All else is the transport's below; but it is not a plain one.
        """
        self.assertIs(self.transport.getPeer(), self.below.getPeer())
        self.transport.loseWriteConnection()
        self.assertTrue(self.below.writeEnded)
        self.assertFalse(hasattr(self.transport, "setTcpKeepAlive"))
        self.assertFalse(isPlain(self.transport))  # type: ignore[arg-type]

    def test_interfaces(self) -> None:
        """
        It is of the kind of the one below: TLS ends in a way of its own.
        """
        self.assertFalse(ISSLTransport.providedBy(self.transport))
        directlyProvides(self.below, ISSLTransport)
        self.assertTrue(
            ISSLTransport.providedBy(SecuredTransport(self.below, MaskLayer()))
        )

    def test_cannotProtect(self) -> None:
        """
        What cannot be protected is not sent: that ends the connection.
        """
        transport = SecuredTransport(self.below, BrokenLayer())
        transport.write(b"secret")
        self.assertEqual(self.below.writes, [])
        self.assertTrue(self.below.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_everySplit(self) -> None:
        """
        Messages may come in any pieces, and an end between two of them only.
        """
        data = wrap(b"one ") + wrap(b"two")
        for split in range(len(data) + 1):
            transport = SecuredTransport(self.below, MaskLayer())
            first = transport.unwrap(data[:split])
            self.assertEqual(transport.isTorn, split not in (0, 7, len(data)))
            self.assertEqual(first + transport.unwrap(data[split:]), b"one two")
            self.assertFalse(transport.isTorn)

    def test_unprotected(self) -> None:
        """
        After what was not protected nothing counts any more.
        """
        with self.assertRaises(RemoteProtocolError):
            self.transport.unwrap(wrap(b"good") + b"\x00\x01x" + wrap(b"lost"))
        self.assertEqual(self.transport.unwrap(wrap(b"too late")), b"")
        self.assertFalse(self.transport.isTorn)

    def test_tooMuch(self) -> None:
        """
        What waits for the rest of its message is bounded.
        """

        class Endless(MaskLayer):
            def unwrap(self, received: ReceiveBuffer) -> bytes | None:
                return None

        transport = SecuredTransport(self.below, Endless())
        with self.assertRaises(RemoteProtocolError):
            for _ in range(1000):
                transport.unwrap(bytes(1000))


class SecuredSessionTests(SessionTestCase):
    """
    Sessions with a security layer.
    """

    def setUp(self) -> None:
        self.authenticator = Protecting()
        self.lines: list[str] = []
        super().setUp()

    def makeFactory(self, **kwargs: Any) -> Any:
        factory = super().makeFactory(authenticators=[self.authenticator], **kwargs)
        self.patch(factory._accessLog, "_write", self.lines.append)
        return factory

    def secured(self, *received: bytes) -> tuple[Session, MemoryTransport]:
        """
        A client that has negotiated, which is not among what was written any
        more, and sent C{received} then.
        """
        self.factory = self.makeFactory()
        session, transport = self.client(HELLO, *received)
        self.assertEqual(transport.writes[:2], CLEAR)
        del transport.writes[:2]
        return session, transport

    def relaying(self) -> tuple[Session, MemoryTransport, FakeAttempt]:
        session, transport = self.secured(wrap(REQUEST))
        attempt = self.connector.attempts[-1]
        attempt.connect()
        transport.writes.clear()
        return session, transport, attempt

    def test_everySplit(self) -> None:
        """
        The answer of the negotiation goes out in clear, what follows is
        protected, both ways; also what has come with the negotiation already, in
        whatever pieces.
        """
        self.factory = self.makeFactory()
        handshake = HELLO + wrap(REQUEST[:4]) + wrap(REQUEST[4:]) + wrap(b"early")
        for split in range(1, len(handshake) + 1):
            _, transport = self.client(handshake[:split], handshake[split:])
            attempt = self.connector.attempts[-1]
            attempt.connect()
            self.assertEqual(transport.writes[:2], CLEAR)
            self.assertEqual(unwrapped(transport.writes[2:]), [SUCCESS])
            self.assertEqual(attempt.transport.writes, [b"early"])

    def test_later(self) -> None:
        """
        So it is when the negotiation takes its time.
        """
        self.authenticator = Protecting(waits=True)
        self.factory = self.makeFactory()
        _, transport = self.client(HELLO + wrap(REQUEST))
        self.assertEqual(self.connector.attempts, [])
        assert self.authenticator.step is not None
        self.authenticator.step.callback(self.authenticator.granted())
        self.connector.attempts[0].connect()
        self.assertEqual(transport.writes[:2], CLEAR)
        self.assertEqual(unwrapped(transport.writes[2:]), [SUCCESS])

    def test_relay(self) -> None:
        """
        The relay for any two transports serves it, and counts what was sent, not
        what its protection adds.
        """
        session, transport, attempt = self.relaying()
        relay = session._relay
        assert isinstance(relay, ProtocolRelay)
        data = wrap(b"question")
        session.dataReceived(data[:5])
        self.assertEqual(attempt.transport.writes, [])
        session.dataReceived(data[5:])
        attempt.protocol.dataReceived(b"answer")
        self.assertEqual(attempt.transport.writes, [b"question"])
        self.assertEqual(unwrapped(transport.writes), [b"answer"])
        self.assertEqual((relay.bytesSent, relay.bytesReceived), (8, 6))

    def test_backPressure(self) -> None:
        """
        A client that does not read stops the target, and the other way round.
        """
        _, transport, attempt = self.relaying()
        producer: Any = transport.producer
        producer.pauseProducing()
        self.assertEqual(attempt.transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(attempt.transport.producerState, "producing")
        producer = attempt.transport.producer
        producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")

    def test_halfClose(self) -> None:
        """
        The end of either side is an end for the other one.
        """
        session, transport, attempt = self.relaying()
        session.readConnectionLost()
        self.assertTrue(attempt.transport.writeEnded)
        attempt.protocol.dataReceived(b"still here")
        self.assertEqual(unwrapped(transport.writes), [b"still here"])
        attempt.protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)

    def test_tornInTheRelay(self) -> None:
        """
        An end in the middle of a message is none: the target gets a reset.
        """
        session, transport, attempt = self.relaying()
        session.dataReceived(wrap(b"message")[:-1])
        session.readConnectionLost()
        self.assertFalse(attempt.transport.writeEnded)
        self.assertTrue(attempt.transport.aborted)
        self.assertTrue(transport.aborted)
        transport.lose(session)
        attempt.transport.lose(attempt.protocol)
        self.assertIn("the client's last message is cut short", self.lines[-1])

    def test_tornAndGone(self) -> None:
        """
        So it is where a transport has no end before it is gone, like TLS.
        """
        for reason in (ConnectionDone(), ConnectionLost()):
            session, transport, attempt = self.relaying()
            session.dataReceived(wrap(b"message")[:-1])
            transport.lose(session, reason)
            self.assertTrue(attempt.transport.aborted)
            self.assertFalse(attempt.transport.disconnecting)
            attempt.transport.lose(attempt.protocol)
            self.assertIn("reset by the client", self.lines[-1])

    def test_unprotectedInTheRelay(self) -> None:
        """
        So does one that is not protected as it should be; nothing of it reaches
        the target, nor does what follows.
        """
        session, transport, attempt = self.relaying()
        session.dataReceived(b"\x00\x01x" + wrap(b"lost"))
        session.dataReceived(wrap(b"lost"))
        self.assertEqual(attempt.transport.writes, [])
        self.assertTrue(attempt.transport.aborted)
        self.assertTrue(transport.aborted)
        transport.lose(session)
        attempt.transport.lose(attempt.protocol)
        self.assertIn("the mark is missing", self.lines[-1])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_unprotectedHandshake(self) -> None:
        """
        A request that is not protected ends the connection, with a line that
        says why; whether it comes with the negotiation or later.
        """
        self.factory = self.makeFactory()
        for received in ((HELLO + b"\x00\x01x",), (HELLO, b"\x00\x01x" + REQUEST)):
            _, transport = self.client(*received)
            self.assertRefused(transport, *CLEAR)
            self.assertIn("refused: the mark is missing", self.lines[-1])
        self.assertEqual(self.connector.attempts, [])

    def test_tornHandshake(self) -> None:
        """
        So does an end in the middle of it, and of what follows it.
        """
        for received in (wrap(REQUEST)[:-1], wrap(REQUEST) + wrap(b"early")[:-1]):
            session, transport = self.secured(received)
            session.readConnectionLost()
            self.assertTrue(transport.disconnecting)
            self.assertIn("is cut short", self.lines[-1])
            transport.lose(session)
        self.assertTrue(self.connector.attempts[0].cancelled)

    def test_unprotectedWhileItConnects(self) -> None:
        """
        So does what is not protected while the target is being connected.
        """
        _, transport = self.secured(wrap(REQUEST), b"\x00\x01x")
        self.assertTrue(self.connector.attempts[0].cancelled)
        self.assertRefused(transport)

    def test_refused(self) -> None:
        """
        A refusal is protected too; what comes then is dropped, whatever it is,
        and the end ends it.
        """
        for more in (b"", wrap(b"more"), b"\x00\x01x", wrap(b"more")[:-1]):
            session, transport = self.secured(wrap(REQUEST))
            self.connector.attempts[-1].fail(ConnectionRefused("no"))
            self.assertEqual(unwrapped(transport.writes), [failure(5)])
            self.assertTrue(transport.writeEnded)
            if more:
                session.dataReceived(more)
            session.readConnectionLost()
            self.assertTrue(transport.disconnecting)
            self.assertIn("(reply 05)", self.lines[-1])

    def test_binding(self) -> None:
        """
        Each of BIND's answers is a message of its own.
        """
        self.connector = FakeBinder()
        _, transport = self.secured(wrap(BIND))
        binding = self.connector.bindings[0]
        binding.listen()
        binding.connect()
        first, second = unwrapped(transport.writes)
        self.assertEqual((first[:2], second[:2]), (b"\x05\x00", b"\x05\x00"))

    def test_earlyData(self) -> None:
        """
        What a client sends before it is answered is bounded as ever.
        """
        session, transport = self.secured(wrap(REQUEST))
        for _ in range(EARLY_DATA // 1000):
            session.dataReceived(wrap(bytes(1000)))
        self.assertEqual(transport.producerState, "producing")
        session.dataReceived(wrap(bytes(1000)))
        self.assertEqual(transport.producerState, "paused")
        self.connector.attempts[0].connect()
        self.assertEqual(transport.producerState, "producing")


class SecuredRelayTests(SecuredRelaySuite):
    """
    A relay does not notice the layer that its client has.
    """

    def layers(self) -> tuple[ISecurityLayer, ISecurityLayer]:
        return MaskLayer(), MaskLayer()


# They are there to be subclassed.
del SecuredRelaySuite, SessionTestCase
