"""
Ending relays that have fallen silent.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import Attribute, Interface

__all__ = ["IWatched", "IdleWatch"]

LOOKS = 8
"""
How often a relay is looked at within the shorter of the timeouts.  What came
just after a look is noticed at the next one, so a relay is ended late by two of
these fractions at the most.
"""


class IWatched(Interface):
    """
    A relay, as the watch sees it.
    """

    bytesSent: int = Attribute("Bytes moved from the client to the target.")
    bytesReceived: int = Attribute("Bytes moved from the target to the client.")

    def abort(reason: str) -> None:
        """
        End it now.
        """


class IdleWatch:
    """
    Looks at the byte counts of relays from time to time, which costs a relay
    nothing per byte and next to nothing while it lives.
    """

    def __init__(
        self, clock: IReactorTime, idleTimeout: float, halfClosedTimeout: float
    ) -> None:
        """
        @param idleTimeout: seconds without a byte either way until a relay is
            ended; 0 is never.
        @param halfClosedTimeout: the same for a relay of which one side has
            ended already.
        """
        self._clock = clock
        self._idleTimeout = idleTimeout
        self._halfClosedTimeout = halfClosedTimeout
        self._interval = (
            min(filter(None, (idleTimeout, halfClosedTimeout)), default=0) / LOOKS
        )
        self._watched: dict[IWatched, _Watched] = {}
        self._call: IDelayedCall | None = None

    def started(self, relay: IWatched) -> None:
        if self._idleTimeout:
            self._watch(relay, self._idleTimeout, "idle for too long")

    def halfClosed(self, relay: IWatched) -> None:
        if self._halfClosedTimeout:
            self._watch(relay, self._halfClosedTimeout, "half-closed for too long")

    def finished(self, relay: IWatched) -> None:
        self._watched.pop(relay, None)

    def close(self) -> None:
        """
        Forget all of them.
        """
        self._watched.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _watch(self, relay: IWatched, timeout: float, reason: str) -> None:
        self._watched[relay] = _Watched(relay, timeout, reason, self._clock.seconds())
        if self._call is None:
            self._call = self._clock.callLater(self._interval, self._look)

    def _look(self) -> None:
        self._call = None
        now = self._clock.seconds()
        for watched in list(self._watched.values()):
            watched.look(now)
        if self._watched and self._call is None:
            self._call = self._clock.callLater(self._interval, self._look)


class _Watched:
    """
    What is remembered of one relay between two looks.
    """

    __slots__ = ("_moved", "_reason", "_relay", "_since", "_timeout")

    def __init__(
        self, relay: IWatched, timeout: float, reason: str, now: float
    ) -> None:
        self._relay = relay
        self._timeout = timeout
        self._reason = reason
        self._since = now
        self._moved = relay.bytesSent + relay.bytesReceived

    def look(self, now: float) -> None:
        moved = self._relay.bytesSent + self._relay.bytesReceived
        if moved != self._moved:
            self._moved = moved
            self._since = now
        elif now - self._since >= self._timeout:
            self._relay.abort(self._reason)
