"""
Fakes for the tests of programs that bring plugs of their own, and for ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.access import PermitAll
from socksproxy.interfaces import (
    IAccessPolicy,
    IAssociation,
    IAssociator,
    IBinder,
    IBinding,
    IConnector,
    IDatagramReceiver,
    INameResolver,
    ISession,
    Request,
)
from socksproxy.wire.address import Address

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "FakeAssociation",
    "FakeAssociator",
    "FakeAttempt",
    "FakeBinder",
    "FakeBinding",
    "FakeConnector",
    "FakeNameResolver",
    "FakeSession",
    "MemoryTransport",
]


class MemoryTransport(StringTransport):
    """
    A transport without a network that can also be half-closed.

    @ivar writes: what was written, a write each.
    @ivar writeEnded: whether C{loseWriteConnection} was called.
    @ivar aborted: whether C{abortConnection} was called.
    """

    writeEnded = False
    aborted = False

    def __init__(
        self, hostAddress: IAddress | None = None, peerAddress: IAddress | None = None
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            hostAddress or IPv4Address("TCP", "192.0.2.1", 1080),
            peerAddress or IPv4Address("TCP", "192.0.2.2", 40000),
        )
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)  # type: ignore[no-untyped-call]

    def loseWriteConnection(self) -> None:
        self.writeEnded = True

    def abortConnection(self) -> None:
        self.aborted = True

    def lose(self, protocol: IProtocol, reason: Exception | None = None) -> None:
        """
        Tell C{protocol} that the connection is gone.

        @param reason: L{ConnectionDone} unless given.
        """
        self.connected = False
        protocol.connectionLost(Failure(reason or ConnectionDone()))


@implementer(ISession)
class FakeSession:
    """
    What plugs see of a session.
    """

    def __init__(
        self,
        policy: IAccessPolicy | None = None,
        peer: IAddress | None = None,
        host: IAddress | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.certificate = certificate
        self.policy: IAccessPolicy = PermitAll() if policy is None else policy
        self.peer: IAddress = peer or IPv4Address("TCP", "192.0.2.2", 40000)
        self.host: IAddress = host or IPv4Address("TCP", "192.0.2.1", 1080)


class FakeAttempt:
    """
    One call of L{FakeConnector.connect}, to be decided by the test.

    @ivar cancelled: whether the session has lost its interest.
    @ivar transport: the target's side, once it is connected.
    @ivar protocol: what the session's factory built for it.
    """

    def __init__(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> None:
        self.request = request
        self.session = session
        self.cancelled = False
        self.transport = MemoryTransport(
            IPv4Address("TCP", "198.51.100.1", 50000),
            IPv4Address("TCP", "198.51.100.2", 80),
        )
        self.protocol: Any = None
        self._protocolFactory = protocolFactory
        self.result: Deferred[IProtocol] = Deferred(self._cancel)

    def connect(self, transport: MemoryTransport | None = None) -> MemoryTransport:
        """
        The target has answered.
        """
        if transport is not None:
            self.transport = transport
        peer: IAddress = self.transport.getPeer()  # type: ignore[no-untyped-call]
        self.protocol = self._protocolFactory.buildProtocol(peer)
        self.protocol.makeConnection(self.transport)
        self.result.callback(self.protocol)
        return self.transport

    def fail(self, exception: Exception) -> None:
        """
        There is no way to the target.
        """
        self.result.errback(Failure(exception))

    def _cancel(self, result: Deferred[Any]) -> None:
        self.cancelled = True


@implementer(IConnector)
class FakeConnector:
    """
    Connects when the test says so.

    @ivar attempts: one for each call, in their order.
    """

    def __init__(self) -> None:
        self.attempts: list[FakeAttempt] = []

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        attempt = FakeAttempt(request, session, protocolFactory)
        self.attempts.append(attempt)
        return attempt.result


@implementer(IBinding)
class FakeBinding(FakeAttempt):
    """
    One call of L{FakeBinder.bind}: nobody can connect before L{listen}.

    @ivar address: 198.51.100.1:50000, unless the test sets another.
    @ivar listening: what C{bind} has returned.
    """

    def __init__(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> None:
        super().__init__(request, session, protocolFactory)
        self.address = Address.ip("198.51.100.1", 50000)
        self.accepted = self.result
        self.listening: Deferred[IBinding] = Deferred(self._cancel)

    def listen(self) -> None:
        """
        From now on the target can connect.
        """
        self.listening.callback(self)

    def cannotListen(self, exception: Exception) -> None:
        """
        There is no way for the target to connect.
        """
        self.listening.errback(Failure(exception))


@implementer(IBinder)
class FakeBinder(FakeConnector):
    """
    A connector that serves BIND too, when the test says so.

    @ivar bindings: one for each call, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bindings: list[FakeBinding] = []

    def bind(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        binding = FakeBinding(request, session, protocolFactory)
        self.bindings.append(binding)
        return binding.listening


@implementer(IAssociation)
class FakeAssociation:
    """
    One call of L{FakeAssociator.associate}, to be decided by the test, and then
    the targets' side.

    @ivar result: what the call returned.
    @ivar receiver: where the test delivers what targets send.
    @ivar sent: what was sent, and where to.
    @ivar closed: how often it was closed.
    @ivar cancelled: whether the session has lost its interest.
    """

    def __init__(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> None:
        self.request = request
        self.session = session
        self.receiver = receiver
        self.sent: list[tuple[bytes, Address]] = []
        self.closed = 0
        self.cancelled = False
        self.result: Deferred[IAssociation] = Deferred(self._cancel)

    def send(self, data: bytes, destination: Address) -> None:
        self.sent.append((data, destination))

    def close(self) -> None:
        self.closed += 1

    def associate(self) -> None:
        """
        There is a way to targets.
        """
        self.result.callback(self)

    def fail(self, exception: Exception) -> None:
        """
        There is none.
        """
        self.result.errback(Failure(exception))

    def _cancel(self, result: Deferred[IAssociation]) -> None:
        self.cancelled = True


@implementer(IAssociator)
class FakeAssociator(FakeConnector):
    """
    A connector that associates, too, when the test says so.

    @ivar associations: one for each call, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.associations: list[FakeAssociation] = []

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        association = FakeAssociation(request, session, receiver)
        self.associations.append(association)
        return association.result


@implementer(INameResolver)
class FakeNameResolver(FakeConnector):
    """
    A connector that resolves, too, when the test says so.

    @ivar asked: the requests, in their order.
    @ivar results: what each call returned.
    @ivar cancelled: how many of these nobody wants any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []
        self.results: list[Deferred[Address]] = []
        self.cancelled = 0

    def addressOf(self, request: Request, session: ISession) -> Deferred[Address]:
        return self._ask(request)

    def nameOf(self, request: Request, session: ISession) -> Deferred[Address]:
        return self._ask(request)

    def _ask(self, request: Request) -> Deferred[Address]:
        self.asked.append(request)
        self.results.append(Deferred(self._cancel))
        return self.results[-1]

    def _cancel(self, result: Deferred[Address]) -> None:
        self.cancelled += 1
