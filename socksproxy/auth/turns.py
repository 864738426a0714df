"""
Who waits for whom: so many at a time, and none before its time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from socksproxy.auth.errors import NotChecked

__all__ = ["Turns"]


class Turns:
    """
    Logins by where they come from.  Each source has a queue of its own, from which
    its logins are let in one after the other.
    """

    def __init__(
        self,
        clock: IReactorTime,
        roomFor: Callable[[str], int],
        readyAt: Callable[[str], float],
        limit: int,
    ) -> None:
        """
        @param roomFor: how many of a source may be under way at a time, now; one
            may always be.
        @param readyAt: when the next one may be; 0 is at any time.
        @param limit: how many may wait; a quarter of them may be one source's.
        """
        self._clock = clock
        self._roomFor = roomFor
        self._readyAt = readyAt
        self._limit = limit
        self._waiting = 0
        # Those with somebody under way or waiting.
        self._queues: dict[str, _Queue] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def take(self, source: str) -> Deferred[None] | None:
        """
        Somebody comes.

        @return: L{None}: it may go on.  Otherwise fires when it may, or fails as
            below; one that has left cancels it.  Whoever goes on has to tell
            L{over}, once.
        @raise NotChecked: too many wait.
        """
        queue = self._queues.get(source)
        if queue is None:
            queue = self._queues[source] = _Queue()
        if not queue.waiting and self._isOpen(source, queue):
            queue.underWay += 1
            return None
        if self._waiting >= self._limit or len(queue.waiting) >= self._limit // 4:
            self._settle(source, queue)
            raise NotChecked("too many logins wait for their turn")

        def left(turn: Deferred[None]) -> None:
            if turn in queue.waiting:
                del queue.waiting[turn]
                self._waiting -= 1
                self._settle(source, queue)

        turn: Deferred[None] = Deferred(left)
        queue.waiting[turn] = None
        self._waiting += 1
        self._settle(source, queue)
        return turn

    def over(self, source: str) -> None:
        """
        One that went on has come to its end.
        """
        queue = self._queues[source]
        queue.underWay -= 1
        if queue.waiting or queue.wake is not None:
            self._move(source, queue)
        elif not queue.underWay and not queue.isMoving:
            del self._queues[source]

    def refuse(self, source: str, why: NotChecked) -> None:
        """
        All of its logins that wait have waited in vain.
        """
        queue = self._queues[source]
        while queue.waiting:
            self._first(queue).errback(why)

    def _isOpen(self, source: str, queue: _Queue) -> bool:
        if not self._hasRoom(source, queue):
            return False
        ready = self._readyAt(source)
        return not ready or ready <= self._clock.seconds()

    def _hasRoom(self, source: str, queue: _Queue) -> bool:
        return not queue.underWay or queue.underWay < self._roomFor(source)

    def _first(self, queue: _Queue) -> Deferred[None]:
        """
        Take the one that has waited longest.
        """
        turn = next(iter(queue.waiting))
        del queue.waiting[turn]
        self._waiting -= 1
        return turn

    def _move(self, source: str, queue: _Queue) -> None:
        """
        Let in those whose turn it is.  Some are over before this is.
        """
        if queue.isMoving:
            return
        queue.isMoving = True
        while queue.waiting and self._isOpen(source, queue):
            queue.underWay += 1
            self._first(queue).callback(None)
        queue.isMoving = False
        self._settle(source, queue)

    def _settle(self, source: str, queue: _Queue) -> None:
        """
        See to it that those who wait are thought of, and others are not.
        """
        if queue.isMoving:
            return
        if not queue.waiting:
            if queue.wake is not None:
                queue.wake.cancel()
                queue.wake = None
            if not queue.underWay:
                self._queues.pop(source, None)
        elif queue.wake is None and self._hasRoom(source, queue):
            pause = max(0, self._readyAt(source) - self._clock.seconds())
            queue.wake = self._clock.callLater(pause, self._woken, source, queue)

    def _woken(self, source: str, queue: _Queue) -> None:
        queue.wake = None
        self._move(source, queue)


class _Queue:
    """
    One source's logins.

    @ivar underWay: how many were let in.
    @ivar waiting: the others, in the order in which they came; the values mean
        nothing.
    @ivar wake: when the first of them may be let in, where that is known.
    @ivar isMoving: whether they are being let in right now.
    """

    __slots__ = ("isMoving", "underWay", "waiting", "wake")

    def __init__(self) -> None:
        self.underWay = 0
        self.waiting: dict[Deferred[None], None] = {}
        self.wake: IDelayedCall | None = None
        self.isMoving = False
