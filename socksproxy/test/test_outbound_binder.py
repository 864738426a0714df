"""
Tests for L{socksproxy.outbound.binder}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, NoProtocol
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.testing import AccumulatingProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import GeneralFailure, HostUnreachable, TimedOut, replyCodeOf
from socksproxy.hubconnection import HubConnection
from socksproxy.interfaces import (
    IAccessPolicy,
    IBinder,
    IBinding,
    ISession,
    Request,
)
from socksproxy.outbound.binder import TRIES, Binder
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.localend import LocalEnd
from socksproxy.outbound.reachable import Advertised, PortRange
from socksproxy.test.test_outbound_direct import Descriptors, FakeResolver
from socksproxy.testing import FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command, ReplyCode

LOCAL4 = Address.ip("127.0.0.1", 21)
LOCAL6 = Address.ip("::1", 21)
ANYBODY = Address.ip("0.0.0.0", 0)
NAMED = Address.name("ftp.example.org", 21)


@implementer(IAccessPolicy)
class PeersPolicy:
    """
    Permits what a test says, and remembers what it was asked.
    """

    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[Address, Request, ISession]] = []

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        raise NotImplementedError("the session asks that")

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        self.asked.append((address, request, session))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class BinderTestCase(SynchronousTestCase):
    """
    A binder on real sockets, whose reactor is the test.
    """

    def setUp(self) -> None:
        self.reactor = Descriptors()
        self.resolver = FakeResolver()
        self.binder = Binder(self.reactor, self.resolver)
        self.session = FakeSession(
            peer=IPv4Address("TCP", "127.0.0.1", 40000),
            host=IPv4Address("TCP", "127.0.0.1", 1080),
        )
        factory: Any = Factory.forProtocol(AccumulatingProtocol)
        factory.protocolConnectionMade = None
        self.factory = factory

    def bind(self, destination: Address) -> Deferred[IBinding]:
        self.request = Request(Command.BIND, destination)
        return self.binder.bind(self.request, self.session, self.factory)

    def listening(self, destination: Address) -> Any:
        """
        What listens for C{destination}; it is closed with the test.
        """
        binding = self.successResultOf(self.bind(destination))
        self.addCleanup(self.end, binding)
        return binding

    def end(self, binding: IBinding) -> None:
        binding.accepted.addErrback(lambda _: None)
        binding.accepted.cancel()

    def connect(self, binding: Any, source: str | None = None) -> socket.socket:
        """
        Connect to where it listens, and let it look.
        """
        far = self.dial(binding, source)
        binding.doRead()
        return far

    def dial(self, binding: Any, source: str | None = None) -> socket.socket:
        address = binding.address
        far = socket.create_connection(
            (address.host, address.port), 60, (source or address.host, 0)
        )
        self.addCleanup(far.close)
        return far

    def accepted(self, binding: Any) -> Any:
        """
        The protocol of the connection that came; nothing is open but that.
        """
        protocol = cast(Any, self.successResultOf(binding.accepted))
        self.addCleanup(
            lambda: protocol.transport.connectionLost(Failure(ConnectionLost()))
        )
        self.assertClosed(binding)
        return protocol

    def assertClosed(self, binding: Any) -> None:
        """
        It listens no more.
        """
        self.assertEqual(binding.fileno(), -1)
        self.assertNotIn(binding, self.reactor.readers)

    def assertTurnedAway(self, far: socket.socket) -> None:
        self.assertRaises(ConnectionResetError, far.recv, 1)


class AcceptTests(BinderTestCase):
    """
    Who connects, and what becomes of it.
    """

    def test_interfaces(self) -> None:
        """
        It is a binder, what it gives is a binding, and the default connector
        is one as well.
        """
        verifyObject(IBinder, self.binder)
        verifyObject(IBinder, DirectConnector(self.reactor, self.resolver))
        verifyObject(IBinding, self.listening(LOCAL4))

    def test_directConnector(self) -> None:
        """
        The default connector's ports and addresses are those it was given.
        """
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        self.binder = cast(
            Binder,
            DirectConnector(
                self.reactor,
                self.resolver,
                localEnd=LocalEnd("127.0.0.9"),
                bindPorts=PortRange(port, port),
                advertised=Advertised("203.0.113.7"),
            ),
        )
        binding = self.listening(LOCAL4)
        self.assertEqual(binding.address, Address.ip("203.0.113.7", port))

    def test_accepts(self) -> None:
        """
        The target's connection is a protocol's, behind the transport of all
        connections to targets, with the same socket options.
        """
        binding = self.listening(LOCAL4)
        self.assertNoResult(binding.accepted)
        far = self.connect(binding)
        protocol = self.accepted(binding)
        transport = protocol.transport
        self.assertIsInstance(transport, HubConnection)
        self.assertEqual(
            transport.getPeer(), IPv4Address("TCP", *far.getsockname()[:2])
        )
        self.assertEqual(transport.getHost().port, binding.address.port)
        self.assertTrue(
            transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        )
        self.assertFalse(transport.socket.getblocking())
        far.sendall(b"banner")
        transport.doRead()
        self.assertEqual(protocol.data, b"banner")

    def test_accepts6(self) -> None:
        """
        For an IPv6 address it listens on IPv6, whatever the client came over.
        """
        binding = self.listening(LOCAL6)
        self.assertEqual(binding.address.host, "::1")
        far = self.connect(binding)
        self.assertEqual(
            self.accepted(binding).transport.getPeer(),
            IPv6Address("TCP", "::1", far.getsockname()[1]),
        )

    def test_onlyOne(self) -> None:
        """
        When the target has connected nobody else can, not even who had been
        waiting.
        """
        binding = self.listening(LOCAL4)
        first, second = self.dial(binding), self.dial(binding)
        binding.doRead()
        protocol = self.accepted(binding)
        self.assertEqual(protocol.transport.getPeer().port, first.getsockname()[1])
        self.assertTurnedAway(second)

    def test_turnsAway(self) -> None:
        """
        Another host than C{DST.ADDR} is turned away, and the wait goes on.
        """
        binding = self.listening(Address.ip("127.0.0.2", 21))
        for _ in range(3):
            self.assertTurnedAway(self.connect(binding))
        self.assertNoResult(binding.accepted)
        far = self.connect(binding, "127.0.0.2")
        protocol = self.accepted(binding)
        self.assertEqual(protocol.transport.getPeer().port, far.getsockname()[1])

    def test_anybody(self) -> None:
        """
        C{0.0.0.0} and C{::} are anybody, and so is what some clients write
        instead.
        """
        for host in ("0.0.0.0", "::", "0"):
            binding = self.listening(Address.name(host, 0))
            self.connect(binding, "127.0.0.9")
            self.accepted(binding)

    def test_nobody(self) -> None:
        """
        A name that resolves to C{0.0.0.0} is nobody's.
        """
        binding = self.bind(NAMED)
        self.resolver.result.callback([ANYBODY])
        found = cast(Any, self.successResultOf(binding))
        self.addCleanup(self.end, found)
        self.assertTurnedAway(self.connect(found))

    def test_name(self) -> None:
        """
        A name stands for all its addresses.
        """
        binding = self.bind(NAMED)
        self.assertEqual(self.resolver.asked, [NAMED])
        self.resolver.result.callback(
            [Address.ip(f"127.0.0.{n}", 21) for n in range(2, 5)]
        )
        found = cast(Any, self.successResultOf(binding))
        self.assertTurnedAway(self.connect(found))
        self.connect(found, "127.0.0.4")
        self.accepted(found)

    def test_noSuchName(self) -> None:
        """
        A name without an address is nobody's.
        """
        binding = self.bind(NAMED)
        self.resolver.result.errback(HostUnreachable("there is no such name"))
        self.failureResultOf(binding, HostUnreachable)

    def test_cancelledWhileLookingUp(self) -> None:
        """
        Nobody wants to know any more: the look-up ends.
        """
        binding = self.bind(NAMED)
        binding.cancel()
        self.failureResultOf(binding)
        self.assertEqual(self.resolver.cancelled, 1)

    def test_policy(self) -> None:
        """
        The policy is asked about who connects, not about strangers; whom it
        refuses is turned away, and the wait goes on.
        """
        policy = self.session.policy = PeersPolicy(False)
        binding = self.listening(Address.ip("127.0.0.2", 21))
        self.connect(binding)
        self.assertEqual(policy.asked, [])
        far = self.connect(binding, "127.0.0.2")
        peer = Address.ip(*far.getsockname())
        self.assertEqual(policy.asked, [(peer, self.request, self.session)])
        self.assertTurnedAway(far)
        self.assertNoResult(binding.accepted)
        policy.answer = True
        self.connect(binding, "127.0.0.2")
        self.accepted(binding)

    def test_faultyPolicy(self) -> None:
        """
        A policy that fails permits nobody, and ends the wait.
        """
        self.session.policy = PeersPolicy(ZeroDivisionError())
        binding = self.listening(LOCAL4)
        far = self.connect(binding)
        self.failureResultOf(binding.accepted, ZeroDivisionError)
        self.assertClosed(binding)
        self.assertEqual(far.recv(1), b"")

    def test_noProtocol(self) -> None:
        """
        A factory that wants no connection gets none.
        """

        class Declines(Factory):
            def buildProtocol(self, addr: IAddress | None) -> None:
                return None

        self.factory = Declines()
        binding = self.listening(LOCAL4)
        far = self.connect(binding)
        self.failureResultOf(binding.accepted, NoProtocol)
        self.assertClosed(binding)
        self.assertEqual(far.recv(1), b"")


class EndTests(BinderTestCase):
    """
    Every other way in which it can end.
    """

    def test_cancelled(self) -> None:
        """
        Nobody waits any more: it is closed.
        """
        binding = self.listening(LOCAL4)
        binding.accepted.cancel()
        failure = self.failureResultOf(binding.accepted, TimedOut)
        self.assertEqual(str(failure.value), "nobody connected in time")
        self.assertClosed(binding)

    def test_cancelledAfterOthers(self) -> None:
        """
        Who was turned away meanwhile is counted.
        """
        binding = self.listening(Address.ip("127.0.0.2", 21))
        for _ in range(2):
            self.connect(binding)
        binding.accepted.cancel()
        failure = self.failureResultOf(binding.accepted, TimedOut)
        self.assertIn("but for 2 turned away", str(failure.value))

    def test_reactorStops(self) -> None:
        """
        When the reactor stops it is closed, once.
        """
        binding = self.listening(LOCAL4)
        for _ in range(2):
            binding.connectionLost(Failure(ConnectionLost()))
        failure = self.failureResultOf(binding.accepted, OSError)
        self.assertIs(replyCodeOf(failure.value), ReplyCode.GENERAL_FAILURE)
        self.assertClosed(binding)

    def failing(self, number: int) -> Any:
        """
        A binding whose next connection cannot be accepted.
        """

        class Failing(socket.socket):
            def accept(self) -> Any:
                raise OSError(number, "")

        binding = self.listening(LOCAL4)
        binding._socket = Failing(fileno=binding._socket.detach())
        binding.doRead()
        return binding

    def test_noDescriptors(self) -> None:
        """
        Without a descriptor for the connection the wait is over: the reactor
        would tell of it again and again.
        """
        binding = self.failing(errno.EMFILE)
        failure = self.failureResultOf(binding.accepted, OSError)
        self.assertEqual(failure.value.errno, errno.EMFILE)
        self.assertClosed(binding)

    def test_goneAgain(self) -> None:
        """
        Who has connected, and gone before anybody looked, does not end it.
        """
        for number in (errno.EAGAIN, errno.ECONNABORTED, errno.EPERM):
            self.assertNoResult(self.failing(number).accepted)


class AddressTests(BinderTestCase):
    """
    Where it listens, and what is told.
    """

    def told(self, destination: Address) -> Address:
        """
        The address that the client is told, if it is the one that it listens
        on, or all.
        """
        binding = self.listening(destination)
        host, port, *_ = binding._socket.getsockname()
        self.assertEqual(binding.address.port, port)
        self.assertIn(host, (binding.address.host, "0.0.0.0", "::"))
        return cast(Address, binding.address)

    def test_onTheWay(self) -> None:
        """
        For a target that is known it is our address on the way there, not
        that which the client knows.
        """
        self.session.host = IPv4Address("TCP", "127.0.0.7", 1080)
        self.assertEqual(self.told(LOCAL4).host, "127.0.0.1")
        self.assertEqual(self.told(LOCAL6).host, "::1")

    def test_portZero(self) -> None:
        """
        C{DST.PORT} may be 0.
        """
        self.assertEqual(self.told(Address.ip("127.0.0.1", 0)).host, "127.0.0.1")

    def test_noWay(self) -> None:
        """
        Of several addresses the first counts that there is a way to; where
        there is none, the failure tells why.
        """
        nowhere = Address.ip("255.255.255.255", 21)
        binding = self.bind(NAMED)
        self.resolver.result.callback([nowhere, LOCAL6])
        found = self.successResultOf(binding)
        self.addCleanup(self.end, found)
        self.assertEqual(found.address.host, "::1")
        self.failureResultOf(self.bind(nowhere), OSError)
        self.assertEqual(self.reactor.readers, {found})

    def test_facingTheClient(self) -> None:
        """
        For an unknown target it is the address at which the client reached us,
        and of that family.
        """
        for host, expected in (
            (IPv4Address("TCP", "127.0.0.7", 1080), "127.0.0.7"),
            (IPv6Address("TCP", "::1", 1080), "::1"),
            (IPv6Address("TCP", "::ffff:127.0.0.7", 1080), "127.0.0.7"),
        ):
            self.session.host = host
            for anybody in (ANYBODY, Address.ip("::", 0)):
                self.assertEqual(self.told(anybody).host, expected)

    def test_noNetwork(self) -> None:
        """
        A client that came through a UNIX socket is told an address of this
        machine as well.
        """
        self.session.host = self.session.peer = UNIXAddress(b"socks")
        told = self.told(ANYBODY)
        self.assertNotIn(told.host, ("0.0.0.0", "::"))
        with socket.create_connection((told.host, told.port)):
            pass

    def test_localEnd(self) -> None:
        """
        Where connections go out from one address, they come in there.
        """
        self.binder = Binder(self.reactor, self.resolver, LocalEnd("127.0.0.3"))
        for destination in (LOCAL4, ANYBODY):
            binding = self.listening(destination)
            self.assertEqual(binding.address.host, "127.0.0.3")
            self.assertEqual(binding._socket.getsockname()[0], "127.0.0.3")

    def test_localEndOfOtherFamily(self) -> None:
        """
        For a target of a family that must not be used nothing listens; a
        client of that family gets the other one for a target that is not
        known.
        """
        self.binder = Binder(self.reactor, self.resolver, LocalEnd("127.0.0.3"))
        failure = self.failureResultOf(self.bind(LOCAL6), OSError)
        self.assertEqual(failure.value.errno, errno.EADDRNOTAVAIL)
        self.session.host = IPv6Address("TCP", "::1", 1080)
        self.session.peer = IPv6Address("TCP", "::1", 40000)
        self.assertEqual(self.told(ANYBODY).host, "127.0.0.3")

    def test_advertised(self) -> None:
        """
        From behind a NAT each family is told its public address, with the port
        that it listens on.
        """
        self.binder = Binder(
            self.reactor,
            self.resolver,
            advertised=Advertised("203.0.113.7", "2001:db8::7"),
        )
        for destination, expected in (
            (LOCAL4, "203.0.113.7"),
            (LOCAL6, "2001:db8::7"),
            (ANYBODY, "203.0.113.7"),
        ):
            binding = self.listening(destination)
            port = binding._socket.getsockname()[1]
            self.assertEqual(binding.address, Address.ip(expected, port))

    def test_ports(self) -> None:
        """
        It listens on a port of the range, and fails when all are in use.  A
        port can be had again as soon as its target has connected.
        """
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        self.binder = Binder(
            self.reactor, self.resolver, LocalEnd("127.0.0.9"), PortRange(port, port)
        )
        first = self.listening(LOCAL4)
        self.assertEqual(first.address.port, port)
        self.failureResultOf(self.bind(LOCAL4), GeneralFailure)
        self.assertEqual(self.reactor.readers, {first})
        self.connect(first, "127.0.0.1")
        self.accepted(first)
        second = self.listening(LOCAL4)
        self.assertEqual(second.address.port, port)

    def test_race(self) -> None:
        """
        When another process listens on the port that was just bound, another port
        is taken.
        """
        rivals: list[socket.socket] = []

        class Raced(PortRange):
            def bind(self, sock: socket.socket, host: str, scope: int = 0) -> None:
                super().bind(sock, host, scope)
                if len(rivals) < 3:
                    rival = socket.socket()
                    rivals.append(rival)
                    rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    rival.bind(sock.getsockname())
                    rival.listen()

        self.binder = Binder(self.reactor, self.resolver, ports=Raced())
        try:
            binding = self.listening(LOCAL4)
            self.assertEqual(len(rivals), 3)
            self.assertNotIn(
                binding.address.port, [rival.getsockname()[1] for rival in rivals]
            )
        finally:
            for rival in rivals:
                rival.close()

    def test_lostRaces(self) -> None:
        """
        Not without end; and no socket is left.
        """
        made = []

        class Loses(socket.socket):
            def listen(self, *backlog: int) -> None:
                made.append(self)
                raise OSError(errno.EADDRINUSE, "")

        self.patch(socket, "socket", Loses)
        failure = self.failureResultOf(self.bind(LOCAL4), OSError)
        self.assertIs(replyCodeOf(failure.value), ReplyCode.GENERAL_FAILURE)
        self.assertEqual([one.fileno() for one in made], [-1] * TRIES)
