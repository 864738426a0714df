"""
Ways that differ by user: by other proxies, from another address, by another
interface, with another mark.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from socksproxy.errors import CommandNotSupported
from socksproxy.interfaces import (
    IAssociation,
    IAssociator,
    IBinder,
    IBinding,
    IConnector,
    IDatagramReceiver,
    ISession,
    Request,
)

__all__ = ["PerUserConnector"]


@implementer(IConnector, IBinder, IAssociator)
class PerUserConnector:
    """
    Each user's own connector, and one for everybody else.  What that is not made
    for is answered with 07.
    """

    def __init__(self, byUser: Mapping[str, IConnector], otherwise: IConnector) -> None:
        """
        @param byUser: by the name of the user's identity.  It may change at any
            time; what is connected stays.
        """
        self._byUser = byUser
        self._otherwise = otherwise

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        return self._of(request).connect(request, session, protocolFactory)

    def bind(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        binder = self._of(request)
        if not IBinder.providedBy(binder):
            return fail(CommandNotSupported("there is no BIND for this user"))
        return binder.bind(request, session, protocolFactory)

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        associator = self._of(request)
        if not IAssociator.providedBy(associator):
            return fail(CommandNotSupported("there are no datagrams for this user"))
        return associator.associate(request, session, receiver)

    def _of(self, request: Request) -> IConnector:
        return self._byUser.get(request.identity.name, self._otherwise)
