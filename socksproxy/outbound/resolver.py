"""
Names to addresses: what all sources of them share.

A source finds out; L{Resolver} has it asked once for all who want to know at
the same time, and remembers what it said for a few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from socksproxy.errors import HostUnreachable, TimedOut
from socksproxy.wire.address import Address

__all__ = ["Answer", "IAddressSource", "IResolver", "Resolver"]

CACHE = 10.0
"""
Seconds for which addresses are remembered: long enough for the connections
that one page takes, short enough for nobody to notice a change late.
"""

NEGATIVE_CACHE = 2.0
"""
Seconds for which it is remembered that there are none.
"""

CACHED_NAMES = 4096

CACHED_ADDRESSES = 64
"""
An answer with more of them is not remembered: nobody shall fill the memory.
"""


class IResolver(Interface):
    """
    Finds the addresses of a name.
    """

    def resolve(name: Address) -> Deferred[list[Address]]:
        """
        The addresses of C{name.host}, the best one first, each with
        C{name.port}; never an empty list.

        Fails with L{HostUnreachable}: there are none, or nobody answered in
        time.  It can be cancelled.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a source knows of a name for certain, good or bad.

    @ivar addresses: the best one first, with port 0; none: the name has none.
    @ivar lifetime: for how many seconds that holds; L{None}: nobody has said.
    @ivar reason: why there are none.
    """

    addresses: tuple[Address, ...]
    lifetime: float | None = None
    reason: str = "the name has no address"


class IAddressSource(Interface):
    """
    Where addresses come from.
    """

    def lookUp(host: str) -> Deferred[Answer]:
        """
        Called for one host once at a time.  It has no deadline but is
        cancelled when nobody waits for it any longer.

        Fails with L{HostUnreachable} where there is no saying whether the name
        has addresses, which is not remembered.
        """


class _LookUp:
    """
    One that is under way.

    @ivar waiting: the ports of those who wait for it, in their order.
    @ivar asked: the source's answer, once it has been asked.
    """

    def __init__(self) -> None:
        self.waiting: dict[Deferred[list[Address]], int] = {}
        self.asked: Deferred[Any] | None = None


@implementer(IResolver)
class Resolver:
    """
    Asks a source, once for all who want to know the same at the same time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        source: IAddressSource,
        cache: float = CACHE,
        negativeCache: float = NEGATIVE_CACHE,
        timeout: float = 10.0,
    ) -> None:
        """
        @param cache: for how many seconds addresses are remembered, unless
            the source says that they hold for less; 0: not at all.
        @param negativeCache: the same for names that have none.
        @param timeout: seconds that each caller waits.
        """
        self._clock = clock
        self._source = source
        self._cache = cache
        self._negativeCache = negativeCache
        self._timeout = timeout
        self._remembered: dict[str, tuple[float, Answer]] = {}
        self._underWay: dict[str, _LookUp] = {}

    def resolve(self, name: Address) -> Deferred[list[Address]]:
        host = name.host.lower()
        answer = self._recall(host)
        if answer is not None:
            return _told(Deferred(), answer, name.port)
        result: Deferred[list[Address]] = Deferred(partial(self._leave, host))
        lookUp = self._underWay.get(host)
        if lookUp is None:
            lookUp = self._underWay[host] = _LookUp()
            lookUp.waiting[result] = name.port
            lookUp.asked = maybeDeferred(self._source.lookUp, host)
            lookUp.asked.addBoth(self._ended, host, lookUp)
        else:
            lookUp.waiting[result] = name.port
        return result.addTimeout(self._timeout, self._clock, _timedOut)

    def _recall(self, host: str) -> Answer | None:
        remembered = self._remembered.get(host)
        if remembered is None:
            return None
        until, answer = remembered
        if self._clock.seconds() < until:
            return answer
        del self._remembered[host]
        return None

    def _remember(self, host: str, answer: Answer) -> None:
        seconds = self._cache if answer.addresses else self._negativeCache
        if answer.lifetime is not None:
            seconds = min(seconds, answer.lifetime)
        if seconds <= 0 or len(answer.addresses) > CACHED_ADDRESSES:
            return
        if len(self._remembered) >= CACHED_NAMES:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[host] = (self._clock.seconds() + seconds, answer)

    def _leave(self, host: str, result: Deferred[list[Address]]) -> None:
        """
        One of those who wait does not any longer.
        """
        lookUp = self._underWay.get(host)
        if lookUp is None or lookUp.waiting.pop(result, None) is None:
            return  # Its look-up is over, and it is about to be told.
        if not lookUp.waiting:
            del self._underWay[host]
            if lookUp.asked is not None:
                lookUp.asked.cancel()

    def _ended(self, outcome: Answer | Failure, host: str, lookUp: _LookUp) -> None:
        if not lookUp.waiting:
            return  # Everybody has left.
        del self._underWay[host]
        if isinstance(outcome, Answer):
            self._remember(host, outcome)
        for result, port in lookUp.waiting.items():
            # What one of them does can cancel another.
            if not result.called:
                _told(result, outcome, port)


def _told(
    result: Deferred[list[Address]], outcome: Answer | Failure, port: int
) -> Deferred[list[Address]]:
    if isinstance(outcome, Failure):
        result.errback(outcome)
    elif outcome.addresses:
        result.callback([Address(a.type, a.host, port) for a in outcome.addresses])
    else:
        result.errback(HostUnreachable(outcome.reason))
    return result


def _timedOut(cancelled: object, timeout: float) -> Failure:
    return Failure(TimedOut(f"the name did not resolve within {timeout:g} s"))
