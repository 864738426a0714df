"""
Straight to the target: the default L{IConnector
<socksproxy.interfaces.IConnector>}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import implementer

from socksproxy.errors import HostUnreachable, NotAllowed
from socksproxy.interfaces import (
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
from socksproxy.outbound.associator import Associator
from socksproxy.outbound.binder import Binder
from socksproxy.outbound.dialer import Attempt, Dialer
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.outgoing import adopt
from socksproxy.outbound.reachable import (
    ANY_PORT,
    NOWHERE_ELSE,
    Advertised,
    PortRange,
)
from socksproxy.outbound.resolver import IResolver, Resolver
from socksproxy.outbound.system import ReverseSystemSource, SystemSource
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["DirectConnector"]

# An enumeration's attributes are dear to look up.
_NAME = AddressType.NAME


@implementer(IConnector, IBinder, IAssociator, INameResolver)
class DirectConnector:
    """
    Resolves, asks the policy about each address, and dials.  For BIND it
    listens, see L{Binder}, and for UDP ASSOCIATE there is L{Associator}.  It tells
    what it resolves, too.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: IResolver | None = None,
        dialer: Dialer | None = None,
        hub: Any = None,
        localEnd: LocalEnd = ANY_LOCAL_END,
        bindPorts: PortRange = ANY_PORT,
        advertised: Advertised = NOWHERE_ELSE,
        associator: IAssociator | None = None,
        names: IResolver | None = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>} and, for the resolver,
            L{IReactorThreads <twisted.internet.interfaces.IReactorThreads>}.
        @param resolver: the system's unless given.
        @param bindPorts: those that BIND listens on.
        @param advertised: where targets reach us, for BIND.
        @param hub: for connections, the L{Dialer} and the L{Associator}; for the
            latter two is C{localEnd}.
        @param associator: an L{Associator} with all of these unless given.
        @param names: finds names, given addresses; the system's unless given.
        """
        self._reactor = reactor
        self._hub = hub
        if resolver is None:
            resolver = Resolver(reactor, SystemSource(reactor))
        self._resolver = resolver
        self._names = names or Resolver(reactor, ReverseSystemSource(reactor))
        self._dialer = dialer or Dialer(reactor, hub=hub, localEnd=localEnd)
        self._binder = Binder(reactor, resolver, localEnd, bindPorts, advertised)
        self._associator = associator or Associator(reactor, resolver, hub, localEnd)

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        destination = request.destination
        if destination.type == _NAME:
            resolved = self._resolver.resolve(destination)
            return resolved.addCallback(self._dial, request, session, protocolFactory)
        return self._dial([destination], request, session, protocolFactory)

    def bind(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        return self._binder.bind(request, session, protocolFactory)

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        return self._associator.associate(request, session, receiver)

    def addressOf(self, request: Request, session: ISession) -> Deferred[Address]:
        destination = request.destination
        if destination.type == _NAME:
            found = self._resolver.resolve(destination)
        else:
            found = succeed([destination])
        return found.addCallback(self._best, request, session)

    def nameOf(self, request: Request, session: ISession) -> Deferred[Address]:
        destination = request.destination
        if destination.type == _NAME:
            return fail(HostUnreachable("only an address has a name to be found"))
        if not session.policy.permitsAddress(destination, request, session):
            return fail(NotAllowed("a rule refuses the address"))
        return self._names.resolve(destination).addCallback(lambda found: found[0])

    def _best(
        self, addresses: list[Address], request: Request, session: ISession
    ) -> Address:
        """
        The one to tell, where only one can be told: an IPv4 address if there is
        one, which is all that many who ask can take.
        """
        permits = session.policy.permitsAddress
        permitted = [a for a in addresses if permits(a, request, session)]
        if not permitted:
            raise NotAllowed("a rule refuses the address")
        return min(permitted, key=lambda address: address.type != AddressType.IPV4)

    def _dial(
        self,
        addresses: list[Address],
        request: Request,
        session: ISession,
        protocolFactory: IProtocolFactory,
    ) -> Deferred[IProtocol]:
        permits = session.policy.permitsAddress
        permitted = [a for a in addresses if permits(a, request, session)]
        if not permitted:
            return fail(NotAllowed("a rule refuses the address"))

        def adopted(attempt: Attempt) -> IProtocol:
            return adopt(
                attempt.socket,
                attempt.address,
                protocolFactory,
                self._reactor,
                self._hub,
                attempt.told,
            )

        return self._dialer.dial(permitted, adopted)
