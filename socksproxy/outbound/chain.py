"""
Through another proxy: a connector around the connector that leads to it, which can
lead through another one in turn.

The policy is about targets.  It is asked about a target that is an IP address, and
about what a name resolves to where that is done here; what the last proxy makes of a
name is its own policy's.  The proxies themselves are the operator's choice: nobody
is asked about them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.client.address import transportAddress
from socksproxy.client.errors import ProxyFailed, ProxyTimedOut
from socksproxy.client.handshake import Handshake
from socksproxy.client.interfaces import IConversation
from socksproxy.client.reach import connectTo, limited
from socksproxy.errors import (
    AddressTypeNotSupported,
    CommandNotSupported,
    NotAllowed,
)
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
from socksproxy.outbound.carried import CarriedAssociation, CarriedBinding, Carrying
from socksproxy.outbound.hop import Hop
from socksproxy.outbound.leading import NOBODY, Leading, OnTheWay
from socksproxy.outbound.outgoing import tellEnds
from socksproxy.outbound.resolver import IResolver
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType, Command

__all__ = ["HOP_TIMEOUT", "ChainConnector"]

HOP_TIMEOUT = 10.0
"""
Seconds that a proxy has to be connected to, and as many until it knows the
request; 0 is no limit.  How long it takes over the request is the session's to limit.
"""


@implementer(IConnector, IBinder, IAssociator)
class ChainConnector:
    """
    Through one proxy.  What it cannot be asked for is answered with 07.

    @ivar hop: which.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        hop: Hop,
        inner: IConnector,
        resolver: IResolver | None = None,
        timeout: float = HOP_TIMEOUT,
        isFirst: bool = True,
    ) -> None:
        """
        @param reactor: for a proxy that we log in to with a ticket it is as
            L{Hop.withTicket} takes it.
        @param inner: leads to the proxy.  For UDP ASSOCIATE it has to be an
            L{IAssociator}.
        @param resolver: for a proxy that does not resolve names.
        @param timeout: see L{HOP_TIMEOUT}.
        @param isFirst: whether C{inner} does without another proxy.
        """
        self.hop = hop.withTicket(reactor) if hop.wantsTicket else hop
        self._reactor = reactor
        self._inner = inner
        self._resolver = resolver
        self._timeout = timeout
        self._isFirst = isFirst

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        def granted(handshake: Handshake) -> IProtocol:
            tellEnds(handshake.transport, host=handshake.bound)
            address = transportAddress(request.destination)
            protocol: IProtocol = handshake.handOver(protocolFactory, address)
            # A relay takes what has come when it starts, and not later.
            handshake.deliver()
            return protocol

        return self._ask(request, session).addCallback(granted)

    def bind(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        def isWanted(peer: Address) -> bool:
            return session.policy.permitsAddress(peer, request, session)

        asked = self._ask(request, session)
        return asked.addCallback(CarriedBinding, protocolFactory, isWanted)

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        if not IAssociator.providedBy(self._inner) or not self.hop.relaysDatagrams:
            return fail(CommandNotSupported(f"{self.hop} cannot relay datagrams"))
        # Where datagrams come from is for the proxy to find out.
        asked = Request(request.command, Address.UNSPECIFIED, request.identity)
        carrying = Carrying(receiver)

        def led(association: IAssociation) -> Deferred[Handshake]:
            carrying.by(association)
            return self._converse(asked, session)

        def granted(handshake: Handshake) -> IAssociation:
            return CarriedAssociation(handshake, carrying, request, session)

        def failed(failure: Failure) -> Failure:
            carrying.close()
            return failure

        leading = self._inner.associate(asked, OnTheWay(session), carrying)
        associating: Deferred[Any] = leading.addCallback(led)
        return associating.addCallback(granted).addErrback(failed)

    def probe(self) -> Deferred[None]:
        """
        See whether there is a way to the proxy, TLS included, and say nothing there.

        @return: fails if there is none.
        """
        asked = Request(Command.CONNECT, self.hop.address)
        conversation = self.hop.conversation(Command.CONNECT, self.hop.address)
        leading = self._lead(asked, NOBODY, conversation)
        return leading.addCallback(self._connected, succeed).addCallback(
            Handshake.abort
        )

    # The proxy.

    def _ask(self, request: Request, session: ISession) -> Deferred[Handshake]:
        """
        Have the proxy asked for what is permitted of C{request}.
        """
        return self._resolved(request, session).addCallback(
            lambda destination: self._converse(
                Request(request.command, destination, request.identity), session
            )
        )

    def _resolved(self, request: Request, session: ISession) -> Deferred[Address]:
        """
        What the proxy is asked for.
        """
        destination = request.destination
        isName = destination.type == AddressType.NAME
        if isName and not self.hop.resolvesNames and self._resolver is not None:
            found = self._resolver.resolve(destination)
        elif isName or request.command != Command.CONNECT:
            # Who may connect for BIND is asked when somebody has.
            return succeed(destination)
        else:
            found = succeed([destination])
        return found.addCallback(self._permitted, request, session)

    def _permitted(
        self, addresses: list[Address], request: Request, session: ISession
    ) -> Address:
        usable = addresses
        if not self.hop.resolvesNames:
            usable = [a for a in addresses if a.type == AddressType.IPV4]
            if not usable:
                raise AddressTypeNotSupported("SOCKS4 has no IPv6 addresses")
        for address in usable:
            if session.policy.permitsAddress(address, request, session):
                return address
        raise NotAllowed("a rule refuses the address")

    def _converse(self, request: Request, session: ISession) -> Deferred[Handshake]:
        conversation = self.hop.conversation(
            Command(request.command), request.destination
        )
        leading = self._lead(request, session, conversation)
        return leading.addCallback(self._connected, Handshake.converse)

    def _lead(
        self, request: Request, session: ISession, conversation: IConversation
    ) -> Deferred[Handshake]:
        """
        Connect to the proxy.
        """
        hop = self.hop
        wanted = Request(Command.CONNECT, hop.address, request.identity)
        endpoint: IStreamClientEndpoint = Leading(
            self._inner, wanted, OnTheWay(session)
        )
        if hop.isTLS:
            # It is for those who want it.
            from twisted.internet.endpoints import wrapClientTLS

            endpoint = wrapClientTLS(hop.tlsOptions(), endpoint)
        leading = connectTo(endpoint, conversation, name=str(hop))
        # Another proxy has a deadline of its own.
        timeout = self._timeout if self._isFirst else 0
        return limited(leading, self._reactor, conversation, timeout, str(hop))

    def _connected(
        self,
        handshake: Handshake,
        proceed: Callable[[Handshake], Deferred[Handshake]],
    ) -> Deferred[Handshake]:
        """
        @param proceed: what to do with the proxy, once it is sure to be the one.
        """
        if not self._isFirst:
            # What the transport knows is where the first one is.
            handshake.proxy = self.hop.address
        secured = handshake.secure() if self.hop.isTLS else succeed(handshake)
        waiting = secured.addCallback(proceed)
        if self._timeout:
            self._limitRequesting(waiting, handshake.conversation)
        return waiting.addErrback(self._named)

    def _limitRequesting(
        self, waiting: Deferred[Handshake], conversation: IConversation
    ) -> None:
        """
        Give up when the proxy does not get as far as the request in time.
        """
        isLate = False

        def late() -> None:
            nonlocal isLate
            if not conversation.isRequested:
                isLate = True
                waiting.cancel()

        deadline = self._reactor.callLater(self._timeout, late)

        def settled(result: Any) -> Any:
            if deadline.active():
                deadline.cancel()
            if isLate and isinstance(result, Failure):
                return Failure(ProxyTimedOut("the proxy did not answer in time"))
            return result

        waiting.addBoth(settled)

    def _named(self, failure: Failure) -> Failure:
        """
        Say which proxy it is that has failed.
        """
        wrong = failure.value
        if isinstance(wrong, ProxyFailed):
            return Failure(type(wrong)(f"{self.hop}: {wrong}"))
        return failure
