"""
How many clients are let in, and what happens to the others: they wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

if TYPE_CHECKING:
    from socksproxy.server.session import Session

__all__ = ["Admission", "descriptorLimit"]

log = Logger()

RETRY = 1.0
"""
Seconds after which accepting is tried again when no session has ended.
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


class Admission:
    """
    Counts sessions.  When there are as many as there may be, new ones wait
    for their turn, and listening ports stop to accept, so that most of them
    wait in the kernel, where they cost nothing.  When descriptors run short,
    accepting stops before they have run out.
    """

    def __init__(
        self, clock: IReactorTime, maxConnections: int, descriptors: int | None
    ) -> None:
        """
        @param maxConnections: 0 is no limit.
        @param descriptors: as from L{descriptorLimit}.
        """
        self._clock = clock
        self._maxConnections = maxConnections
        self._limit = descriptors
        self._descriptors = (
            None if descriptors is None else descriptors - min(64, descriptors // 8)
        )
        self._admitted: set[Session] = set()
        # Those that will want a second descriptor, for their target.
        self._withoutTarget: set[Session] = set()
        # In the order in which they came; the values mean nothing.
        self._waiting: dict[Session, None] = {}
        self._ports: list[Any] = []
        self._short = False
        self._retry: IDelayedCall | None = None
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
        self._admitted.add(session)
        self._withoutTarget.add(session)
        if self._isFull():
            self._pause(
                "There are {limit} clients, as many as there may be: others wait.",
                self._maxConnections,
            )
        elif self._descriptors is not None:
            fileno = getattr(session.transport, "fileno", None)
            # The lowest free number is taken, so as many are in use.
            if (
                fileno is not None
                and fileno() + len(self._withoutTarget) >= self._descriptors
            ):
                self.descriptorsRanShort()
        return True

    def connected(self, session: Session) -> None:
        """
        A session has its second descriptor.
        """
        self._withoutTarget.discard(session)

    def closed(self, session: Session) -> None:
        """
        A session is over.
        """
        self._waiting.pop(session, None)
        self._admitted.discard(session)
        self._withoutTarget.discard(session)
        while self._waiting and not self._isFull():
            nextOne = next(iter(self._waiting))
            del self._waiting[nextOne]
            self._admitted.add(nextOne)
            self._withoutTarget.add(nextOne)
            nextOne.turnCame()
        self._resume()

    def descriptorsRanShort(self) -> None:
        """
        Let nobody in until a session has ended, or for a while.
        """
        if not self._short:
            self._short = True
            self._retry = self._clock.callLater(RETRY, self._tryAgain)
            self._pause(
                "Descriptors run short at a limit of {limit}: new clients wait. "
                "Raise the limit (ulimit -n).",
                self._limit,
            )

    def listening(self, port: Any) -> None:
        """
        @param port: a listening port; it is paused and resumed where it has
            C{stopReading} and C{startReading}.
        """
        if hasattr(port, "stopReading"):
            self._ports.append(port)

    def notListening(self) -> None:
        """
        The listening ports are closed.
        """
        self._ports.clear()

    def close(self) -> None:
        """
        Leave nothing behind in the reactor.
        """
        self._short = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _isFull(self) -> bool:
        return 0 < self._maxConnections <= len(self._admitted)

    def _tryAgain(self) -> None:
        self._retry = None
        self._short = False
        self._resume()

    def _pause(self, why: str, limit: int | None) -> None:
        for port in self._ports:
            port.stopReading()
        now = self._clock.seconds()
        if now >= self._silentUntil.get(why, 0):
            self._silentUntil[why] = now + SILENCE
            log.warn(why, limit=limit)

    def _resume(self) -> None:
        if not self._isFull():
            self.close()
            for port in self._ports:
                port.startReading()
