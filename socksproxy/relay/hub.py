"""
One nested epoll set for many sockets: to the reactor a single reader.

The rules of the hub:

 - a socket is registered once, edge-triggered, for everything, unless its watcher
   wants it otherwise; an event costs a look-up and a call;
 - an edge is told once: who is told must go on until the kernel has no more, or
   come back by itself (L{Hub.soon});
 - one watcher can take over from another at no cost: what the one has not acted on
   is told to the other (L{Hub.handOver});
 - a descriptor's number is used again as soon as it is closed, so events of a
   batch that were meant for its last owner never reach the next one.
"""

from __future__ import annotations

import os
import select
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

__all__ = ["Hub", "IWatcher"]

log = Logger()

BATCH = 512
"""
Events taken at a time; what is left makes the reactor call again.
"""

WATCHED = 0
if hasattr(select, "epoll"):
    WATCHED = (
        select.EPOLLET
        | select.EPOLLIN
        | select.EPOLLOUT
        | select.EPOLLRDHUP
        | select.EPOLLPRI
    )


class IWatcher(Interface):
    """
    Who is told of the events of one descriptor.
    """

    def ready(events: int) -> None:
        """
        @param events: a mask of C{EPOLLIN} and so on.
        """

    def hubLost() -> None:
        """
        There will be no events any more, although it still watches: the reactor
        has stopped, or this watcher raised an exception.
        """


class ILater(Interface):
    """
    Who wants another turn.
    """

    isOver: bool = Attribute("Whether it does not want it any more.")

    def hubLost() -> None:
        """
        As in L{IWatcher}.
        """

    def turnCame() -> None:
        """
        This is it.
        """


@implementer(IReadDescriptor)
class Hub:
    """
    The epoll set of a reactor.

    @ivar batch: the number of the batch of events that is being worked on.
    """

    _hubs: ClassVar[WeakKeyDictionary[Any, Hub]] = WeakKeyDictionary()

    @classmethod
    def of(cls, reactor: Any) -> Hub | None:
        """
        The hub of C{reactor}; L{None} where there cannot be one: it wants
        epoll and splice, which are Linux's, and a reactor that takes
        descriptors.
        """
        if (
            not hasattr(select, "epoll")
            or not hasattr(os, "splice")
            or not IReactorFDSet.providedBy(reactor)
        ):
            return None
        hub = cls._hubs.get(reactor)
        if hub is None:
            hub = cls._hubs[reactor] = cls(reactor)
        return hub

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: provides L{IReactorFDSet} and L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>}.
        """
        self.batch = 0
        self._reactor = reactor
        self._epoll = select.epoll()
        self._watchers: dict[int, Any] = {}
        # Those that came since the batch that is being worked on was taken.
        self._new: set[int] = set()
        # In the order in which they asked; the values mean nothing.
        self._later: dict[Any, None] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def watch(self, fileno: int, watcher: Any, events: int = WATCHED) -> None:
        """
        Tell C{watcher}, an L{IWatcher}, of the events of a descriptor that is new
        here, first of those that are there already.

        @param events: which, and how; all of them, edge-triggered, unless given.
        """
        self._epoll.register(fileno, events)
        self._new.add(fileno)
        if not self._watchers:
            self._reactor.addReader(self)
        self._watchers[fileno] = watcher

    def handOver(self, fileno: int, watcher: Any, untold: int = 0) -> None:
        """
        From now on C{watcher} is told what another one was told so far: all events.

        @param untold: those that the other one has not acted on, or was still to be
            told of.
        """
        self._watchers[fileno] = watcher
        if untold:
            self.soon(_Untold(self, fileno, watcher, untold))

    def forget(self, fileno: int) -> None:
        """
        Tell nobody any more: the descriptor is about to be closed.
        """
        if self._watchers.pop(fileno, None) is not None and not self._watchers:
            self._reactor.removeReader(self)

    def soon(self, later: Any) -> None:
        """
        Give C{later}, an L{ILater}, another turn when others had theirs.
        """
        if not self._later:
            self._reactor.callLater(0, self._takeTurns)
        self._later[later] = None

    def _takeTurns(self) -> None:
        turns, self._later = self._later, {}
        for later in turns:
            if not later.isOver:
                try:
                    later.turnCame()
                except BaseException:
                    log.failure("A fault in {later}.", later=later)
                    if not later.isOver:
                        later.hubLost()

    # The reactor's side.

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "socksproxy hub"

    def doRead(self) -> None:
        watchers = self._watchers
        new = self._new
        new.clear()
        self.batch += 1
        for fileno, events in self._epoll.poll(0, BATCH):
            watcher = watchers.get(fileno)
            if watcher is None:
                self._drop(fileno)
            elif fileno not in new:
                try:
                    watcher.ready(events)
                except BaseException:
                    log.failure("A fault in {watcher}.", watcher=watcher)
                    # It may have let go of the descriptor before, and somebody
                    # else may have it by now.
                    if fileno in watchers and watchers[fileno] is watcher:
                        self.forget(fileno)
                        watcher.hubLost()

    def _drop(self, fileno: int) -> None:
        """
        Nobody watches this one any more.
        """
        try:
            self._epoll.unregister(fileno)
        except OSError:
            pass  # It was closed in this batch.

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has stopped.
        """
        while self._watchers:
            # What ends one may well end others.
            _, watcher = self._watchers.popitem()
            watcher.hubLost()


@implementer(ILater)
class _Untold:
    """
    What a watcher is told of later, as it was there before it came.
    """

    __slots__ = ("_events", "_fileno", "_hub", "_watcher")

    def __init__(self, hub: Hub, fileno: int, watcher: Any, events: int) -> None:
        self._hub = hub
        self._fileno = fileno
        self._watcher = watcher
        self._events = events

    @property
    def isOver(self) -> bool:
        return self._hub._watchers.get(self._fileno) is not self._watcher

    def turnCame(self) -> None:
        self._watcher.ready(self._events)

    def hubLost(self) -> None:
        self._hub.forget(self._fileno)
        self._watcher.hubLost()
