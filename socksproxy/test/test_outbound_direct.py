"""
Tests for L{socksproxy.outbound.direct}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, NoProtocol
from twisted.internet.interfaces import IAddress, IProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import HostUnreachable, NotAllowed
from socksproxy.interfaces import (
    IAccessPolicy,
    IConnector,
    INameResolver,
    ISession,
    Request,
)
from socksproxy.outbound.dialer import Attempt, Dialer
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.resolver import IResolver, Resolver
from socksproxy.outbound.system import SystemSource
from socksproxy.testing import FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

A, B, C = (Address.ip(f"192.0.2.{n}", 80) for n in range(1, 4))
A6 = Address.ip("2001:db8::1", 80)
NAMED = Address.name("example.org", 80)


class Waiting:
    """
    Deferreds that a test fires.
    """

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.cancelled = 0
        self.result: Deferred[Any] = Deferred(self._cancel)

    def ask(self, what: object) -> Deferred[Any]:
        self.asked.append(what)
        return self.result

    def _cancel(self, result: Deferred[Any]) -> None:
        self.cancelled += 1


@implementer(IResolver)
class FakeResolver(Waiting):
    def resolve(self, name: Address) -> Deferred[list[Address]]:
        return self.ask(name)


class FakeDialer(Waiting, Dialer):
    def dial(
        self, addresses: Sequence[Address], adopt: Callable[[Attempt], Any]
    ) -> Deferred[Any]:
        return self.ask(list(addresses)).addCallback(adopt)


@implementer(IAccessPolicy)
class Forbids:
    """
    Forbids some addresses, and remembers what it was asked.
    """

    def __init__(self, *forbidden: Address) -> None:
        self.asked: list[tuple[Address, Request, ISession]] = []
        self._forbidden = forbidden

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        raise NotImplementedError("the session asks that")

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        self.asked.append((address, request, session))
        return address not in self._forbidden


class Descriptors(Clock):
    """
    The part of a reactor that a connected transport needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)


class Remembering(Factory):
    """
    Remembers for which addresses it was asked for a protocol.
    """

    def __init__(self) -> None:
        self.builtFor: list[IAddress | None] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        self.builtFor.append(addr)
        return AccumulatingProtocol()


class NoProtocolFactory(Factory):
    """
    Wants no connection.
    """

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return None


class FaultyFactory(Factory):
    """
    Fails to build a protocol.
    """

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        raise ZeroDivisionError("a fault")


