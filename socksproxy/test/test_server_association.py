"""
Tests for L{socksproxy.server.association}, with sessions in memory and UDP sockets
on loopback.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.access import PermitAll
from socksproxy.errors import NetworkUnreachable
from socksproxy.interfaces import ISession, Request
from socksproxy.outbound.reachable import Advertised, PortRange
from socksproxy.server.association import DESCRIPTORS
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.server.session import Session
from socksproxy.test.test_relay_hub import FakeReactor
from socksproxy.testing import (
    FakeAssociation,
    FakeAssociator,
    FakeConnector,
    MemoryTransport,
)
from socksproxy.udpsocket import UDPSocket
from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Command, ReplyCode
from socksproxy.wire.socks5 import Datagram, Reply
from socksproxy.wire.socks5 import Request as RequestMessage

GREETING = b"\x05\x01\x00"
SELECTION = b"\x05\x00"
ASSOCIATE = RequestMessage(Command.UDP_ASSOCIATE, Address.UNSPECIFIED).encode()
TARGET = Address.ip("203.0.113.1", 53)


class AssociateTestCase(SynchronousTestCase):
    """
    A server, and clients of it on loopback.
    """

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.connector = FakeAssociator()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.factory = self.makeFactory()

    def makeFactory(self, **kwargs: Any) -> SOCKS5Factory:
        kwargs.setdefault("connector", self.connector)
        return SOCKS5Factory(None, clock=self.reactor, **kwargs)

    def request(
        self,
        request: bytes = ASSOCIATE,
        host: IAddress | None = None,
        peer: IAddress | None = None,
    ) -> tuple[Session, MemoryTransport]:
        """
        A client that has sent C{request}.
        """
        transport = MemoryTransport(
            host or IPv4Address("TCP", "127.0.0.1", 1080),
            peer or IPv4Address("TCP", "127.0.0.1", 40000),
        )
        session = self.factory.buildProtocol(transport.getPeer())
        session.makeConnection(transport)
        session.dataReceived(GREETING + request)
        return session, transport

    def associated(
        self, **kwargs: Any
    ) -> tuple[Session, MemoryTransport, FakeAssociation]:
        """
        One that has an association.
        """
        session, transport = self.request(**kwargs)
        association = self.connector.associations[-1]
        association.associate()
        self.addCleanup(self.over, session, transport)
        return session, transport, association

    def over(self, session: Session, transport: MemoryTransport) -> None:
        if session in list(self.factory.admission):
            transport.lose(session)

    def reply(self, transport: MemoryTransport) -> Reply:
        """
        What a client was answered.
        """
        self.assertEqual(transport.writes[0], SELECTION)
        [answer] = transport.writes[1:]
        reply = Reply.parse(ReceiveBuffer(answer))
        assert reply is not None
        return reply

    def assertRefused(self, code: ReplyCode, **kwargs: Any) -> None:
        """
        A client is told so.
        """
        opened = len(self.connector.associations)
        _, transport = self.request(**kwargs)
        self.assertEqual(self.reply(transport), Reply(code))
        self.assertTrue(transport.writeEnded)
        self.assertEqual(len(self.connector.associations), opened)

    def udp(self, host: str = "127.0.0.1") -> socket.socket:
        """
        A client's socket.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.settimeout(60)
        made.bind((host, 0))
        return made

    def read(self) -> None:
        """
        Take what has come.
        """
        for reader in self.reactor.readers:
            reader.doRead()


