"""
Tests for L{socksproxy.relay.datagrams}, in memory.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import gc
from typing import Any
from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from socksproxy.errors import RemoteProtocolError
from socksproxy.interfaces import (
    ANONYMOUS,
    IDatagramReceiver,
    ISecurityLayer,
    Request,
)
from socksproxy.relay.datagrams import REMEMBERED, DatagramRelay
from socksproxy.relay.idle import IdleWatch, IWatched
from socksproxy.test.securedsuite import MaskLayer
from socksproxy.testing import FakeAssociation, FakeSession, MemoryTransport
from socksproxy.udpsocket import SocketAddress
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command
from socksproxy.wire.fragments import REASSEMBLY_TIME
from socksproxy.wire.socks5 import LAST_FRAGMENT, Datagram

HOST = "192.0.2.2"
CLIENT = (HOST, 40000)
RELAY = Address.ip("198.51.100.1", 1081)
TARGET = Address.ip("203.0.113.1", 53)
TARGET6 = Address.ip("2001:db8::1", 53)
NAMED = Address.name("example.org", 53)
LAST = LAST_FRAGMENT

PACKETS = [
    (b"\0\0" + bytes((fragment,)) + address.encode() + data)[:cut]
    for fragment in (0, 0, 0, 1, 1, 2, 3, 0x7F, 0x80, 0x81, 0x82, 0x83, 0xFF)
    for address in (TARGET, TARGET, TARGET6, NAMED, Address.UNSPECIFIED)
    for data in (b"", b"x", b"data")
    for cut in (None, None, None, -1, -3, 3, 5, 9)
]
"""
Most of these are what a client may send; the others are cut.
"""


class FakeUDP:
    """
    A UDP socket without a network.

    @ivar fails: errors that sending or connecting ends with, the next one last.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, SocketAddress]] = []
        self.fails: list[int] = []
        self.closed = False

    def setblocking(self, blocking: bool) -> None: ...

    def fileno(self) -> int:
        return -1 if self.closed else 1000

    def sendto(self, data: bytes, peer: SocketAddress) -> None:
        if self.fails:
            raise OSError(self.fails.pop(), "")
        self.sent.append((data, peer))

    def close(self) -> None:
        self.closed = True


class FakeReactor(Clock):
    """
    Reads when the test says so.
    """

    def addReader(self, reader: Any) -> None: ...

    def removeReader(self, reader: Any) -> None: ...


class RelayTestCase(SynchronousTestCase):
    """
    An association that has been made.
    """

    timeout = 0.0
    layer: ISecurityLayer | None = None

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.udp: Any = FakeUDP()
        self.closed = 0
        self.reasons: list[str] = []
        self.watch = IdleWatch(self.reactor, self.timeout, 0)
        self.transport = MemoryTransport()
        self.relay = self.makeRelay()
        request = Request(Command.UDP_ASSOCIATE, Address.UNSPECIFIED, ANONYMOUS)
        self.targets = FakeAssociation(request, FakeSession(), self.relay)
        self.relay.join(self.targets)
        self.relay.start(self.transport, self.reasons.append, self.layer)

    def makeRelay(self, host: str = HOST) -> DatagramRelay:
        return DatagramRelay(
            *(self.reactor, None, self.udp, RELAY, host, self.watch, self.isClosed)
        )

    def isClosed(self) -> None:
        self.closed += 1

    def come(self, packet: bytes, source: SocketAddress = CLIENT) -> None:
        """
        A datagram comes to the client's side.
        """
        self.relay._fromClient(packet, source)

    def say(
        self,
        data: bytes,
        address: Address = TARGET,
        source: SocketAddress = CLIENT,
        fragment: int = 0,
    ) -> None:
        """
        The same, with a header.
        """
        self.come(Datagram(address, data, fragment).encode(), source)

    def assertSent(self, *sent: tuple[bytes, Address]) -> None:
        """
        Just that was given to the targets' side.
        """
        self.assertEqual(self.targets.sent, list(sent))
        self.assertEqual(self.relay.datagramsSent, len(sent))
        self.assertEqual(self.relay.bytesSent, sum(len(data) for data, _ in sent))


