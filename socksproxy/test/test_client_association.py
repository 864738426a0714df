"""
Tests for L{socksproxy.client.association}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.client.association import ClientAssociation, UDPCarrier
from socksproxy.client.errors import ProxyProtocolError, ProxyUnreachable
from socksproxy.client.handshake import Handshake
from socksproxy.client.interfaces import Accepted, IClientAuthenticator
from socksproxy.client.login import NoLogin
from socksproxy.client.socks5 import SOCKS5Conversation
from socksproxy.interfaces import IAssociation, IDatagramReceiver, ISecurityLayer
from socksproxy.test.proxyline import Line
from socksproxy.test.test_client_handshake import Counted
from socksproxy.test.test_client_socks5 import BOUND, SUCCESS, PrivateMethod
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command
from socksproxy.wire.socks5 import Datagram

TARGET = Address.ip("198.51.100.7", 53)


class FakeCarrier:
    """
    Carries to the test.
    """

    fails = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = 0

    def open(self, relay: Address, received: Callable[[bytes], object]) -> None:
        if self.fails:
            raise OSError("no way")
        self.relay = relay
        self.received = received

    def send(self, packet: bytes) -> None:
        if self.fails:
            raise OSError("no room")
        self.sent.append(packet)

    def close(self) -> None:
        self.closed += 1


@implementer(IDatagramReceiver)
class Receiver:
    """
    Remembers what it is told.
    """

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Address]] = []
        self.dropped: list[bytes] = []
        self.lost = 0

    def datagramReceived(self, data: bytes, source: Address) -> None:
        self.received.append((data, source))

    def datagramDropped(self, data: bytes) -> None:
        self.dropped.append(data)

    def associationLost(self) -> None:
        self.lost += 1

    def datagramRejected(self, data: bytes) -> None:
        raise AssertionError("nobody but a server would")


class AssociationTests(SynchronousTestCase):
    """
    L{ClientAssociation}.
    """

    def setUp(self) -> None:
        self.carrier = FakeCarrier()
        self.receiver = Receiver()
        self.line = Line()
        self.converse()
        self.line.receive(b"\x05\0" + SUCCESS)

    def converse(self, *methods: IClientAuthenticator) -> None:
        """
        Ask a proxy for an association.
        """
        talk = SOCKS5Conversation(
            Command.UDP_ASSOCIATE, Address.UNSPECIFIED, methods or (NoLogin(),)
        )
        self.handshake = self.line.protocol = Handshake(talk)
        self.handshake.makeConnection(self.line)
        self.handshake.converse()

    def protect(self, layer: ISecurityLayer) -> None:
        """
        The same on a connection that C{layer} protects.
        """
        self.converse(PrivateMethod(Accepted(b"", layer)))
        self.line.receive(b"\x05\x80<" + SUCCESS + b">")

    def associate(self) -> ClientAssociation:
        return ClientAssociation(self.handshake, self.receiver, self.carrier)

    def test_send(self) -> None:
        """
        A datagram goes to the proxy's relay, and says where to.
        """
        association = self.associate()
        verifyObject(IAssociation, association)
        self.assertEqual(self.carrier.relay, BOUND)
        self.assertEqual(association.relay, BOUND)
        association.send(b"data", TARGET)
        self.assertEqual(self.carrier.sent, [Datagram(TARGET, b"data").encode()])

    def test_notSent(self) -> None:
        """
        One that cannot be sent is given back, and that is all.
        """
        association = self.associate()
        self.carrier.fails = True
        association.send(b"data", TARGET)
        self.assertEqual(self.receiver.dropped, [b"data"])
        self.assertEqual(self.receiver.lost, 0)

    def test_received(self) -> None:
        """
        What comes is told with its source; what is no datagram, or a part of
        one, is dropped.
        """
        self.associate()
        for packet in (
            b"",
            b"\0\0\0\x01",
            Datagram(TARGET, b"part", 1).encode(),
            Datagram(TARGET, b"whole").encode(),
            Datagram(TARGET, b"").encode(),
        ):
            self.carrier.received(packet)
        self.assertEqual(self.receiver.received, [(b"whole", TARGET), (b"", TARGET)])

    def test_connectionLost(self) -> None:
        """
        It dies with its connection.
        """
        association = self.associate()
        self.line.gone()
        self.assertEqual(self.carrier.closed, 1)
        association.close()
        self.assertEqual(self.carrier.closed, 1)
        self.assertEqual(self.receiver.lost, 1)

    def test_close(self) -> None:
        """
        And its connection with it.
        """
        association = self.associate()
        association.close()
        self.assertTrue(self.line.aborted)
        self.assertEqual(self.carrier.closed, 1)
        self.line.gone()
        self.assertEqual(self.receiver.lost, 0)

    def test_noWay(self) -> None:
        """
        Where nothing can be carried, nothing is left.
        """
        self.carrier.fails = True
        self.assertRaises(OSError, self.associate)
        self.assertTrue(self.line.aborted)

    def test_nowhere(self) -> None:
        """
        A proxy that grants it and does not say where cannot be sent anything.
        """
        self.handshake.bound = Address.UNSPECIFIED
        self.assertRaises(ProxyProtocolError, self.associate)
        self.assertTrue(self.line.aborted)

    def test_protected(self) -> None:
        """
        A security layer protects each datagram.
        """
        self.protect(Counted())
        association = self.associate()
        association.send(b"data", TARGET)
        packet = Datagram(TARGET, b"data").encode()
        self.assertEqual(self.carrier.sent, [b"<" + packet + b">"])
        self.carrier.received(packet)
        self.carrier.received(b"<" + packet + b">")
        self.assertEqual(self.receiver.received, [(b"data", TARGET)])

    def test_tooLong(self) -> None:
        """
        One that has no room for its protection is given back.
        """
        layer = Counted()
        self.protect(layer)
        self.patch(layer, "wrapDatagram", lambda datagram: b"".index(0))
        self.associate().send(b"data", TARGET)
        self.assertEqual(self.receiver.dropped, [b"data"])


class _Reactor(Clock):
    """
    Knows who wants to read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)


