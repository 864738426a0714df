"""
Many deadlines of one length for the price of one delayed call.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Deadlines"]

_T = TypeVar("_T", bound=Hashable)


class Deadlines(Generic[_T]):
    """
    Everything here is due C{seconds} after it was started, so what was started
    first is due first, and only that needs a delayed call.

    @ivar seconds: how long each has; 0 switches all of them off.
    """

    def __init__(
        self, clock: IReactorTime, seconds: float, expired: Callable[[_T], object]
    ) -> None:
        """
        @param expired: called with each thing that was not stopped in time.
        """
        self.seconds = seconds
        self._clock = clock
        self._expired = expired
        self._due: dict[_T, float] = {}
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def start(self, thing: _T) -> None:
        """
        Give C{thing} its time, from now on, also when it has been given some
        before.
        """
        if self.seconds:
            due = self._due
            if thing in due:
                del due[thing]
            due[thing] = self._clock.seconds() + self.seconds
            if self._call is None:
                self._call = self._clock.callLater(self.seconds, self._sweep)

    def stop(self, thing: _T) -> None:
        """
        C{thing} came in time.  The delayed call stays, most often for the
        next.
        """
        self._due.pop(thing, None)

    def close(self) -> None:
        """
        Forget all of it.
        """
        self._due.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self) -> None:
        self._call = None
        now = self._clock.seconds()
        late = []
        for thing, due in self._due.items():
            if due > now:
                self._call = self._clock.callLater(due - now, self._sweep)
                break
            late.append(thing)
        for thing in late:
            # An earlier one of the late may have stopped or restarted it.
            if self._due.get(thing, now + 1) <= now:
                del self._due[thing]
                self._expired(thing)