class FromClientTests(RelayTestCase):
    """
    From the client to targets.
    """

    def test_interfaces(self) -> None:
        """
        It is what a session, a watch and a connector expect.
        """
        verifyObject(IDatagramReceiver, self.relay)
        verifyObject(IWatched, self.relay)
        self.assertIs(self.relay.client, self.relay)
        self.assertEqual(self.relay.address, RELAY)

    def test_destinations(self) -> None:
        """
        The payload goes to the address of its header, whichever kind that is,
        also when it comes again; an empty one too.
        """
        sent = [
            (data, address)
            for _ in range(2)
            for address in (TARGET, TARGET6, NAMED)
            for data in (b"data", b"", b"x" * 60_000)
        ]
        for data, address in sent:
            self.say(data, address)
        self.assertSent(*sent)
        self.assertEqual(self.relay.dropped, 0)

    def test_rememberedHeaders(self) -> None:
        """
        It does not remember without end, and does not confuse what it remembers.
        """
        addresses = [Address.ip("203.0.113.1", n) for n in range(1, 3 * REMEMBERED)]
        for address in addresses:
            self.say(b"x", address)
            self.relay.datagramReceived(b"x", address)
        self.say(b"x", addresses[0])
        self.assertSent(*((b"x", address) for address in [*addresses, addresses[0]]))
        self.assertEqual(len(self.relay._destinations), REMEMBERED)
        self.assertEqual(len(self.relay._headers), REMEMBERED)

    def test_cutHeader(self) -> None:
        """
        A part of a header that is known is not that header.
        """
        for address in (TARGET, TARGET6, NAMED):
            self.say(b"", address)
        known = self.relay.datagramsSent
        for address in (TARGET, TARGET6, NAMED):
            packet = Datagram(address, b"").encode()
            for cut in range(len(packet)):
                self.come(packet[:cut])
        self.assertEqual(self.relay.datagramsSent, known)

    def test_strangers(self) -> None:
        """
        What comes from another host, or, once the first valid one has come,
        from another port, is dropped and counted.
        """
        self.say(b"x", source=("192.0.2.3", 40000))
        self.say(b"x", source=(HOST, 0))
        self.come(b"rubbish", (HOST, 40001))
        self.assertEqual(self.relay.dropped, 3)
        self.say(b"one")
        self.say(b"x", source=(HOST, 40001))
        self.say(b"x", source=("192.0.2.3", 40000))
        self.assertEqual(self.relay.dropped, 5)
        self.assertSent((b"one", TARGET))

    def test_spelling(self) -> None:
        """
        The same IPv6 address can be written in two ways.
        """
        host = Address.ip("::ffff:0:192.0.2.1", 0).host
        self.relay = self.makeRelay(host)
        self.relay.join(self.targets)
        self.say(b"x", source=("::ffff:0:192.0.2.1", 40000, 0, 0))
        self.say(b"y", source=("::ffff:0:192.0.2.1", 40000, 0, 0))
        self.assertSent((b"x", TARGET), (b"y", TARGET))

    def test_portZero(self) -> None:
        """
        Nobody can be sent anything to port 0.
        """
        self.say(b"x", Address.ip("203.0.113.1", 0))
        self.say(b"x", Address.name("example.org", 0))
        self.assertSent()
        self.assertEqual(self.relay.dropped, 2)

    def test_fragments(self) -> None:
        """
        Fragments go out as one datagram, once all have come, and never before;
        one that stands alone does not wait for them.
        """
        self.say(b"one ", fragment=1)
        self.say(b"alone")
        self.say(b"two ", fragment=2)
        self.assertSent((b"alone", TARGET))
        self.say(b"three", fragment=LAST | 3)
        self.assertSent((b"alone", TARGET), (b"one two three", TARGET))
        self.say(b"again", fragment=LAST | 1)
        self.assertEqual(self.targets.sent[2:], [(b"again", TARGET)])
        self.assertEqual(self.relay.dropped, 0)

    def test_lateFragment(self) -> None:
        """
        What does not become whole in time is dropped and counted.
        """
        self.say(b"one", fragment=1)
        self.reactor.advance(REASSEMBLY_TIME + 1)
        self.say(b"two", fragment=LAST | 2)
        self.assertSent()
        self.assertEqual(self.relay.dropped, 2)

    def test_wholePortZero(self) -> None:
        """
        A whole has to be such that it can be sent, too.
        """
        self.say(b"x", Address.ip("203.0.113.1", 0), fragment=LAST | 1)
        self.assertSent()
        self.assertEqual(self.relay.dropped, 1)

    def test_notSent(self) -> None:
        """
        What the targets' side has dropped does not count as sent.
        """
        self.say(b"one")
        self.say(b"two")
        self.relay.datagramDropped(b"two")
        self.assertEqual(self.relay.datagramsSent, 1)
        self.assertEqual(self.relay.bytesSent, 3)
        self.assertEqual(self.relay.dropped, 1)

    def test_rejected(self) -> None:
        """
        Nor does what a filter has kept away count as received.
        """
        self.relay.datagramRejected(b"stranger")
        self.assertEqual(self.relay.datagramsReceived, 0)
        self.assertEqual(self.relay.dropped, 1)

    @settings(deadline=None, max_examples=10_000)
    @given(
        st.lists(
            st.tuples(
                st.one_of(st.sampled_from(PACKETS), st.binary(max_size=12)),
                st.sampled_from((CLIENT, CLIENT, (HOST, 40001), ("192.0.2.3", 40000))),
            ),
            max_size=6,
        )
    )
    def test_anything(self, given: list[tuple[bytes, SocketAddress]]) -> None:
        """
        Whatever comes does not end the association and raises nothing.  What goes
        on is what a plain reading of RFC 1928 has go on: a datagram of the
        client's that stands alone, with the address and the data that it has, or
        fragments of its own that follow each other.  All else is dropped.
        """
        self.relay = self.makeRelay()
        self.targets.sent.clear()
        self.relay.join(self.targets)
        client = None
        expected: list[tuple[bytes, Address]] = []
        sequence: list[Datagram] = []
        for packet, source in given:
            self.come(packet, source)
            if source[0] != HOST or client not in (None, source):
                continue
            try:
                datagram = Datagram.parse(packet)
            except RemoteProtocolError:
                continue
            client = source
            if datagram.fragment:
                if datagram.fragment & 0x7F == 1:
                    sequence = []
                sequence.append(datagram)
                positions = [one.fragment & 0x7F for one in sequence]
                if (
                    positions != [*range(1, len(sequence) + 1)]
                    or len({one.address for one in sequence}) > 1
                ):
                    sequence = []
                if not sequence or not datagram.fragment & LAST:
                    continue
                data = b"".join(one.data for one in sequence)
                datagram, sequence = Datagram(datagram.address, data), []
            if datagram.address.port:
                expected.append((datagram.data, datagram.address))
        self.assertEqual(self.targets.sent, expected)
        self.assertFalse(self.udp.closed)
        self.assertEqual(self.flushLoggedErrors(), [])