class UDPCarrierTests(SynchronousTestCase):
    """
    L{UDPCarrier}.
    """

    def socket(self, host: str = "127.0.0.1") -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.settimeout(60)
        made.bind((host, 0))
        return made

    def test_carries(self) -> None:
        """
        Packets go to the relay, and come from there and nowhere else.
        """
        for host in ("127.0.0.1", "::1"):
            reactor = _Reactor()
            relay, stranger = self.socket(host), self.socket(host)
            received: list[bytes] = []
            carrier = UDPCarrier(reactor)
            self.assertRaises(OSError, carrier.send, b"early")
            carrier.open(Address.ip(*relay.getsockname()[:2]), received.append)
            carrier.send(b"there")
            data, source = relay.recvfrom(99)
            self.assertEqual(data, b"there")
            stranger.sendto(b"evil", source)
            relay.sendto(b"back", source)
            (reader,) = reactor.readers
            reader.doRead()
            self.assertEqual(received, [b"back"])
            carrier.close()
            carrier.close()
            self.assertEqual(reactor.readers, [])
            self.assertRaises(OSError, carrier.send, b"late")

    def test_localEnd(self) -> None:
        """
        Its local end can be chosen.
        """
        reactor = _Reactor()
        relay = self.socket()
        carrier = UDPCarrier(reactor, bind=lambda made: made.bind(("127.0.0.2", 0)))
        carrier.open(Address.ip(*relay.getsockname()), lambda packet: None)
        carrier.send(b"there")
        self.assertEqual(relay.recvfrom(99)[1][0], "127.0.0.2")
        carrier.close()

    def test_name(self) -> None:
        """
        To resolve the relay's name would take its time for each packet.
        """
        carrier = UDPCarrier(_Reactor())
        relay = Address.name("relay.example", 9)
        self.assertRaises(ProxyUnreachable, carrier.open, relay, lambda packet: None)

    def test_noLocalEnd(self) -> None:
        """
        Where that is not possible, nothing is left open.
        """
        made: list[socket.socket] = []

        def bind(sock: socket.socket) -> None:
            made.append(sock)
            raise OSError("not ours")

        carrier = UDPCarrier(_Reactor(), bind=bind)
        self.assertRaises(
            OSError, carrier.open, Address.ip("127.0.0.1", 9), lambda packet: None
        )
        self.assertEqual(made[0].fileno(), -1)