class DirectConnectorTests(SynchronousTestCase):
    """
    Resolve, ask, dial, hand over.
    """

    def setUp(self) -> None:
        self.reactor = Descriptors()
        self.resolver = FakeResolver()
        self.dialer = FakeDialer()
        self.policy = Forbids()
        self.factory: Factory = Remembering()

    def connect(self, destination: Address) -> Deferred[IProtocol]:
        self.request = Request(Command.CONNECT, destination)
        self.session = FakeSession(self.policy)
        connector = DirectConnector(self.reactor, self.resolver, self.dialer)
        return connector.connect(self.request, self.session, self.factory)

    def connected(self) -> tuple[Attempt, socket.socket]:
        """
        An attempt that has connected, and the other end of it.
        """
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            near = socket.create_connection(listening.getsockname())
            far, _ = listening.accept()
        address = Address.ip(*far.getsockname())
        attempt = Attempt(self.reactor, address, lambda _: None, lambda _, __: None)
        attempt.socket = near
        for each in (near, far):
            self.addCleanup(each.close)
        far.settimeout(60)
        return attempt, far

    def test_interface(self) -> None:
        """
        It is an L{IConnector}; resolver and dialer need not be given.
        """
        verifyObject(IConnector, DirectConnector(self.reactor))

    def test_address(self) -> None:
        """
        An address is put before the policy and dialled; nothing is resolved.
        """
        for destination in (A, A6):
            self.setUp()
            self.assertNoResult(self.connect(destination))
            self.assertEqual(
                self.policy.asked, [(destination, self.request, self.session)]
            )
            self.assertEqual(self.dialer.asked, [[destination]])
            self.assertEqual(self.resolver.asked, [])

    def test_addressForbidden(self) -> None:
        """
        An address that the policy forbids is not dialled.
        """
        self.policy = Forbids(A)
        self.failureResultOf(self.connect(A), NotAllowed)
        self.assertEqual(self.dialer.asked, [])

    def test_name(self) -> None:
        """
        A name is resolved; all its addresses are put before the policy, then
        dialled in their order.
        """
        connecting = self.connect(NAMED)
        self.assertEqual(self.resolver.asked, [NAMED])
        self.assertEqual(self.policy.asked, [])
        self.assertEqual(self.dialer.asked, [])
        self.resolver.result.callback([B, A6, A])
        self.assertEqual(
            self.policy.asked,
            [(address, self.request, self.session) for address in (B, A6, A)],
        )
        self.assertEqual(self.dialer.asked, [[B, A6, A]])
        self.assertNoResult(connecting)

    def test_nameForbidden(self) -> None:
        """
        Of a name's addresses only those that the policy permits are dialled;
        without one the request is not allowed.
        """
        self.policy = Forbids(A, C)
        self.connect(NAMED)
        self.resolver.result.callback([A, B, C])
        self.assertEqual(self.dialer.asked, [[B]])

        self.setUp()
        self.policy = Forbids(A, C)
        connecting = self.connect(NAMED)
        self.resolver.result.callback([A, C])
        self.failureResultOf(connecting, NotAllowed)
        self.assertEqual(self.dialer.asked, [])

    def test_fails(self) -> None:
        """
        What the resolver or the dialer fails with is what the request fails
        with.
        """
        connecting = self.connect(NAMED)
        self.resolver.result.errback(HostUnreachable())
        self.failureResultOf(connecting, HostUnreachable)
        self.assertEqual(self.dialer.asked, [])

        self.setUp()
        connecting = self.connect(NAMED)
        self.resolver.result.callback([A])
        self.dialer.result.errback(ConnectionRefusedError())
        self.failureResultOf(connecting, ConnectionRefusedError)

    def test_cancelled(self) -> None:
        """
        Cancelled, it cancels what is under way: the look-up, or the dialling
        of an address or of a name's addresses.
        """
        connecting = self.connect(NAMED)
        connecting.addErrback(lambda _: None)
        connecting.cancel()
        self.assertEqual((self.resolver.cancelled, self.dialer.cancelled), (1, 0))
        self.assertEqual(self.dialer.asked, [])
        for destination in (A, NAMED):
            self.setUp()
            connecting = self.connect(destination)
            if destination == NAMED:
                self.resolver.result.callback([A])
            connecting.addErrback(lambda _: None)
            connecting.cancel()
            self.assertEqual((self.resolver.cancelled, self.dialer.cancelled), (0, 1))

    def test_handsOver(self) -> None:
        """
        The connection is handed to a protocol of the factory, which was told
        the address that was dialled, and the transport knows both ends.
        """
        connecting = self.connect(A)
        attempt, far = self.connected()
        self.dialer.result.callback(attempt)
        protocol = cast(AccumulatingProtocol, self.successResultOf(connecting))
        transport = cast(Any, protocol.transport)
        peer = IPv4Address("TCP", "127.0.0.1", attempt.address.port)
        self.assertEqual(cast(Remembering, self.factory).builtFor, [peer])
        self.assertEqual(protocol.made, 1)
        verifyObject(ITCPTransport, transport)
        self.assertEqual(transport.getPeer(), peer)
        host, port = far.getpeername()
        self.assertEqual(transport.getHost(), IPv4Address("TCP", host, port))
        self.assertEqual(self.reactor.readers, {transport})

    def test_transport(self) -> None:
        """
        Bytes go both ways through the transport, then its end comes.
        """
        connecting = self.connect(A)
        attempt, far = self.connected()
        self.dialer.result.callback(attempt)
        protocol = cast(Any, self.successResultOf(connecting))
        transport = protocol.transport
        transport.write(b"ping")
        transport.doWrite()
        self.assertEqual(far.recv(10), b"ping")
        far.sendall(b"pong")
        far.shutdown(socket.SHUT_WR)
        self.assertIsNone(transport.doRead())
        self.assertEqual(protocol.data, b"pong")
        transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(protocol.closed, 1)
        self.assertEqual(far.recv(10), b"")
        self.assertEqual(attempt.socket.fileno(), -1)

    def test_ipv6(self) -> None:
        """
        The address of an IPv6 target is an IPv6 address of Twisted's.
        """
        connecting = self.connect(A6)
        attempt, _ = self.connected()
        attempt.address = A6
        self.dialer.result.callback(attempt)
        protocol = cast(Any, self.successResultOf(connecting))
        self.assertEqual(
            protocol.transport.getPeer(), IPv6Address("TCP", "2001:db8::1", 80)
        )

    def test_noProtocol(self) -> None:
        """
        When the factory wants no connection, it is closed.
        """
        self.factory = NoProtocolFactory()
        connecting = self.connect(A)
        attempt, far = self.connected()
        self.dialer.result.callback(attempt)
        self.failureResultOf(connecting, NoProtocol)
        self.assertEqual(far.recv(1), b"")

    def test_faultyFactory(self) -> None:
        """
        When the factory fails, the connection is closed too.
        """
        self.factory = FaultyFactory()
        connecting = self.connect(A)
        attempt, _ = self.connected()
        self.dialer.result.callback(attempt)
        self.failureResultOf(connecting, ZeroDivisionError)
        self.assertEqual(attempt.socket.fileno(), -1)
        self.assertEqual(self.reactor.readers, set())