class FromTargetsTests(RelayTestCase):
    """
    From targets to the client.
    """

    def setUp(self) -> None:
        super().setUp()
        self.say(b"hello")

    def test_source(self) -> None:
        """
        The client sees where each datagram came from, whatever it had sent to.
        """
        for _ in range(2):
            for address in (TARGET, TARGET6):
                for data in (b"data", b"", b"x" * 60_000):
                    self.relay.datagramReceived(data, address)
                    packet, peer = self.udp.sent.pop()
                    self.assertEqual(Datagram.parse(packet), Datagram(address, data))
                    self.assertEqual(peer, CLIENT)
        self.assertEqual(self.relay.datagramsReceived, 12)
        self.assertEqual(self.relay.bytesReceived, 4 * 60_004)
        self.assertEqual(self.relay.dropped, 0)

    def test_errors(self) -> None:
        """
        What cannot be sent is dropped and counted.
        """
        for number in (errno.EMSGSIZE, errno.ECONNREFUSED, errno.EAGAIN, errno.EPERM):
            self.udp.fails.append(number)
            self.relay.datagramReceived(b"lost", TARGET)
        self.assertEqual(self.relay.dropped, 4)
        self.assertEqual(self.relay.datagramsReceived, 0)
        self.relay.datagramReceived(b"found", TARGET)
        self.assertEqual(len(self.udp.sent), 1)

    def test_nobodyThere(self) -> None:
        """
        As long as the client has sent nothing, nobody knows where it is.
        """
        self.relay = self.makeRelay()
        self.relay.datagramReceived(b"early", TARGET)
        self.assertEqual(self.udp.sent, [])
        self.assertEqual(self.relay.dropped, 1)