class ServedTests(AssociateTestCase):
    """
    Associations that are made.
    """

    def assertWorks(self, host: str, bound: Address, target: FakeAssociation) -> None:
        """
        Datagrams go both ways.
        """
        client = self.udp(host)
        packet = Datagram(TARGET, b"question").encode()
        client.sendto(packet, (host, bound.port))
        self.read()
        self.assertEqual(target.sent.pop(), (b"question", TARGET))
        target.receiver.datagramReceived(b"answer", TARGET)
        answer = Datagram.parse(client.recv(99))
        self.assertEqual(answer, Datagram(TARGET, b"answer"))

    def test_reply(self) -> None:
        """
        The reply names the address at which the client has reached the server,
        and a port there that takes its datagrams.
        """
        for host, kind in (("127.0.0.1", IPv4Address), ("::1", IPv6Address)):
            where = kind("TCP", host, 1080)
            _, transport, association = self.associated(host=where, peer=where)
            reply = self.reply(transport)
            self.assertEqual(reply.code, ReplyCode.SUCCEEDED)
            self.assertEqual(reply.bound, Address.ip(host, reply.bound.port))
            self.assertWorks(host, reply.bound, association)

    def test_mapped(self) -> None:
        """
        A client that came by IPv4 to a socket for both families is told an IPv4
        address.
        """
        where = IPv6Address("TCP", "::ffff:127.0.0.1", 1080)
        _, transport, association = self.associated(host=where, peer=where)
        bound = self.reply(transport).bound
        self.assertEqual(bound.host, "127.0.0.1")
        self.assertWorks("127.0.0.1", bound, association)

    def test_advertised(self) -> None:
        """
        Each family is told the address of its own that others see, with the true
        port.
        """
        self.factory = self.makeFactory(
            advertised=Advertised("198.51.100.9", "2001:db8::9")
        )
        for host, kind, told in (
            ("127.0.0.1", IPv4Address, "198.51.100.9"),
            ("::1", IPv6Address, "2001:db8::9"),
        ):
            where = kind("TCP", host, 1080)
            _, transport, association = self.associated(host=where, peer=where)
            bound = self.reply(transport).bound
            self.assertEqual(bound.host, told)
            self.assertWorks(host, bound, association)

    def test_hints(self) -> None:
        """
        Whatever the client says of where it is makes no difference.
        """
        for hint in (
            Address.UNSPECIFIED,
            Address.ip("::", 0),
            Address.name("0", 0),
            Address.ip("10.0.0.1", 40001),
            Address.ip("2001:db8::1", 40001),
            Address.name("client.example", 40001),
        ):
            request = RequestMessage(Command.UDP_ASSOCIATE, hint).encode()
            _, transport, association = self.associated(request=request)
            bound = self.reply(transport).bound
            self.assertWorks("127.0.0.1", bound, association)
            self.assertEqual(association.request.destination, hint)

    def test_ports(self) -> None:
        """
        The port is one of those that were given; when all are in use the reply is
        01, and that is no internal error.
        """
        free = self.udp()
        port = free.getsockname()[1]
        free.close()
        self.factory = self.makeFactory(udpPorts=PortRange(port, port))
        _, transport, _ = self.associated()
        self.assertEqual(self.reply(transport).bound.port, port)
        self.assertRefused(ReplyCode.GENERAL_FAILURE)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_notOurs(self) -> None:
        """
        So it is with an address that is none of this machine's, which a proxy
        before this one may have told.
        """
        self.assertRefused(
            ReplyCode.GENERAL_FAILURE, host=IPv4Address("TCP", "192.0.2.1", 1080)
        )
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_log(self) -> None:
        """
        There is a line when it starts and one with all that was counted when it
        ends.
        """
        session, transport, association = self.associated()
        bound = self.reply(transport).bound
        client = self.udp()
        for data in (b"one", b""):
            packet = Datagram(TARGET, data).encode()
            client.sendto(packet, ("127.0.0.1", bound.port))
        client.sendto(b"rubbish", ("127.0.0.1", bound.port))
        self.read()
        association.receiver.datagramReceived(b"answer", TARGET)
        self.reactor.advance(2)
        transport.lose(session)
        line = f"127.0.0.1:40000 - UDP_ASSOCIATE 0.0.0.0:0 via {bound}"
        lines = [event["line"] for event in self.events if "line" in event]
        self.assertEqual(
            lines,
            [
                line,
                f"{line}: closed, 3 bytes sent, 6 received in 2.000 s, "
                "2 datagrams sent, 1 received, 1 dropped",
            ],
        )
        last = self.events[-1]
        self.assertEqual(last["datagramsSent"], 2)
        self.assertEqual(last["datagramsReceived"], 1)
        self.assertEqual(last["dropped"], 1)
        self.assertEqual(last["sent"], 3)

    def test_ends(self) -> None:
        """
        With the TCP connection all is closed, in whichever way it ends, and what
        came over it before made no difference.
        """
        for ends in ("EOF", "close", "reset", "abort"):
            session, transport = self.request()
            association = self.connector.associations[-1]
            association.associate()
            session.dataReceived(b"x" * 1000)
            if ends == "EOF":
                session.readConnectionLost()
            elif ends == "abort":
                session.abort("enough")
                self.assertTrue(transport.aborted)
            if ends == "EOF":
                self.assertTrue(transport.disconnecting)
                self.assertEqual(self.reactor.readers, [])
            transport.lose(session, ConnectionLost() if ends == "reset" else None)
            self.assertEqual(self.reactor.readers, [], ends)
            self.assertEqual(association.closed, 1, ends)
            self.assertEqual(len(self.factory.admission), 0)
            assert self.factory.associations is not None
            self.assertEqual(self.factory.associations._counts, {})

    def test_leavesEarly(self) -> None:
        """
        A client that leaves before there is a way to targets wants none.
        """
        session, transport = self.request()
        [association] = self.connector.associations
        session.readConnectionLost()
        self.assertTrue(association.cancelled)
        self.assertTrue(transport.disconnecting)
        transport.lose(session)
        self.assertEqual(self.reactor.readers, [])
        assert self.factory.associations is not None
        self.assertEqual(self.factory.associations._counts, {})

    def test_leftInTheHandshake(self) -> None:
        """
        So does one that had left before its request was looked at.
        """
        session, transport = self.request()
        [association] = self.connector.associations
        session._clientEnded = True
        association.associate()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(association.closed, 1)
        self.assertEqual(self.reactor.readers, [])

    def test_idle(self) -> None:
        """
        It ends when it is idle, and CONNECT's idle timeout is not its own.
        """
        limits = Limits(idleTimeout=1, udpTimeout=100)
        self.factory = self.makeFactory(limits=limits)
        session, transport, association = self.associated()
        self.reactor.pump([10] * 9)
        self.assertFalse(transport.aborted)
        self.reactor.pump([10] * 3)
        self.assertTrue(transport.aborted)
        self.assertEqual(association.closed, 1)
        transport.lose(session, ConnectionLost())

    def test_descriptors(self) -> None:
        """
        What an association needs is taken into account while it lives.
        """
        admission = self.factory.admission
        admission._left = 1000
        session, transport, _ = self.associated()
        self.assertEqual(admission._left, 1000 - 2 - DESCRIPTORS)
        transport.lose(session)
        self.assertEqual(admission._left, 1000)


