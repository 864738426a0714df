"""
Any Twisted client endpoint as a L{IConnector
<socksproxy.interfaces.IConnector>}.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from socksproxy.errors import NotAllowed
from socksproxy.interfaces import IConnector, ISession, Request
from socksproxy.wire.constants import AddressType

__all__ = ["EndpointConnector"]


@implementer(IConnector)
class EndpointConnector:
    """
    Connects through the endpoint that a function chooses for each request.

    The policy's C{permitsAddress} is asked about a destination that is an IP
    address.  What the endpoint resolves by itself is not seen here.
    """

    def __init__(self, endpointFor: Callable[[Request], IStreamClientEndpoint]) -> None:
        """
        @param endpointFor: may raise a L{RequestFailed
            <socksproxy.errors.RequestFailed>} to refuse.
        """
        self._endpointFor = endpointFor

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        destination = request.destination
        if destination.type != AddressType.NAME and not session.policy.permitsAddress(
            destination, request, session
        ):
            return fail(NotAllowed("a rule refuses the address"))
        try:
            endpoint = self._endpointFor(request)
        except Exception:
            return fail()
        connected: Deferred[IProtocol] = endpoint.connect(protocolFactory)
        return connected
