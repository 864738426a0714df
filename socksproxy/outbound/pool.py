"""
Several ways to the target where one is enough: which is taken, and what happens when
it does not work.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from socksproxy.client.errors import ProxyFailed
from socksproxy.errors import (
    CommandNotSupported,
    GeneralFailure,
    NetworkUnreachable,
    replyCodeOf,
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

__all__ = ["BACK_OFF", "MAX_BACK_OFF", "Member", "PoolConnector", "Strategy"]

log = Logger()

BACK_OFF = 1.0
MAX_BACK_OFF = 60.0
"""
Seconds for which a way that did not work is the last to be tried: after the first
time, and after many.
"""

_T = TypeVar("_T")


class Strategy(Enum):
    """
    Which way is tried first; the others follow when it does not work.
    """

    FAILOVER = "failover"
    """
    The first that works, in the order in which they were given.
    """

    ROUND_ROBIN = "round-robin"
    """
    Each in turn.
    """

    RANDOM = "random"
    """
    Any.
    """

    LEAST_CONNECTIONS = "least-connections"
    """
    That with the fewest connections; of equals the first.
    """

    STICKY_CLIENT = "sticky-client"
    """
    The same for all requests of a client, by its IP address.
    """

    STICKY_USER = "sticky-user"
    """
    The same for all requests of a user; of a client where there is no login.
    """


class Member:
    """
    One way, and how it does.

    @ivar connections: how many there are, and attempts to make one.
    @ivar failures: how often it has not worked since it last did.
    @ivar isBrokenUntil: in seconds of the pool's clock.
    """

    def __init__(self, connector: IConnector, name: str) -> None:
        """
        @param name: for the log, and the same in every process.
        """
        self.connector = connector
        self.name = name
        self.connections = 0
        self.failures = 0
        self.isBrokenUntil = 0.0

    def weightFor(self, key: str) -> bytes:
        """
        Of all ways that with the greatest weight is C{key}'s own: when one comes
        or goes, only those keys move that have to.
        """
        return hashlib.blake2b(f"{key}\0{self.name}".encode(errors="replace")).digest()


@implementer(IConnector, IBinder, IAssociator)
class PoolConnector:
    """
    Tries one way after the other, until there is one that works or that says what
    is wrong with the target.  It is a matter of the attempt alone: once the client
    was answered there is no other.
    """

    def __init__(
        self,
        clock: IReactorTime,
        members: Sequence[Member],
        strategy: Strategy = Strategy.FAILOVER,
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._members = members
        self._strategy = strategy
        self._chance = random.Random() if chance is None else chance
        self._turn = 0
        self._probing: LoopingCall | None = None
        self._round: Deferred[Any] = succeed(None)

    def connect(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        def attempt(member: Member) -> Deferred[IProtocol]:
            connecting = member.connector.connect(request, session, protocolFactory)
            return connecting.addCallback(counted, member)

        def counted(protocol: Any, member: Member) -> IProtocol:
            whenClosed = getattr(protocol.transport, "whenClosed", None)
            if whenClosed is not None:
                member.connections += 1
                whenClosed(partial(_closed, member))
            connected: IProtocol = protocol
            return connected

        return self._try(attempt, self._inOrder(request, session))

    def bind(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        def attempt(member: Member) -> Deferred[IBinding]:
            if not IBinder.providedBy(member.connector):
                raise CommandNotSupported(f"there is no BIND by {member.name}")
            return member.connector.bind(request, session, protocolFactory)

        return self._try(attempt, self._inOrder(request, session))

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        def attempt(member: Member) -> Deferred[IAssociation]:
            if not IAssociator.providedBy(member.connector):
                raise CommandNotSupported(f"there are no datagrams by {member.name}")
            return member.connector.associate(request, session, receiver)

        return self._try(attempt, self._inOrder(request, session))

    def probe(self) -> Deferred[None]:
        """
        See whether one of the ways is there.

        @return: fails if there is none.
        """

        def attempt(member: Member) -> Deferred[None]:
            way: Any = member.connector
            probing: Deferred[None] = way.probe()
            return probing

        return self._try(attempt, list(self._members))

    def startProbing(
        self, seconds: float, probe: Callable[[Any], Deferred[Any]]
    ) -> None:
        """
        Find out about ways that do not work, and about those that do again,
        without waiting for a client to want one.

        @param seconds: how often; a round that takes longer is waited for.
        @param probe: tries one.
        """
        self._probing = LoopingCall(self._probeAll, probe)
        self._probing.clock = self._clock
        self._probing.start(seconds, now=False)

    def stopProbing(self) -> None:
        """
        No more of that; a probe that is under way says nothing any more.
        """
        assert self._probing is not None
        self._probing.stop()
        self._round.cancel()

    def _try(
        self, attempt: Callable[[Member], Deferred[_T]], members: list[Member]
    ) -> Deferred[_T]:
        def cancel(result: Deferred[_T]) -> None:
            # An attempt may fail then with what it knows; there is no other.
            members.clear()
            trying.cancel()

        trying = Deferred.fromCoroutine(self._tryEach(attempt, members))
        result: Deferred[_T] = Deferred(cancel)
        trying.chainDeferred(result)
        return result

    async def _tryEach(
        self, attempt: Callable[[Member], Deferred[_T]], members: list[Member]
    ) -> _T:
        """
        @param members: empty as soon as nobody wants it any more.
        """
        failure: Exception | None = None
        for member in members:
            member.connections += 1
            try:
                result = await attempt(member)
            except _MOVE_ON as wrong:
                failure = wrong
                if members and isinstance(wrong, ProxyFailed):
                    self._broke(member, wrong)
            else:
                self._worked(member)
                return result
            finally:
                member.connections -= 1
        raise failure or GeneralFailure("there is no way at all")

    # Which.

    def _inOrder(self, request: Request, session: ISession) -> list[Member]:
        """
        Those that work, as the strategy has it; then those that do not, the one
        first that is due first.
        """
        now = self._clock.seconds()
        ordered = self._byStrategy(request, session)
        working = [m for m in ordered if m.isBrokenUntil <= now]
        broken = [m for m in ordered if m.isBrokenUntil > now]
        return working + sorted(broken, key=lambda member: member.isBrokenUntil)

    def _byStrategy(self, request: Request, session: ISession) -> list[Member]:
        members, strategy = list(self._members), self._strategy
        if strategy is Strategy.ROUND_ROBIN:
            turn = self._turn % max(len(members), 1)
            self._turn = turn + 1
            return members[turn:] + members[:turn]
        if strategy is Strategy.RANDOM:
            self._chance.shuffle(members)
        elif strategy is Strategy.LEAST_CONNECTIONS:
            members.sort(key=lambda member: member.connections)
        elif strategy is not Strategy.FAILOVER:
            key = getattr(session.peer, "host", "")
            if strategy is Strategy.STICKY_USER:
                key = request.identity.name or key
            members.sort(key=lambda member: member.weightFor(key), reverse=True)
        return members

    # How they do.

    def _broke(self, member: Member, wrong: Exception) -> None:
        now = self._clock.seconds()
        if not member.failures:
            log.info("{member} does not work: {wrong}", member=member.name, wrong=wrong)
        if member.isBrokenUntil <= now:
            # Else somebody has found out already.
            member.failures += 1
        backOff = min(BACK_OFF * 2 ** min(member.failures - 1, 16), MAX_BACK_OFF)
        member.isBrokenUntil = now + backOff

    def _worked(self, member: Member) -> None:
        if member.failures:
            log.info("{member} works again.", member=member.name)
            member.failures = 0
            member.isBrokenUntil = 0.0

    def _probeAll(self, probe: Callable[[Any], Deferred[Any]]) -> Deferred[Any]:
        probes = []
        for member in self._members:
            probing = maybeDeferred(probe, member.connector)
            probing.addCallback(self._probeWorked, member)
            probes.append(probing.addErrback(self._probeFailed, member))
        self._round = gatherResults(probes)
        return self._round

    def _probeWorked(self, result: object, member: Member) -> None:
        self._worked(member)

    def _probeFailed(self, failure: Any, member: Member) -> None:
        if self._probing is None or not self._probing.running:
            return
        if replyCodeOf(failure.value) is None:
            log.failure("The probe of {member} failed.", failure, member=member.name)
        else:
            self._broke(member, failure.value)


_MOVE_ON = (ProxyFailed, GeneralFailure, NetworkUnreachable, CommandNotSupported)
"""
What another way may do better.  All else is about the target.
"""


def _closed(member: Member) -> None:
    member.connections -= 1