class RefusedTests(AssociateTestCase):
    """
    Associations that are not made.
    """

    def test_switchedOff(self) -> None:
        """
        07 when it is switched off, or the connector cannot do it; CONNECT goes on.
        """
        for kwargs in ({"udp": False}, {"connector": FakeConnector()}):
            self.factory = self.makeFactory(**kwargs)
            self.assertRefused(ReplyCode.COMMAND_NOT_SUPPORTED)
            connector: Any = self.factory.connector
            self.request(RequestMessage(Command.CONNECT, TARGET).encode())
            self.assertEqual(len(connector.attempts), 1)

    def test_unix(self) -> None:
        """
        07 for a client that has no IP address.
        """
        self.assertRefused(
            ReplyCode.COMMAND_NOT_SUPPORTED,
            host=UNIXAddress(b"/run/socks"),
            peer=UNIXAddress(b""),
        )

    def test_rule(self) -> None:
        """
        02 when a rule refuses the request.
        """

        class NoDatagrams(PermitAll):
            def permitsRequest(self, request: Request, session: ISession) -> bool:
                return request.command != Command.UDP_ASSOCIATE

        self.factory = self.makeFactory(policy=NoDatagrams())
        self.assertRefused(ReplyCode.NOT_ALLOWED)

    def test_perClient(self) -> None:
        """
        02 when a client has as many as it may have, until one of them ends;
        another client, by its address, has its own.
        """
        self.factory = self.makeFactory(limits=Limits(udpPerClient=2))
        mapped = IPv6Address("TCP", "::ffff:127.0.0.1", 40001)
        session, transport, _ = self.associated()
        self.associated(peer=mapped)
        self.assertRefused(ReplyCode.NOT_ALLOWED)
        self.assertRefused(ReplyCode.NOT_ALLOWED, peer=mapped)
        self.associated(peer=IPv4Address("TCP", "127.0.0.2", 40000))
        transport.lose(session)
        self.associated()
        self.assertRefused(ReplyCode.NOT_ALLOWED)

    def test_connectorFails(self) -> None:
        """
        What the connector fails with decides the reply, and nothing stays open.
        """
        for failure, code in (
            (NetworkUnreachable("no"), ReplyCode.NETWORK_UNREACHABLE),
            (ZeroDivisionError(), ReplyCode.GENERAL_FAILURE),
        ):
            _, transport = self.request()
            opened = self.factory.associations
            assert opened is not None
            self.assertEqual(opened._counts, {"127.0.0.1": 1})
            self.connector.associations[-1].fail(failure)
            self.assertEqual(self.reply(transport), Reply(code))
            self.assertEqual(opened._counts, {})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_connectorRaises(self) -> None:
        """
        So it is when it does so at once.
        """

        def raises(*arguments: object) -> None:
            raise NetworkUnreachable("no")

        self.patch(self.connector, "associate", raises)
        _, transport = self.request()
        self.assertEqual(self.reply(transport), Reply(ReplyCode.NETWORK_UNREACHABLE))

    def test_cannotStart(self) -> None:
        """
        When its socket cannot be watched, though the client was answered, that is
        logged, and all is closed.
        """

        def fails(udp: UDPSocket) -> None:
            raise OSError(errno.ENOSPC, "too many watched")

        self.patch(UDPSocket, "start", fails)
        session, transport = self.request()
        [association] = self.connector.associations
        association.associate()
        self.assertTrue(transport.aborted)
        self.assertEqual(association.closed, 1)
        transport.lose(session, ConnectionLost())
        opened = self.factory.associations
        assert opened is not None
        self.assertEqual(opened._counts, {})
        self.assertEqual(len(self.factory.admission), 0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_noDescriptor(self) -> None:
        """
        01 without a descriptor, and accepting pauses.
        """

        def fails(*arguments: object) -> socket.socket:
            raise OSError(errno.EMFILE, "too many")

        short: list[int] = []
        real = socket.socket
        self.patch(socket, "socket", fails)
        self.patch(
            self.factory.admission, "descriptorsRanShort", lambda: short.append(1)
        )
        try:
            self.assertRefused(ReplyCode.GENERAL_FAILURE)
        finally:
            self.patch(socket, "socket", real)
        self.assertEqual(short, [1])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_timeout(self) -> None:
        """
        04 when the connector takes too long, which is cancelled.
        """
        _, transport = self.request()
        self.reactor.advance(Limits().connectTimeout)
        [association] = self.connector.associations
        self.assertTrue(association.cancelled)
        self.assertEqual(self.reply(transport), Reply(ReplyCode.HOST_UNREACHABLE))

    def test_leavesEarly(self) -> None:
        """
        A client that leaves meanwhile leaves nothing behind.
        """
        session, transport = self.request()
        transport.lose(session)
        [association] = self.connector.associations
        self.assertTrue(association.cancelled)
        opened = self.factory.associations
        assert opened is not None
        self.assertEqual(opened._counts, {})
        self.assertEqual(len(self.factory.admission), 0)
