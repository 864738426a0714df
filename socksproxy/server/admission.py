"""
How many clients are let in, and what happens to the others: they wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

if TYPE_CHECKING:
    from socksproxy.server.session import Session

__all__ = ["Admission", "descriptorLimit", "openDescriptors"]

log = Logger()

RETRY = 1.0
"""
Seconds after which accepting is tried again when no session has ended.
"""

DESCRIPTORS = 2
"""
What a session needs.
"""

NARROW = 256
"""
With fewer descriptors left than these, ports accept fewer clients in a row.
"""

SILENCE = 60.0
"""
Seconds between two log lines that say the same.
"""


def descriptorLimit() -> int | None:
    """
    How many descriptors this process may have open; L{None}: there is no such
    limit, or no way to learn it.
    """
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
    except ImportError:  # pragma: no cover (there is one on Linux)
        return None
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return None if soft == RLIM_INFINITY else soft


def openDescriptors() -> int:
    """
    How many descriptors this process has open; 0 where there is no way to
    learn it.
    """
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


class Admission:
    """
    Counts sessions.  When there are as many as there may be, new ones wait
    for their turn, and listening ports stop to accept, so that most of them
    wait in the kernel, where they cost nothing.  When descriptors run short,
    accepting stops before they have run out.
    """

    def __init__(
        self,
        clock: IReactorTime,
        maxConnections: int,
        descriptors: int | None,
        countOpen: Callable[[], int] = openDescriptors,
    ) -> None:
        """
        @param maxConnections: 0 is no limit.
        @param descriptors: as from L{descriptorLimit}.
        """
        self._countOpen = countOpen
        # What is left by our own count, which is checked when it says nothing.
        self._left = 0
        # What was said to be taken, or to come, beyond what every session needs.
        self._extra = 0
        self._clock = clock
        self._maxConnections = maxConnections
        self._limit = descriptors
        self._descriptors = (
            None if descriptors is None else descriptors - min(64, descriptors // 8)
        )
        self._admitted: set[Session] = set()
        # In the order in which they came; the values mean nothing.
        self._waiting: dict[Session, None] = {}
        self._ports: list[Any] = []
        self._isPaused = False
        self._retry: IDelayedCall | None = None
        self._accepts = 1
        self._fewer: IDelayedCall | None = None
        self._silentUntil: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._admitted) + len(self._waiting)

    def __iter__(self) -> Iterator[Session]:
        yield from self._admitted
        yield from self._waiting

    def opened(self, session: Session) -> bool:
        """
        A client has connected.

        @return: whether it is its turn.  Otherwise its C{turnCame} is called
            when there is room.
        """
        if self._isFull():
            self._waiting[session] = None
            return False
        self._admit(session)
        if self._isFull():
            self._pause(
                "There are {limit} clients, as many as there may be: others wait.",
                self._maxConnections,
            )
        elif self._descriptors is not None:
            if self._left <= 0:
                self._measure()
            if self._left <= 0:
                self.descriptorsRanShort()
            elif self._left < NARROW:
                self._acceptFewer()
        return True

    def _admit(self, session: Session) -> None:
        self._admitted.add(session)
        self._left -= DESCRIPTORS

    def took(self, descriptors: int) -> None:
        """
        A session has, or may come to have, more of them than others, or, where the
        number is negative, has not any longer.
        """
        self._left -= descriptors
        self._extra += descriptors
        if descriptors > 0 and self._limit is not None:
            if self._left <= 0:
                self._measure()
            if self._left <= 0:
                self.descriptorsRanShort()

    def closed(self, session: Session) -> None:
        """
        A session is over.
        """
        if session in self._admitted:
            self._admitted.remove(session)
            self._left += DESCRIPTORS
        else:
            self._waiting.pop(session, None)
        while self._waiting and not self._isFull():
            nextOne = next(iter(self._waiting))
            del self._waiting[nextOne]
            self._admit(nextOne)
            nextOne.turnCame()
        if self._isPaused:
            self._resume()

    def descriptorsRanShort(self) -> None:
        """
        Let nobody in until there are some.
        """
        self._left = min(self._left, 0)
        self._pause(
            "Descriptors run short at a limit of {limit}: new clients wait. "
            "Raise the limit (ulimit -n).",
            self._limit,
        )
        self._trySoon()

    def listening(self, port: Any) -> None:
        """
        @param port: a listening port; it is paused and resumed where it has
            C{stopReading} and C{startReading}.
        """
        if hasattr(port, "stopReading"):
            self._ports.append(port)
            if self._descriptors is not None:
                port.numberAccepts = max(1, min(100, self._descriptors // 8))

    def notListening(self) -> None:
        """
        The listening ports are closed.
        """
        self._ports.clear()

    def close(self) -> None:
        """
        Leave nothing behind in the reactor.
        """
        for call in (self._retry, self._fewer):
            if call is not None:
                call.cancel()
        self._retry = self._fewer = None

    def _measure(self) -> None:
        """
        Count what is open, and what those will need who are about to connect.

        Of what is extra, nobody knows how much is open.  So all of it is yet to
        come: it will all be given back, and must not be more then than there is.
        """
        if self._descriptors is not None:
            coming = sum(not session.isConnected for session in self._admitted)
            self._left = self._descriptors - self._countOpen() - coming - self._extra

    def _acceptFewer(self) -> None:
        """
        A port accepts as many in a row as it did last time, before anybody can
        tell it to stop: let it be fewer than would be too many.
        """
        if self._fewer is None:
            self._fewer = self._clock.callLater(0, self._setAccepts)
        self._accepts = max(1, self._left // (2 * DESCRIPTORS))

    def _setAccepts(self) -> None:
        if self._fewer is not None and self._fewer.active():
            self._fewer.cancel()
        self._fewer = None
        for port in self._ports:
            port.numberAccepts = self._accepts

    def _isFull(self) -> bool:
        return 0 < self._maxConnections <= len(self._admitted)

    def _pause(self, why: str, limit: int | None) -> None:
        self._isPaused = True
        for port in self._ports:
            port.stopReading()
        now = self._clock.seconds()
        if now >= self._silentUntil.get(why, 0):
            self._silentUntil[why] = now + SILENCE
            log.warn(why, limit=limit)

    def _resume(self) -> None:
        if self._isFull():
            return
        if self._descriptors is not None:
            if self._left <= 0:
                self._trySoon()
                return
            self._accepts = 1
            self._setAccepts()
        self._isPaused = False
        for port in self._ports:
            port.startReading()

    def _trySoon(self) -> None:
        """
        Somebody else may free some as well.
        """
        if self._retry is None:
            self._retry = self._clock.callLater(RETRY, self._tryAgain)

    def _tryAgain(self) -> None:
        self._retry = None
        self._measure()
        if self._isPaused:
            self._resume()
