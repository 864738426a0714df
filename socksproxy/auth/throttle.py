"""
Guessing passwords is slow, then impossible.

By the address a login comes from:

 - it may have as many logins under way as it has failures left until pauses start,
   so guesses that are sent all at once gain nothing; others wait for their turn;
 - after some failures each next one makes a pause, twice as long as the last one.
   It belongs to the address, not to the connection: to leave and come back saves
   nothing.  Whoever leaves while it waits was not looked at, and has learnt nothing;
 - after some more the address is refused at once, for a while.  One right login
   clears its count.

By user, as a guesser may have many addresses: after some failures a login of that
name waits.  It never is refused, it does not wait for others, and it does not wait at
all where it comes from an address from which that user has logged in before: nobody
can lock a user out.  A right login does not clear this count, or a user who is
there would keep the way free for the guesser; it is forgotten in time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.failures import SIZE, Failures
from socksproxy.auth.source import ipOf, sourceOf
from socksproxy.auth.turns import Turns
from socksproxy.wire.address import printable

__all__ = ["Attempt", "GuessLimits", "Throttle"]

log = Logger()

LASTING = 900.0
"""
Seconds after the last failure for which failures are remembered, at least.
"""

WAITING = 4096
"""
Logins that wait at a time; a quarter of them may be one address's.  What is beyond
is refused.
"""

_BANNED = "too many logins from its address have failed"

_NAME = 255
"""
Octets of a user's name that are looked at: all that SOCKS5 can say.
"""


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """
    How many, and how long, in seconds.

    @ivar pauseAfter: failures after which pauses start; 0: there are none.
    @ivar pause: the first one; each next one is twice as long.
    @ivar maxPause: but no longer than this.
    @ivar banAfter: failures after which an address is refused; 0: none is.
    @ivar banTime: for how long.
    """

    pauseAfter: int = 3
    pause: float = 1
    maxPause: float = 10
    banAfter: int = 20
    banTime: float = 600

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) >= 0:
                raise ValueError(f"{limit.name} cannot be negative")

    def pauseFor(self, failures: int) -> float:
        """
        How long the next login has to wait after so many.
        """
        if not self.pauseAfter or failures < self.pauseAfter:
            return 0
        doublings = min(failures - self.pauseAfter, 64)
        return min(self.pause * float(2**doublings), self.maxPause)

    def isBanned(self, failures: int) -> bool:
        """
        Whether so many are too many.
        """
        return 0 < self.banAfter <= failures

    def roomAfter(self, failures: int) -> int:
        """
        How many logins may be under way after so many failures, so that not one
        gets around what its turn will be.
        """
        if self.pauseAfter and failures >= self.pauseAfter:
            return 1
        after = [limit for limit in (self.pauseAfter, self.banAfter) if limit]
        return min(after) - failures if after else WAITING


class Throttle:
    """
    Counts the failures of one process, in whichever way they came about.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: GuessLimits | None = None,
        size: int = SIZE,
        waiting: int = WAITING,
    ) -> None:
        """
        @param size: addresses, users, and pairs of them, that are remembered.
        @param waiting: logins that may wait for an address's turn, and as many for
            a user's.
        """
        self.clock = clock
        self._limits = limits = GuessLimits() if limits is None else limits
        lasting = max(LASTING, limits.banTime, limits.maxPause)
        self._sources = Failures(clock, lasting, size)
        self._users = Failures(clock, lasting, size)
        self._turns = Turns(clock, self._roomFor, self._readyAt, waiting)
        self._size = size
        # Who has logged in from where, the latest last; the values mean nothing.
        self._familiar: dict[tuple[str | None, bytes], None] = {}
        self._maxPausing = waiting
        self._pausing = 0

    def attempt(self, peer: IAddress, user: bytes = b"") -> Attempt:
        """
        Somebody wants to log in.

        @param peer: where from.  Clients of UNIX sockets have no address, and are
            not counted by it.
        @param user: as whom; empty where that is not known beforehand.
        @raise NotChecked: it is refused.
        """
        attempt = Attempt(self, peer, user[:_NAME])
        source = attempt.source
        turn: Deferred[None] | None = None
        if source is not None:
            if source in self._sources and self._isBanned(source):
                raise NotChecked(_BANNED)
            turn = self._turns.take(source)
        if turn is None:
            if attempt.user in self._users:
                attempt.turn = self._pause(attempt, self._pauseFor(attempt))
        else:
            began = self.clock.seconds()
            attempt.turn = turn.addCallback(
                # It has waited for some of it already.
                lambda _: self._pause(
                    attempt, self._pauseFor(attempt) + began - self.clock.seconds()
                )
            )
        return attempt

    # By address.

    def _isBanned(self, source: str) -> bool:
        failures, last = self._sources.of(source)
        if not self._limits.isBanned(failures):
            return False
        if self.clock.seconds() < last + self._limits.banTime:
            return True
        self._sources.clear(source)
        return False

    def _roomFor(self, source: str) -> int:
        return self._limits.roomAfter(self._sources.of(source)[0])

    def _readyAt(self, source: str) -> float:
        """
        When the pause after its last failure is over; 0 where there is none.
        """
        if source not in self._sources:
            return 0
        failures, last = self._sources.of(source)
        return last + self._limits.pauseFor(failures)

    # By user.

    def _pauseFor(self, attempt: Attempt) -> float:
        user = attempt.user
        failures, _ = self._users.of(user)
        if not failures or (attempt.source, user) in self._familiar:
            return 0
        return self._limits.pauseFor(failures)

    def _pause(self, attempt: Attempt, seconds: float) -> Deferred[None] | None:
        if seconds <= 0:
            return None
        if self._pausing >= self._maxPausing:
            attempt.undecided()
            raise NotChecked("too many logins are made to wait")

        def left(paused: Deferred[None]) -> None:
            call.cancel()
            self._pausing -= 1
            attempt.undecided()

        def over() -> None:
            self._pausing -= 1
            paused.callback(None)

        self._pausing += 1
        paused: Deferred[None] = Deferred(left)
        call = self.clock.callLater(seconds, over)
        return paused

    # For attempts.

    def succeeded(self, attempt: Attempt) -> None:
        """
        Called by L{Attempt.right}.
        """
        source = attempt.source
        pair = (source, attempt.user)
        self._familiar.pop(pair, None)
        self._familiar[pair] = None
        if len(self._familiar) > self._size:
            del self._familiar[next(iter(self._familiar))]
        if source is not None:
            self._sources.clear(source)
        self.ended(attempt)

    def failed(self, attempt: Attempt) -> None:
        """
        Called by L{Attempt.wrong}.
        """
        source, user = attempt.source, attempt.user
        failures = 0 if source is None else self._sources.add(source)
        if user:
            self._users.add(user)
        log.info(
            "{client} failed to log in as {user}",
            client=str(ipOf(attempt.peer) or "unix"),
            user=printable(user.decode("utf-8", "surrogateescape")) or "-",
            failures=failures,
        )
        if source is not None and self._limits.isBanned(failures):
            log.warn(
                "{source} is refused for {seconds:g} s: {failures} logins failed",
                source=source,
                seconds=self._limits.banTime,
                failures=failures,
            )
            self._turns.refuse(source, NotChecked(_BANNED))
        self.ended(attempt)

    def ended(self, attempt: Attempt) -> None:
        """
        Called by L{Attempt.undecided}.
        """
        if attempt.source is not None:
            self._turns.over(attempt.source)


class Attempt:
    """
    One login, whatever method it is by.  As soon as it may go on, one of L{right},
    L{wrong} and L{undecided} has to be called in the end, once.  A check that has
    begun is not to be given up because the client leaves: it would not be counted.

    @ivar peer: where it comes from.
    @ivar source: what of that is counted, as from L{sourceOf}.
    @ivar user: as whom.
    @ivar turn: L{None}: it may go on.  Otherwise fires when it may, or fails with
        L{NotChecked}: it may not.  To be cancelled when the client leaves.
    """

    __slots__ = ("_throttle", "peer", "source", "turn", "user")

    def __init__(self, throttle: Throttle, peer: IAddress, user: bytes) -> None:
        self._throttle = throttle
        self.peer = peer
        self.source = sourceOf(peer)
        self.user = user
        self.turn: Deferred[None] | None = None

    def right(self) -> None:
        """
        The client is who it says.
        """
        self._throttle.succeeded(self)

    def wrong(self) -> None:
        """
        It is not.
        """
        self._throttle.failed(self)

    def undecided(self) -> None:
        """
        It could not be found out.
        """
        self._throttle.ended(self)
