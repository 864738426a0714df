"""
Tests for L{socksproxy.outbound.endpoint}.
"""
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from socksproxy.errors import NetworkUnreachable, NotAllowed
from socksproxy.interfaces import IAccessPolicy, IConnector, ISession, Request
from socksproxy.outbound.endpoint import EndpointConnector
from socksproxy.testing import FakeSession
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

V4 = Address.ip("192.0.2.1", 80)
V6 = Address.ip("2001:db8::1", 80)
NAMED = Address.name("example.org", 80)


@implementer(IStreamClientEndpoint)
class Endpoint:
    """
    An endpoint that remembers who wanted to connect.
    """

    def __init__(self) -> None:
        self.factories: list[IProtocolFactory] = []
        self.cancelled = 0
        self.result: Deferred[IProtocol] = Deferred(self._cancel)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.factories.append(protocolFactory)
        return self.result

    def _cancel(self, result: Deferred[IProtocol]) -> None:
        self.cancelled += 1


@implementer(IAccessPolicy)
class Policy:
    """
    Permits addresses or does not, and remembers what it was asked.
    """

    def __init__(self, permits: bool) -> None:
        self.asked: list[tuple[Address, Request, ISession]] = []
        self._permits = permits

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        raise NotImplementedError("the session asks that")

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        self.asked.append((address, request, session))
        return self._permits


class EndpointConnectorTests(SynchronousTestCase):
    """
    An endpoint for each request.
    """

    def setUp(self) -> None:
        self.endpoint = Endpoint()
        self.chosenFor: list[Request] = []
        self.factory = Factory.forProtocol(Protocol)

    def choose(self, request: Request) -> IStreamClientEndpoint:
        self.chosenFor.append(request)
        return self.endpoint

    def connect(
        self, destination: Address, policy: IAccessPolicy | None = None
    ) -> Deferred[IProtocol]:
        self.request = Request(Command.CONNECT, destination)
        self.session = FakeSession(policy)
        connector = EndpointConnector(self.choose)
        return connector.connect(self.request, self.session, self.factory)

    def test_interface(self) -> None:
        """
        It is an L{IConnector}.
        """
        verifyObject(IConnector, EndpointConnector(self.choose))

    def test_connects(self) -> None:
        """
        The endpoint chosen for the request connects, with the factory that
        was given, and what it connects is the result.
        """
        for destination in (V4, V6, NAMED):
            self.setUp()
            connecting = self.connect(destination)
            self.assertNoResult(connecting)
            self.assertEqual(self.chosenFor, [self.request])
            self.assertEqual(self.endpoint.factories, [self.factory])
            protocol = Protocol()
            self.endpoint.result.callback(protocol)
            self.assertIs(self.successResultOf(connecting), protocol)

    def test_asksAboutAddresses(self) -> None:
        """
        The policy is asked about a destination that is an address; a refusal
        is L{NotAllowed}, and no endpoint is chosen.
        """
        for destination in (V4, V6):
            policy = Policy(False)
            self.failureResultOf(self.connect(destination, policy), NotAllowed)
            self.assertEqual(policy.asked, [(destination, self.request, self.session)])
            self.assertEqual(self.chosenFor, [])
            permitting = Policy(True)
            self.assertNoResult(self.connect(destination, permitting))
            self.assertEqual(len(permitting.asked), 1)
            self.chosenFor.clear()

    def test_doesNotAskAboutNames(self) -> None:
        """
        A name goes to the endpoint as it is: no address is known to ask about.
        """
        policy = Policy(False)
        self.assertNoResult(self.connect(NAMED, policy))
        self.assertEqual(policy.asked, [])
        self.assertEqual(self.chosenFor, [self.request])

    def test_fails(self) -> None:
        """
        What the endpoint fails with is what the request fails with.
        """
        connecting = self.connect(NAMED)
        self.endpoint.result.errback(NetworkUnreachable())
        self.failureResultOf(connecting, NetworkUnreachable)

    def test_cancelled(self) -> None:
        """
        Cancelling the request cancels the endpoint's connecting.
        """
        connecting = self.connect(V4)
        connecting.addErrback(lambda _: None)
        connecting.cancel()
        self.assertEqual(self.endpoint.cancelled, 1)

    def test_refusesToChoose(self) -> None:
        """
        The function can refuse: that is what the request fails with.
        """

        def refuse(request: Request) -> IStreamClientEndpoint:
            raise NotAllowed("not there")

        self.patch(self, "choose", refuse)
        self.failureResultOf(maybeDeferred(self.connect, V4), NotAllowed)
