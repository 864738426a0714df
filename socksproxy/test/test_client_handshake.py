"""
Tests for L{socksproxy.client.handshake}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.client.errors import LoginRefused, ProxyProtocolError
from socksproxy.client.handshake import Handshake
from socksproxy.client.interfaces import Accepted, ClientStep
from socksproxy.client.login import NoLogin
from socksproxy.client.socks5 import SOCKS5Conversation
from socksproxy.errors import ConnectionRefused, RemoteProtocolError
from socksproxy.interfaces import Continue, Denied, ISecurityLayer
from socksproxy.test.proxyline import (
    HalfCloseable,
    Line,
    Recorder,
    ended,
    recorders,
)
from socksproxy.test.test_client_socks5 import (
    BOUND,
    REQUEST,
    SUCCESS,
    TARGET,
    PrivateMethod,
)
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command

ADDRESS = HostnameAddress(b"example.org", 443)


@implementer(ISecurityLayer)
class Counted:
    """
    A layer whose messages are C{<BYTES>}.
    """

    def wrap(self, data: bytes) -> bytes:
        return b"<" + data + b">"

    def unwrap(self, received: ReceiveBuffer) -> bytes | None:
        data = received.peek(len(received)) or b""
        if data[:1] not in (b"", b"<"):
            raise RemoteProtocolError("not protected")
        end = data.find(b">")
        if end < 0:
            return None
        received.take(end + 1)
        return data[1:end]

    def wrapDatagram(self, datagram: bytes) -> bytes:
        return self.wrap(datagram)

    def unwrapDatagram(self, datagram: bytes) -> bytes:
        if datagram[:1] != b"<":
            raise RemoteProtocolError("not protected")
        return datagram[1:-1]


class HandshakeTestCase(SynchronousTestCase):
    """
    One handshake over one line.
    """

    def start(self, *methods: Any, line: Line | None = None) -> None:
        """
        Connect it, and let it begin.
        """
        self.connect(*methods, line=line)
        self.result = self.handshake.converse()

    def connect(self, *methods: Any, line: Line | None = None) -> None:
        self.line = Line() if line is None else line
        self.talk = SOCKS5Conversation(Command.CONNECT, TARGET, methods or (NoLogin(),))
        self.handshake = Handshake(self.talk)
        self.line.protocol = self.handshake
        self.handshake.makeConnection(self.line)

    def connected(self, kind: type[Recorder] = Recorder) -> Recorder:
        """
        A protocol that has been given the connection.
        """
        self.start()
        self.line.receive(b"\x05\0" + SUCCESS)
        self.successResultOf(self.result)
        protocol: Recorder = self.handshake.handOver(recorders(kind), ADDRESS)
        self.line.taken()
        return protocol


class ConversationTests(HandshakeTestCase):
    """
    Until there is a reply.
    """

    def test_reply(self) -> None:
        """
        What the conversation says is written, what comes is put before it.
        """
        self.start()
        verifyObject(IHalfCloseableProtocol, self.handshake)
        self.assertEqual(self.line.taken(), b"\x05\x01\0")
        self.line.receive(b"\x05")
        self.assertEqual(self.line.taken(), b"")
        self.line.receive(b"\0")
        self.assertEqual(self.line.taken(), REQUEST)
        self.assertNoResult(self.result)
        self.line.receive(SUCCESS)
        self.assertIs(self.successResultOf(self.result), self.handshake)
        self.assertEqual(self.handshake.bound, BOUND)
        self.assertFalse(ended(self.line))

    def test_refused(self) -> None:
        """
        A refusal closes the connection.
        """
        self.start()
        self.line.receive(b"\x05\0\x05\x05\0\x01" + bytes(6))
        self.failureResultOf(self.result, ConnectionRefused)
        self.assertTrue(ended(self.line))
        self.line.gone()

    def test_garbage(self) -> None:
        """
        So does what is not the protocol's, and too much of anything.
        """
        for data in (b"HTTP/1.1 400\r\n\r\n", b"\x05\0\x05\x77"):
            self.start()
            self.line.receive(data)
            self.failureResultOf(self.result, ProxyProtocolError)
            self.assertTrue(ended(self.line))
            self.line.receive(b"more")

    def test_bounded(self) -> None:
        """
        A proxy cannot have us remember whatever it likes.
        """
        waiting: Deferred[ClientStep] = Deferred()
        self.start(PrivateMethod(waiting))
        self.line.receive(b"\x05\x80")
        self.line.receive(bytes(1 << 19))
        self.failureResultOf(self.result, ProxyProtocolError)
        self.assertTrue(ended(self.line))
        self.assertTrue(waiting.called)

    def test_lost(self) -> None:
        """
        A connection that is lost, or half lost, before the reply is an error.
        """
        for lose in (self.lose, self.loseHalf):
            for received in (b"", b"\x05", b"\x05\0", b"\x05\0\x05\0"):
                self.start()
                self.line.receive(received)
                lose()
                self.failureResultOf(self.result, ProxyProtocolError)

    def lose(self) -> None:
        self.line.gone(ConnectionLost())

    def loseHalf(self) -> None:
        self.handshake.readConnectionLost()
        self.assertTrue(ended(self.line))

    def test_throughAnEndpoint(self) -> None:
        """
        Twisted's endpoints tell it of a half-close.
        """
        reactor: Any = MemoryReactor()
        nothing: Any = object()
        made: Any = Factory.forProtocol(partial(Handshake, nothing))
        TCP4ClientEndpoint(reactor, "192.0.2.1", 1080).connect(made)
        wrapper = reactor.tcpClients[0][2].buildProtocol(ADDRESS)
        self.assertTrue(IHalfCloseableProtocol.providedBy(wrapper))

    def test_lostBefore(self) -> None:
        """
        Also when it is lost before there is anything to say.
        """
        self.start()
        self.line.receive(b"\x05\0" + SUCCESS)
        self.successResultOf(self.result)
        self.line.gone()
        self.failureResultOf(self.handshake.converse(), ProxyProtocolError)

    def test_secure(self) -> None:
        """
        TLS can be waited for, before anything is said; that it is there is told
        only then.
        """
        self.start()
        self.handshake.handshakeCompleted()
        self.assertNoResult(self.result)
        self.line.receive(b"\x05\0" + SUCCESS)
        self.successResultOf(self.result)
        for end in (self.lose, self.cancel):
            self.connect()
            result = self.result = self.handshake.secure()
            self.assertNoResult(result)
            end()
            self.failureResultOf(result)
            self.handshake.handshakeCompleted()
            self.assertEqual(self.line.taken(), b"")
        self.connect()
        self.lose()
        self.failureResultOf(self.handshake.secure(), ProxyProtocolError)
        self.connect()
        result = self.handshake.secure()
        self.handshake.handshakeCompleted()
        self.successResultOf(result)
        self.assertEqual(self.line.taken(), b"")

    def cancel(self) -> None:
        self.result.cancel()

    def test_cancel(self) -> None:
        """
        Whoever loses the interest has the connection closed and the negotiation
        abandoned.
        """
        for received in (b"", b"\x05\x80"):
            method = PrivateMethod(None)
            self.start(method)
            self.line.receive(received)
            self.result.cancel()
            self.failureResultOf(self.result, CancelledError)
            self.assertTrue(self.line.aborted)
            self.assertEqual(method.abandoned, int(bool(received)))
            self.line.gone()

    def test_slowStep(self) -> None:
        """
        While a step takes its time nothing is read, and what has come waits.
        """
        waiting: Deferred[ClientStep] = Deferred()
        self.start(PrivateMethod(waiting))
        self.line.receive(b"\x05\x80")
        self.assertEqual(self.line.producerState, "paused")
        self.line.receive(SUCCESS)
        self.line.taken()
        waiting.callback(Accepted(b"token"))
        self.assertEqual(self.line.producerState, "producing")
        self.assertEqual(self.line.taken(), b"token" + REQUEST)
        self.successResultOf(self.result)

    def test_slowStepFails(self) -> None:
        """
        A step that fails fails the whole.
        """
        waiting: Deferred[ClientStep] = Deferred()
        self.start(PrivateMethod(waiting))
        self.line.receive(b"\x05\x80")
        waiting.errback(ZeroDivisionError())
        self.failureResultOf(self.result, ZeroDivisionError)
        self.assertTrue(ended(self.line))

    def test_slowStepCancelled(self) -> None:
        """
        A step that is out is cancelled with the rest.
        """
        waiting: Deferred[ClientStep] = Deferred()
        self.start(PrivateMethod(waiting))
        self.line.receive(b"\x05\x80")
        self.result.cancel()
        self.failureResultOf(self.result, CancelledError)
        self.assertTrue(waiting.called)

    def test_denied(self) -> None:
        """
        A negotiation that gives up has its last word sent.
        """
        self.start(PrivateMethod(Denied("no ticket", b"\x01\xff")))
        self.line.taken()
        self.line.receive(b"\x05\x80")
        wrong = self.failureResultOf(self.result, LoginRefused)
        self.assertEqual(str(wrong.value), "no ticket")
        self.assertEqual(self.line.taken(), b"\x01\xff")
        self.assertTrue(self.line.disconnecting)
        self.assertFalse(self.line.aborted)

    def test_ourFault(self) -> None:
        """
        A negotiation that raises what it should not does not hurt the
        transport.
        """
        self.start(PrivateMethod(None))
        self.line.receive(b"\x05\x80")
        self.patch(self.talk, "advance", lambda received: 1 / 0)
        self.line.receive(b"x")
        self.failureResultOf(self.result, ZeroDivisionError)
        self.assertTrue(ended(self.line))


class HandOverTests(HandshakeTestCase):
    """
    From the reply on.
    """

    def test_transport(self) -> None:
        """
        The protocol has the transport as it is, which tells it everything by
        itself.
        """
        protocol = self.connected()
        self.assertIs(protocol.transport, self.line)
        self.assertIs(self.line.protocol, protocol)
        self.line.receive(b"data")
        self.line.gone(ConnectionLost())
        self.assertEqual(protocol.log, ["made", b"data", "lost"])

    def test_address(self) -> None:
        """
        The factory is told where to.
        """
        factory = recorders()
        self.start()
        self.line.receive(b"\x05\0" + SUCCESS)
        self.handshake.handOver(factory, ADDRESS)
        self.assertEqual(factory.addresses, [ADDRESS])

    def test_early(self) -> None:
        """
        What came with the reply is delivered in the same turn, after whoever
        waited was told.
        """
        self.start()
        log: list[object] = []

        def told(handshake: Handshake) -> None:
            self.protocol = handshake.handOver(recorders(), ADDRESS)
            log.extend(self.protocol.log)

        self.result.addCallback(told)
        self.line.receive(b"\x05\0" + SUCCESS + b"220 hello\r\n")
        self.assertEqual(log, ["made"])
        self.assertEqual(self.protocol.log, ["made", b"220 hello\r\n"])

    def test_deliver(self) -> None:
        """
        Or before, for those that cannot wait, and only once.
        """
        self.start()
        log: list[object] = []

        def told(handshake: Handshake) -> None:
            self.protocol = handshake.handOver(recorders(), ADDRESS)
            handshake.deliver()
            log.extend(self.protocol.log)

        self.result.addCallback(told)
        self.line.receive(b"\x05\0" + SUCCESS + b"220 hello\r\n")
        self.assertEqual(log, ["made", b"220 hello\r\n"])
        self.assertEqual(self.protocol.log, log)

    def test_later(self) -> None:
        """
        Whoever takes the connection later gets all that has come by then, the
        end included.
        """
        for lose, last in ((self.end, "read lost"), (self.lose, "lost")):
            self.start()
            self.line.receive(b"\x05\0" + SUCCESS + b"one")
            self.line.receive(b"two")
            lose()
            protocol = self.handshake.handOver(recorders(HalfCloseable), ADDRESS)
            self.assertEqual(protocol.log, ["made", b"onetwo", last])

    def end(self) -> None:
        self.line.protocol.readConnectionLost()

    def lose(self) -> None:
        self.line.gone()

    def test_endpointsWrapper(self) -> None:
        """
        What an endpoint has put between the transport and us is no hindrance.
        """
        self.start()

        class Wrapper:
            _wrappedProtocol = self.handshake

        self.line.protocol = Wrapper()
        self.handshake.dataReceived(b"\x05\0" + SUCCESS)
        protocol = self.handshake.handOver(recorders(), ADDRESS)
        self.assertIs(self.line.protocol, protocol)

    def test_otherTransport(self) -> None:
        """
        A transport that cannot be told who to tell tells it all the same, by
        way of us.
        """
        self.start()
        self.line.protocol = None
        self.handshake.dataReceived(b"\x05\0" + SUCCESS)
        protocol = self.handshake.handOver(recorders(HalfCloseable), ADDRESS)
        self.handshake.dataReceived(b"data")
        self.handshake.writeConnectionLost()
        self.handshake.readConnectionLost()
        self.assertFalse(ended(self.line))
        self.handshake.connectionLost()
        self.assertEqual(
            protocol.log, ["made", b"data", "write lost", "read lost", "lost"]
        )

    def test_otherTransportNoHalfClose(self) -> None:
        """
        There, an end is the end for a protocol that knows no half of it.
        """
        self.start()
        self.line.protocol = None
        self.handshake.dataReceived(b"\x05\0" + SUCCESS)
        protocol = self.handshake.handOver(recorders(), ADDRESS)
        self.handshake.writeConnectionLost()
        self.handshake.readConnectionLost()
        self.assertTrue(self.line.disconnecting)
        self.handshake.connectionLost()
        self.assertEqual(protocol.log, ["made", "lost"])

    def test_noProtocol(self) -> None:
        """
        A factory that does not want it, or fails, has the connection closed.
        """

        class Unwilling(Factory):
            def buildProtocol(self, addr: object) -> None:
                return None

        class Failing(Factory):
            def buildProtocol(self, addr: object) -> None:
                raise ZeroDivisionError()

        for factory, kind in (
            (Unwilling(), NoProtocol),
            (Failing(), ZeroDivisionError),
        ):
            self.start()
            self.line.receive(b"\x05\0" + SUCCESS)
            self.assertRaises(kind, self.handshake.handOver, factory, ADDRESS)
            self.assertTrue(self.line.aborted)

    def test_reachable(self) -> None:
        """
        Where the proxy leaves its address out, it is the one that we know.
        """
        for bound, reachable in (
            (BOUND, BOUND),
            (Address.ip("0.0.0.0", 7), Address.ip("192.0.2.2", 7)),
            (Address.ip("::", 7), Address.ip("192.0.2.2", 7)),
        ):
            self.start()
            self.handshake.bound = bound
            self.assertEqual(self.handshake.reachable(), reachable)
        self.patch(self.line, "getPeer", lambda: None)
        self.assertEqual(self.handshake.reachable(), Address.ip("::", 7))


class EarlyHandOverTests(HandshakeTestCase):
    """
    A protocol that has the connection before there is a reply.
    """

    def setUp(self) -> None:
        self.start()
        self.protocol = self.handshake.handOver(recorders(), ADDRESS)
        self.line.taken()

    def test_writes(self) -> None:
        """
        It can write at once, but the reply is not for it.
        """
        self.protocol.transport.write(b"early")
        self.assertEqual(self.line.taken(), b"early")
        self.line.receive(b"\x05\0" + SUCCESS + b"late")
        self.successResultOf(self.result)
        self.assertEqual(self.protocol.log, ["made", b"late"])
        self.assertIs(self.line.protocol, self.protocol)

    def test_refused(self) -> None:
        """
        It is told of a refusal, once.
        """
        self.line.receive(b"\x05\0\x05\x05\0\x01" + bytes(6))
        self.handshake.refused(self.failureResultOf(self.result))
        self.line.gone(ConnectionDone())
        self.assertEqual(self.protocol.log, ["made", "lost"])
        self.protocol.lost.trap(ConnectionRefused)


class ProtectedTests(HandshakeTestCase):
    """
    A security layer protects everything behind the negotiation.
    """

    def protect(self, *early: bytes) -> Recorder:
        """
        A protocol that has a protected connection.
        """
        method = PrivateMethod(None, Accepted(b"token", Counted()))
        self.start(method)
        self.line.receive(b"\x05\x80")
        self.line.taken()
        self.line.receive(b"t")
        self.assertEqual(self.line.taken(), b"token<" + REQUEST + b">")
        for data in early:
            self.line.receive(data)
        self.successResultOf(self.result)
        protocol: Recorder = self.handshake.handOver(recorders(), ADDRESS)
        return protocol

    def test_bothWays(self) -> None:
        """
        What the protocol writes, and what comes to it, in whatever pieces.
        """
        protocol = self.protect(b"<" + SUCCESS + b">")
        protocol.transport.write(b"out")
        protocol.transport.writeSequence([b"a", b"b"])
        self.assertEqual(self.line.taken(), b"<out><ab>")
        for data in (b"<i", b"n>", b"<b", b"oth><one", b">"):
            self.line.receive(data)
        self.assertEqual(protocol.received, b"inbothone")
        protocol.transport.write(b"x" * (1 << 16))
        self.assertEqual(self.line.taken().count(b"<"), 2)
        protocol.transport.loseConnection()
        self.assertTrue(self.line.disconnecting)
        self.line.gone()
        self.assertEqual(protocol.log[-1], "lost")

    def test_early(self) -> None:
        """
        What comes with the reply.
        """
        for pieces in (
            (b"<" + SUCCESS + b"hello>",),
            (b"<" + SUCCESS + b"><hel", b"lo>"),
            (b"<" + SUCCESS[:3] + b"><" + SUCCESS[3:] + b"><hello>",),
        ):
            self.assertEqual(self.protect(*pieces).received, b"hello")

    def test_behindTheNegotiation(self) -> None:
        """
        What was received with the last message in clear is protected already.
        """

        class Greedless(PrivateMethod):
            def advance(self, received: ReceiveBuffer) -> Any:
                return Accepted(b"", Counted()) if received.take(1) else None

        self.start(Greedless())
        self.line.receive(b"\x05\x80t<" + SUCCESS + b">")
        self.successResultOf(self.result)
        self.start(Greedless())
        self.line.receive(b"\x05\x80t" + SUCCESS)
        self.failureResultOf(self.result, ProxyProtocolError)

    def test_notProtected(self) -> None:
        """
        Somebody's bytes in between end it.
        """
        protocol = self.protect(b"<" + SUCCESS + b">")
        self.line.receive(b"evil")
        self.assertTrue(self.line.aborted)
        assert protocol.lost is not None
        protocol.lost.trap(ProxyProtocolError)
        self.assertEqual(protocol.received, b"")
        self.line.gone()
        self.assertEqual(protocol.log, ["made", "lost"])

    def test_cutShort(self) -> None:
        """
        An end in the middle of a message is not the proxy's: it is no clean one,
        however the transport tells it.
        """
        for isHalf in (True, False):
            protocol = self.protect(b"<" + SUCCESS + b">")
            self.line.receive(b"<whole><ha")
            if isHalf:
                self.handshake.readConnectionLost()
                self.assertTrue(self.line.aborted)
            self.line.gone()
            self.assertEqual(protocol.log, ["made", b"whole", "lost"])
            assert protocol.lost is not None
            protocol.lost.trap(ProxyProtocolError)

    def test_end(self) -> None:
        """
        One between two messages is.
        """
        protocol = self.protect(b"<" + SUCCESS + b">")
        self.line.receive(b"<whole>")
        self.line.gone()
        assert protocol.lost is not None
        protocol.lost.trap(ConnectionDone)

    def test_cannotProtect(self) -> None:
        """
        What cannot be protected is not sent, and nothing after it.
        """
        protocol = self.protect(b"<" + SUCCESS + b">")

        def wrap(data: bytes) -> bytes:
            raise ValueError("no")

        self.patch(self.handshake.layer, "wrap", wrap)
        protocol.transport.write(b"out")
        self.assertEqual(self.line.taken(), b"")
        self.assertTrue(self.line.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_continued(self) -> None:
        """
        The layer may be there while the negotiation goes on.
        """
        self.start(PrivateMethod(Continue(b"a", Counted()), None, Accepted(b"b")))
        self.line.receive(b"\x05\x80")
        self.line.receive(b"<x>")
        self.assertEqual(self.line.taken(), b"\x05\x01\x80a<b><" + REQUEST + b">")