class LifeTests(RelayTestCase):
    """
    The beginning and the end.
    """

    timeout = 80.0

    def assertEnded(self, reason: str) -> None:
        """
        All is closed, once, and so it was told.
        """
        self.assertTrue(self.udp.closed)
        self.assertEqual(self.targets.closed, 1)
        self.assertEqual(self.closed, 1)
        self.assertEqual(self.reasons, [reason])
        self.reactor.advance(1000)
        self.assertFalse(self.reactor.getDelayedCalls())

    def test_dataIsDropped(self) -> None:
        """
        What comes over the TCP connection has no meaning; that it was asked to
        wait is over.
        """
        self.assertEqual(self.transport.producerState, "producing")
        self.relay.client.dataReceived(b"x" * 100)
        self.relay.client.writeConnectionLost()
        self.assertFalse(self.udp.closed)
        self.assertEqual(self.relay.bytesSent, 0)

    def test_clientEnds(self) -> None:
        """
        The end of the TCP connection is that of the association.
        """
        self.relay.client.readConnectionLost()
        self.assertTrue(self.udp.closed)
        self.assertTrue(self.transport.disconnecting)
        self.transport.lose(self.relay)  # type: ignore[arg-type]
        self.assertEnded("closed")

    def test_clientCloses(self) -> None:
        """
        So it is when it was closed both ways at once, as TLS does it.
        """
        self.transport.lose(self.relay)  # type: ignore[arg-type]
        self.assertEnded("closed")

    def test_clientResets(self) -> None:
        """
        And its reset.
        """
        self.transport.lose(self.relay, ConnectionLost())  # type: ignore[arg-type]
        self.assertEnded("reset by the client")

    def test_abort(self) -> None:
        """
        It can be ended from here.
        """
        self.relay.abort("enough")
        self.assertTrue(self.udp.closed)
        self.assertTrue(self.transport.aborted)
        self.transport.lose(self.relay, ConnectionLost())  # type: ignore[arg-type]
        self.assertEnded("enough")

    def test_associationLost(self) -> None:
        """
        It ends when there is no way to the targets any more.
        """
        self.relay.associationLost()
        self.assertTrue(self.udp.closed)
        self.assertTrue(self.transport.aborted)
        self.transport.lose(self.relay, ConnectionLost())  # type: ignore[arg-type]
        self.assertEnded("the way to the targets is gone")

    def test_stopped(self) -> None:
        """
        It ends with the reactor.
        """
        self.relay._udp.hubLost()
        self.transport.lose(self.relay, ConnectionLost())  # type: ignore[arg-type]
        self.assertEnded("the proxy stopped")

    def test_idle(self) -> None:
        """
        It ends when there are no datagrams for some time; empty ones are some,
        either way, those that are dropped are not.
        """
        self.say(b"")
        for _ in range(3):
            self.reactor.pump([10] * 7)
            self.say(b"")
            self.reactor.pump([10] * 7)
            self.relay.datagramReceived(b"", TARGET)
        self.assertFalse(self.udp.closed)
        for _ in range(11):
            self.reactor.advance(10)
            self.say(b"x", source=(HOST, 40001))
            self.say(b"x")
            self.relay.datagramDropped(b"x")
        self.assertTrue(self.transport.aborted)
        self.transport.lose(self.relay, ConnectionLost())  # type: ignore[arg-type]
        self.assertEnded("idle for too long")

    def test_neverStarted(self) -> None:
        """
        One that nobody wants any more closes what it has.
        """
        self.udp = udp = FakeUDP()
        relay = self.makeRelay()
        relay.join(self.targets)
        relay.close()
        relay.close()
        self.assertTrue(udp.closed)
        self.assertEqual(self.targets.closed, 1)
        self.assertEqual(self.closed, 1)

    def test_afterTheEnd(self) -> None:
        """
        What comes after the end goes nowhere.
        """
        self.say(b"one")
        self.relay.abort("enough")
        self.say(b"two")
        self.assertEqual(self.targets.sent, [(b"one", TARGET)])

    def test_noCycles(self) -> None:
        """
        An association that is over leaves nothing to the collector.
        """
        self.relay.abort("enough")
        self.transport.lose(self.relay)  # type: ignore[arg-type]
        relay = ref(self.relay)
        gc.disable()
        try:
            del self.relay, self.targets.receiver
            self.assertIsNone(relay())
        finally:
            gc.enable()


class ProtectedTests(RelayTestCase):
    """
    A client whose datagrams are protected.
    """

    layer = MaskLayer()

    def test_bothWays(self) -> None:
        """
        Header and payload are protected together, both ways.
        """
        for data in (b"data", b"", b"x" * 60_000):
            packet = Datagram(TARGET, data).encode()
            self.come(self.layer.wrap(packet))
            self.relay.datagramReceived(data, TARGET)
            self.assertEqual(self.udp.sent.pop(), (self.layer.wrap(packet), CLIENT))
        self.assertSent((b"data", TARGET), (b"", TARGET), (b"x" * 60_000, TARGET))
        self.assertEqual(self.relay.datagramsReceived, 3)

    def test_fragments(self) -> None:
        """
        Fragments are protected one by one.
        """
        for fragment, data in ((1, b"one "), (LAST | 2, b"two")):
            self.come(self.layer.wrap(Datagram(TARGET, data, fragment).encode()))
        self.assertSent((b"one two", TARGET))

    def test_unprotected(self) -> None:
        """
        What is not protected is dropped, and whoever sent it is not taken for the
        client.
        """
        packet = Datagram(TARGET, b"data").encode()
        wrapped = self.layer.wrap(packet)
        for wrong in (b"", packet, wrapped[:-1], wrapped + b"x"):
            self.come(wrong, (HOST, 50000))
        self.come(wrapped)
        self.assertSent((b"data", TARGET))
        self.assertEqual(self.relay.dropped, 4)

    def test_tooLong(self) -> None:
        """
        What would be too long with its protection is dropped.
        """
        self.come(self.layer.wrap(Datagram(TARGET, b"").encode()))
        self.relay.datagramReceived(bytes(65_530), TARGET)
        self.assertEqual((self.udp.sent, self.relay.dropped), ([], 1))
        self.relay.datagramReceived(b"data", TARGET)
        self.assertEqual(len(self.udp.sent), 1)