class Ends(Protocol):
    """
    Tells when its connection has ended.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


class Echo(Ends):
    """
    Sends back what comes, then closes.
    """

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
        self.transport.loseConnection()


class Client(Ends):
    """
    Says something, and remembers the answer.
    """

    received = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class RealReactorTests(TestCase):
    """
    The whole of it, on the real reactor and this machine.
    """

    async def test_echo(self) -> None:
        """
        By address and by name, it connects to who listens there, and the
        connection lives until it is closed.
        """
        served: list[Echo] = []

        class Serving(Factory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol:
                served.append(Echo())
                return served[-1]

        listening = cast(Any, reactor).listenTCP(0, Serving(), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port

        def getaddrinfo(host: str, port: None, **kwargs: int) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

        connector = DirectConnector(
            reactor, Resolver(reactor, SystemSource(reactor, getaddrinfo=getaddrinfo))
        )
        for destination in (
            Address.ip("127.0.0.1", port),
            Address.name("example.org", port),
        ):
            request = Request(Command.CONNECT, destination)
            client = cast(
                Client,
                await connector.connect(
                    request, FakeSession(), Factory.forProtocol(Client)
                ),
            )
            await client.ended
            await served[-1].ended
            self.assertEqual(client.received, b"hello")
        self.assertEqual(len(served), 2)


class NameResolverTests(SynchronousTestCase):
    """
    RESOLVE and RESOLVE_PTR.
    """

    def setUp(self) -> None:
        self.resolver, self.names = FakeResolver(), FakeResolver()

    def ask(
        self, command: Command, destination: Address, *forbidden: Address
    ) -> Deferred[Address]:
        connector = DirectConnector(None, self.resolver, names=self.names)
        verifyObject(INameResolver, connector)
        request = Request(command, destination)
        session = FakeSession(policy=Forbids(*forbidden))
        if command == Command.RESOLVE:
            return connector.addressOf(request, session)
        return connector.nameOf(request, session)

    def test_address(self) -> None:
        """
        One address is told, an IPv4 address if there is one, and the best of them.
        """
        told = self.ask(Command.RESOLVE, NAMED)
        self.assertEqual(self.resolver.asked, [NAMED])
        self.resolver.result.callback([A6, B, A])
        self.assertEqual(self.successResultOf(told), B)

    def test_onlyIPv6(self) -> None:
        """
        Or else another.
        """
        told = self.ask(Command.RESOLVE, NAMED)
        self.resolver.result.callback([A6])
        self.assertEqual(self.successResultOf(told), A6)

    def test_policy(self) -> None:
        """
        What nobody may connect to is not told.
        """
        told = self.ask(Command.RESOLVE, NAMED, B, A)
        self.resolver.result.callback([B, A6, A])
        self.assertEqual(self.successResultOf(told), A6)
        told = self.ask(Command.RESOLVE, A, A)
        self.failureResultOf(told, NotAllowed)
        told = self.ask(Command.RESOLVE_PTR, A, A)
        self.failureResultOf(told, NotAllowed)
        self.assertEqual(self.names.asked, [])

    def test_addressOfAddress(self) -> None:
        """
        An address is its own.
        """
        self.assertEqual(self.successResultOf(self.ask(Command.RESOLVE, A)), A)
        self.assertEqual(self.resolver.asked, [])

    def test_name(self) -> None:
        """
        An address has a name, perhaps; a name has none.
        """
        told = self.ask(Command.RESOLVE_PTR, A)
        self.assertEqual(self.names.asked, [A])
        self.names.result.callback([NAMED])
        self.assertEqual(self.successResultOf(told), NAMED)
        self.failureResultOf(self.ask(Command.RESOLVE_PTR, NAMED), HostUnreachable)

    def test_fails(self) -> None:
        """
        What the resolver fails with is what it fails with; it can be cancelled.
        """
        told = self.ask(Command.RESOLVE, NAMED)
        self.resolver.result.errback(HostUnreachable("no"))
        self.failureResultOf(told, HostUnreachable)
        self.ask(Command.RESOLVE_PTR, A).addErrback(lambda _: None).cancel()
        self.assertEqual(self.names.cancelled, 1)
