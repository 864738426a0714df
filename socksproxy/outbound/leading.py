"""
What leads to a proxy: a connector, asked in a session's name but not under its rules.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from socksproxy.interfaces import IAccessPolicy, IConnector, ISession, Request
from socksproxy.wire.address import Address

__all__ = ["NOBODY", "Leading", "OnTheWay"]


@implementer(IAccessPolicy)
class _NoPolicy:
    """
    Whatever leads to a proxy of the operator's is permitted.
    """

    def permitsRequest(self, request: Request, session: ISession) -> bool:
        return True

    def permitsAddress(
        self, address: Address, request: Request, session: ISession
    ) -> bool:
        return True


@implementer(ISession)
class OnTheWay:
    """
    A session as those see it who lead to a proxy.
    """

    policy = _NoPolicy()

    def __init__(self, session: ISession) -> None:
        self._session = session

    @property
    def peer(self) -> IAddress:
        return self._session.peer

    @property
    def host(self) -> IAddress:
        return self._session.host

    @property
    def certificate(self) -> Any:
        return self._session.certificate


@implementer(ISession)
class _Nobody:
    """
    No client at all.
    """

    policy = _NoPolicy()
    peer = host = IPv4Address("TCP", "0.0.0.0", 0)
    certificate = None


NOBODY = _Nobody()
"""
For whom the proxies are probed.
"""


@implementer(IStreamClientEndpoint)
class Leading:
    """
    A connector, and what it is asked for, as an endpoint.
    """

    def __init__(
        self, connector: IConnector, request: Request, session: ISession
    ) -> None:
        self._connector = connector
        self._request = request
        self._session = session

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._connector.connect(self._request, self._session, protocolFactory)
