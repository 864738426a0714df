"""
What all sessions of a server share.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IReactorTime,
)
from twisted.internet.protocol import Factory

from socksproxy.access import PermitAll
from socksproxy.auth.none import NoAuthentication
from socksproxy.deadlines import Deadlines
from socksproxy.errors import replyCodeOf
from socksproxy.hubconnection import acceptThrough
from socksproxy.interfaces import (
    IAccessPolicy,
    IAssociator,
    IAuthenticator,
    IBinder,
    IConnector,
    IDialect,
    IDialectFactory,
    INameResolver,
    ISession,
)
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.reachable import ANY_PORT, NOWHERE_ELSE, Advertised, PortRange
from socksproxy.relay.hub import Hub
from socksproxy.relay.idle import IdleWatch, IWatched
from socksproxy.relay.relay import RelayEnd
from socksproxy.server.accesslog import AccessLog
from socksproxy.server.admission import Admission, descriptorLimit
from socksproxy.server.association import Associations
from socksproxy.server.dialects import ALL_DIALECTS
from socksproxy.server.session import Session
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command, ReplyCode

__all__ = ["Limits", "SOCKS5Factory"]

KEEP_ALIVE_AFTER = 60.0
"""
Seconds after which a session's connections are kept alive; it may become twice as
many.  What is over before is spared two system calls and two timers of the kernel's.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How long, and how many.  Seconds; 0 is no limit.

    @ivar handshakeTimeout: from the connection of a client to its request; for
        HTTP also from one answer to the next request.
    @ivar connectTimeout: from there to the answer: policy, look-up and dialling
        together.
    @ivar bindTimeout: from the first answer to a BIND to the connection from the
        target.
    @ivar idleTimeout: without a byte either way.
    @ivar halfClosedTimeout: the same once one side has ended.
    @ivar closeTimeout: how long a client that was refused has to take its
        answer.
    @ivar maxConnections: clients at a time; more have to wait.
    @ivar udpTimeout: without a datagram either way until an association ends.
    @ivar udpPerClient: associations that one client, by its IP address, may have
        at a time.
    """

    handshakeTimeout: float = 30
    connectTimeout: float = 30
    bindTimeout: float = 120
    idleTimeout: float = 0
    halfClosedTimeout: float = 3600
    closeTimeout: float = 10
    maxConnections: int = 0
    udpTimeout: float = 3600
    udpPerClient: int = 0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) >= 0:
                raise ValueError(f"{limit.name} cannot be negative")


class SOCKS5Factory(Factory):
    """
    A proxy server, for any listening endpoint: SOCKS5, and what else it is told
    to speak.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        authenticators: Sequence[IAuthenticator] | None = None,
        connector: IConnector | None = None,
        policy: IAccessPolicy | None = None,
        limits: Limits | None = None,
        clock: IReactorTime | None = None,
        bind: bool = True,
        advertised: Advertised = NOWHERE_ELSE,
        udp: bool = True,
        udpPorts: PortRange = ANY_PORT,
        dialects: Sequence[IDialectFactory] | None = None,
        resolve: bool = True,
    ) -> None:
        """
        @param reactor: what the default connector needs; see
            L{DirectConnector}.
        @param authenticators: in the order of preference; anybody is let in
            unless given.
        @param connector: L{DirectConnector} unless given.
        @param policy: everything is permitted unless given.
        @param clock: the reactor unless given.
        @param bind: whether BIND is served, where C{connector} is an L{IBinder}.
        @param advertised: where others reach us; a C{connector} that is given
            has been told already.
        @param udp: whether UDP ASSOCIATE is served, where the connector provides
            L{IAssociator} too.
        @param udpPorts: those that clients send their datagrams to.
        @param dialects: the protocols to speak; L{ALL_DIALECTS} unless given.
        @param resolve: whether RESOLVE and RESOLVE_PTR are served, where the
            connector provides L{INameResolver} too.
        """
        self.authenticators = tuple(
            (NoAuthentication(),) if authenticators is None else authenticators
        )
        self._dialects: dict[int, IDialectFactory] = {}
        for dialect in ALL_DIALECTS if dialects is None else dialects:
            for octet in dialect.firstBytes:
                self._dialects.setdefault(octet, dialect)
        self.hub = Hub.of(reactor)
        if connector is None:
            connector = DirectConnector(reactor, hub=self.hub, advertised=advertised)
        self.connector = connector
        self.binder: IBinder | None = (
            connector if bind and IBinder.providedBy(connector) else None
        )
        self.names: INameResolver | None = (
            connector if resolve and INameResolver.providedBy(connector) else None
        )
        self.policy: IAccessPolicy = PermitAll() if policy is None else policy
        self.limits = limits = Limits() if limits is None else limits
        self.targetFactory = Factory.forProtocol(RelayEnd)
        self.targetFactory.noisy = False
        self.clock: IReactorTime = reactor if clock is None else clock
        self.handshakes: Deadlines[Session] = Deadlines(
            self.clock, limits.handshakeTimeout, Session.handshakeExpired
        )
        self.connects: Deadlines[Session] = Deadlines(
            self.clock, limits.connectTimeout, Session.connectExpired
        )
        self.binds: Deadlines[Session] = Deadlines(
            self.clock, limits.bindTimeout, Session.connectExpired
        )
        self.closings: Deadlines[Session] = Deadlines(
            self.clock, limits.closeTimeout, Session.closingExpired
        )
        self.idleWatch = IdleWatch(
            self.clock, limits.idleTimeout, limits.halfClosedTimeout
        )
        self.admission = Admission(self.clock, limits.maxConnections, descriptorLimit())
        self.udpWatch = IdleWatch(self.clock, limits.udpTimeout, 0)
        self.associations: Associations | None = None
        if udp and IAssociator.providedBy(self.connector):
            self.associations = Associations(
                self.clock,
                self.hub,
                self.connector,
                self.udpWatch,
                self.admission,
                udpPorts,
                advertised,
                limits.udpPerClient,
            )
        self._accessLog = AccessLog(self.clock)
        self._drained: list[Deferred[None]] = []
        self._look: IDelayedCall | None = None
        # Those that were connected before are kept alive.
        self._keptAlive = -1.0

    def buildProtocol(self, addr: IAddress | None) -> Session:
        return Session(self, addr)

    def stopFactory(self) -> None:
        self._closeWhenOver()

    def listening(self, port: IListeningPort) -> None:
        """
        Have the clients of C{port}, which listens for this factory, cost less, and
        stop it when there are too many.  Without this they are served as well.
        """
        acceptThrough(self.hub, port)
        self.admission.listening(port)

    def drain(self, grace: float) -> Deferred[None]:
        """
        Let the sessions end by themselves for C{grace} seconds, then end those
        that are left.

        @return: fires when there are none.
        """
        if not self.admission:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        ending = self.clock.callLater(grace, self._abortAll)
        for session in list(self.admission):
            session.drain()

        def over(result: None) -> None:
            if ending.active():
                ending.cancel()

        return drained.addCallback(over)

    # For the sessions.

    def serves(self, command: Command | int) -> bool:
        """
        Whether C{command}, which is not CONNECT, is known and switched on.
        """
        if command == Command.BIND:
            return self.binder is not None
        if command in (Command.RESOLVE, Command.RESOLVE_PTR):
            return self.names is not None
        return command == Command.UDP_ASSOCIATE and self.associations is not None

    def dialectFor(self, firstByte: int, session: ISession) -> IDialect | None:
        """
        The first byte of a connection picks its dialect.
        """
        dialect = self._dialects.get(firstByte)
        if dialect is None:
            return None
        return dialect.buildDialect(session, self.authenticators)

    def causeOf(self, exception: BaseException) -> tuple[ReplyCode, str]:
        """
        Why a request was not granted, for the client and in words for the log.
        What has no reply of its own is our own trouble, and no matter of the
        client's; nobody is let in for a while when it is a lack of descriptors.
        """
        if getattr(exception, "errno", None) in (errno.EMFILE, errno.ENFILE):
            self.admission.descriptorsRanShort()
        code = replyCodeOf(exception)
        if code is None:
            return ReplyCode.GENERAL_FAILURE, "internal error"
        return code, str(exception) or type(exception).__name__

    def sessionConnected(self, session: Session, address: IAddress) -> None:
        """
        The target is connected: the relay starts.
        """
        assert session.request is not None
        session.startedAt = self.clock.seconds()
        session.line = self._accessLog.connected(session.peer, session.request, address)
        if self._look is None:
            self._look = self.clock.callLater(KEEP_ALIVE_AFTER, self._keepAlive)

    def sessionFinished(self, session: Session, relay: IWatched, reason: str) -> None:
        """
        The relay is over.
        """
        seconds = self.clock.seconds() - session.startedAt
        self._accessLog.finished(session.line, relay, seconds, reason)

    def sessionAnswered(self, session: Session, answer: Address) -> None:
        """
        The client was told what it wanted to know.
        """
        assert session.request is not None
        self._accessLog.answered(session.peer, session.request, answer)

    def sessionRefused(
        self, session: Session, reason: str, reply: ReplyCode | None
    ) -> None:
        """
        There will be no relay.
        """
        self._accessLog.refused(session.peer, session.request, reason, reply)

    def sessionClosed(self, session: Session) -> None:
        """
        It has no connection any more.
        """
        self.admission.closed(session)
        if self._drained or not self.numPorts:
            self._closeWhenOver()

    def _keepAlive(self) -> None:
        """
        See to the sessions that last: a look at all of them now and then costs less
        than a deadline for each.
        """
        self._look = None
        since, until = self._keptAlive, self.clock.seconds() - KEEP_ALIVE_AFTER
        self._keptAlive = until
        for session in self.admission:
            if session.isConnected:
                if since < session.startedAt <= until:
                    session.lasted()
                if self._look is None:
                    self._look = self.clock.callLater(KEEP_ALIVE_AFTER, self._keepAlive)

    def _closeWhenOver(self) -> None:
        if self.admission:
            return
        if not self.numPorts:
            for timed in (
                self.handshakes,
                self.connects,
                self.binds,
                self.closings,
                self.idleWatch,
                self.udpWatch,
                self.admission,
                self._accessLog,
            ):
                timed.close()
            if self._look is not None:
                self._look.cancel()
                self._look = None
        drained, self._drained = self._drained, []
        for deferred in drained:
            deferred.callback(None)

    def _abortAll(self) -> None:
        for session in list(self.admission):
            session.abort("the proxy stopped")
