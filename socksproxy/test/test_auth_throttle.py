"""
Tests for L{socksproxy.auth.throttle}.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from twisted.trial.unittest import SynchronousTestCase

from socksproxy.auth.errors import NotChecked
from socksproxy.auth.throttle import Attempt, GuessLimits, Throttle

LIMITS = GuessLimits(pauseAfter=3, pause=1, maxPause=5, banAfter=8, banTime=600)


def at(host: str) -> IAddress:
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, 40000)


HOME, AWAY, OTHER = at("192.0.2.1"), at("192.0.2.2"), at("192.0.2.3")


class Tests(SynchronousTestCase):
    """
    What all tests here share.
    """

    limits = LIMITS

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.throttle = Throttle(self.clock, self.limits, size=100, waiting=40)
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def assertGoesOn(self, attempt: Attempt) -> Attempt:
        if attempt.turn is not None:
            self.successResultOf(attempt.turn)
        return attempt

    def assertWaits(self, attempt: Attempt, seconds: float) -> Attempt:
        """
        It goes on after so many seconds, and not before.
        """
        assert attempt.turn is not None
        self.assertNoResult(attempt.turn)
        self.clock.advance(seconds - 0.125)
        self.assertNoResult(attempt.turn)
        self.clock.advance(0.125)
        return self.assertGoesOn(attempt)

    def fails(self, times: int, peer: IAddress = HOME, user: bytes = b"") -> None:
        """
        That many wrong logins, however long they take.
        """
        for _ in range(times):
            attempt = self.throttle.attempt(peer, user)
            if attempt.turn is not None:
                self.clock.advance(LIMITS.maxPause)
            self.assertGoesOn(attempt).wrong()

    def assertRefused(self, peer: IAddress = HOME) -> None:
        self.assertRaises(NotChecked, self.throttle.attempt, peer, b"ann")


class SourceTests(Tests):
    """
    By the address.
    """

    def test_free(self) -> None:
        """
        Where nothing has failed nobody waits.
        """
        for _ in range(100):
            attempt = self.throttle.attempt(HOME, b"ann")
            self.assertIsNone(attempt.turn)
            attempt.right()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pausesGrow(self) -> None:
        """
        The first failures cost nothing; then each next login has to wait, twice as
        long each time, up to a limit.
        """
        for _ in range(3):
            attempt = self.throttle.attempt(HOME)
            self.assertIsNone(attempt.turn)
            attempt.wrong()
        for seconds in (1, 2, 4, 5, 5):
            self.assertWaits(self.throttle.attempt(HOME), seconds).wrong()
        self.assertRefused()

    def test_pauseIsTheAddresss(self) -> None:
        """
        To leave and come back spares nothing, nor does it cost anything, as nobody
        has looked.
        """
        self.fails(4)
        self.clock.advance(0.5)
        for _ in range(100):
            left = self.throttle.attempt(HOME)
            assert left.turn is not None
            left.turn.cancel()
            self.failureResultOf(left.turn, CancelledError)
        self.assertWaits(self.throttle.attempt(HOME), 1.5).right()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_atOnce(self) -> None:
        """
        Those that are sent at once gain nothing: no more are looked at than there
        are failures left before pauses, and then one after the other.
        """
        attempts = [self.throttle.attempt(HOME) for _ in range(10)]
        self.assertEqual([a for a in attempts if a.turn is None], attempts[:3])
        for attempt in attempts[:3]:
            attempt.wrong()
        for number, seconds in enumerate((1, 2, 4, 5, 5), 3):
            self.assertWaits(attempts[number], seconds)
            for later in attempts[number + 1 :]:
                assert later.turn is not None
                self.assertNoResult(later.turn)
            attempts[number].wrong()
        for attempt in attempts[8:]:
            assert attempt.turn is not None
            self.failureResultOf(attempt.turn, NotChecked)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_othersAreFree(self) -> None:
        """
        What one address does is nothing to others.
        """
        self.fails(8)
        self.assertRefused()
        self.assertIsNone(self.throttle.attempt(AWAY, b"ann").turn)

    def test_ban(self) -> None:
        """
        A ban lasts for its time, whatever is tried meanwhile, and then is over.
        """
        self.fails(8)
        for _ in range(6):
            self.assertRefused()
            self.clock.advance(99)
        self.assertRefused()
        self.clock.advance(6)
        self.assertIsNone(self.throttle.attempt(HOME).turn)

    def test_success(self) -> None:
        """
        A right login clears the address's count, and lets in those who wait.
        """
        self.fails(5)
        attempt, second, third = (self.throttle.attempt(HOME) for _ in range(3))
        self.clock.advance(4)
        self.assertGoesOn(attempt).right()
        self.assertGoesOn(second).wrong()
        self.assertGoesOn(third).wrong()
        self.assertIsNone(self.throttle.attempt(HOME).turn)

    def test_undecided(self) -> None:
        """
        What could not be found out counts neither way.
        """
        self.fails(2)
        for _ in range(10):
            attempt = self.throttle.attempt(HOME)
            self.assertIsNone(attempt.turn)
            attempt.undecided()
        self.fails(1)
        self.assertWaits(self.throttle.attempt(HOME), 1)

    def test_forgotten(self) -> None:
        """
        Failures are forgotten some time after the last one.
        """
        self.fails(7)
        self.clock.advance(900)
        self.fails(2)
        self.assertIsNone(self.throttle.attempt(HOME).turn)

    def test_IPv6(self) -> None:
        """
        A /64 is one, and an IPv4 address is the same where it is mapped.
        """
        for number in range(8):
            self.fails(1, at(f"2001:db8::{number + 1:x}"))
        self.assertRefused(at("2001:db8::ffff"))
        self.assertIsNone(self.throttle.attempt(at("2001:db8:0:1::1")).turn)
        self.fails(8, at("::ffff:192.0.2.1"))
        self.assertRefused(HOME)

    def test_UNIX(self) -> None:
        """
        Clients of UNIX sockets have no address: they are never refused.
        """
        peer = UNIXAddress(b"/run/socks")
        for _ in range(20):
            attempt = self.throttle.attempt(peer)
            self.assertIsNone(attempt.turn)
            attempt.wrong()

    def test_bounds(self) -> None:
        """
        So many may wait, and a quarter of them from one address; others are
        refused, and it does not count.
        """
        self.fails(4)
        waiting = [self.throttle.attempt(HOME) for _ in range(10)]
        self.assertRaises(NotChecked, self.throttle.attempt, HOME)
        self.clock.advance(2)
        self.assertGoesOn(waiting[0])


class UserTests(Tests):
    """
    By the user.
    """

    def _attack(self, times: int) -> None:
        """
        Guesses at ann's password, each from an address of its own.
        """
        for number in range(times):
            attempt = self.throttle.attempt(at(f"198.51.100.{number}"), b"ann")
            if attempt.turn is not None:
                self.clock.advance(LIMITS.maxPause)
            self.assertGoesOn(attempt).wrong()

    def test_pauses(self) -> None:
        """
        A user that is guessed at from many addresses has pauses too, each login
        for itself.
        """
        self._attack(4)
        first, second = (self.throttle.attempt(peer, b"ann") for peer in (AWAY, OTHER))
        self.assertWaits(first, 2)
        self.assertGoesOn(second)
        self.assertIsNone(self.throttle.attempt(AWAY, b"bob").turn)

    def test_neverRefused(self) -> None:
        """
        However often that fails, the user can still log in, after a pause, and
        from then on without one.
        """
        self._attack(100)
        self.assertWaits(self.throttle.attempt(HOME, b"ann"), 5).right()
        for _ in range(20):
            attempt = self.throttle.attempt(HOME, b"ann")
            self.assertIsNone(attempt.turn)
            attempt.right()

    def test_familiar(self) -> None:
        """
        Where a user has logged in before, no attack from elsewhere makes it wait.
        """
        self.throttle.attempt(HOME, b"ann").right()
        self._attack(100)
        self.assertIsNone(self.throttle.attempt(HOME, b"ann").turn)
        self.assertWaits(self.throttle.attempt(AWAY, b"ann"), 5)

    def test_successDoesNotClear(self) -> None:
        """
        A user who logs in does not free the way for a guesser.
        """
        self._attack(10)
        self.assertWaits(self.throttle.attempt(HOME, b"ann"), 5).right()
        self.assertWaits(self.throttle.attempt(AWAY, b"ann"), 5)

    def test_notTwice(self) -> None:
        """
        Who has waited for its address has waited for the user too.
        """
        self.fails(4, HOME, b"ann")
        self.assertWaits(self.throttle.attempt(HOME, b"ann"), 2)

    def test_leaves(self) -> None:
        """
        Who leaves during a user's pause leaves nothing behind, and the next of
        its address can come.
        """
        self._attack(10)
        for _ in range(10):
            attempt = self.throttle.attempt(HOME, b"ann")
            assert attempt.turn is not None
            attempt.turn.cancel()
            self.failureResultOf(attempt.turn, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.throttle.attempt(HOME, b"bob").turn)

    def test_bounds(self) -> None:
        """
        So many may wait for a user; more are refused, and their addresses are as
        they were.
        """
        self._attack(10)
        for number in range(40):
            self.throttle.attempt(at(f"203.0.113.{number}"), b"ann")
        for _ in range(9):
            self.assertRaises(NotChecked, self.throttle.attempt, HOME, b"ann")
        self.assertIsNone(self.throttle.attempt(HOME, b"bob").turn)

    def test_familiarIsBounded(self) -> None:
        """
        Who logged in longest ago is forgotten first.
        """
        for number in range(101):
            self.throttle.attempt(HOME, b"user%d" % number).right()
        for number, isFamiliar in ((0, False), (1, True), (100, True)):
            for host in range(4):
                self.fails(1, at(f"198.51.{number}.{host}"), b"user%d" % number)
            attempt = self.throttle.attempt(HOME, b"user%d" % number)
            self.assertEqual(attempt.turn is None, isFamiliar)
            if isFamiliar:
                attempt.undecided()


class OffTests(Tests):
    """
    Without pauses and bans.
    """

    limits = GuessLimits(pauseAfter=0, banAfter=0)

    def test_off(self) -> None:
        """
        Failures are logged, and that is all.
        """
        attempts = [self.throttle.attempt(HOME, b"ann") for _ in range(50)]
        for attempt in attempts:
            self.assertIsNone(attempt.turn)
            attempt.wrong()
        self.assertIsNone(self.throttle.attempt(HOME, b"ann").turn)
        self.assertEqual(len(self.events), 50)

    def test_noPauses(self) -> None:
        """
        A ban without pauses is as exact.
        """
        self.throttle = Throttle(self.clock, GuessLimits(pauseAfter=0, banAfter=4))
        attempts = [self.throttle.attempt(HOME) for _ in range(9)]
        self.assertEqual([a for a in attempts if a.turn is None], attempts[:4])
        for attempt in attempts[:4]:
            attempt.wrong()
        for attempt in attempts[4:]:
            assert attempt.turn is not None
            self.failureResultOf(attempt.turn, NotChecked)
        self.assertRefused()

    def test_noBan(self) -> None:
        """
        Pauses without a ban go on, and do not grow without end.
        """
        self.throttle = Throttle(self.clock, GuessLimits(maxPause=5, banAfter=0))
        self.fails(3000)
        self.assertWaits(self.throttle.attempt(HOME), 5)

    def test_negative(self) -> None:
        """
        Nothing can be negative.
        """
        self.assertRaises(ValueError, GuessLimits, pause=-1)
        self.assertRaises(ValueError, GuessLimits, banTime=float("nan"))


class LogTests(Tests):
    """
    One line for each failure, and for each ban.
    """

    def test_lines(self) -> None:
        """
        They have what a person wants to know in stable keys.
        """
        self.fails(8, HOME, b"ann")
        self.assertRefused()
        lines = [formatEvent(event) for event in self.events]
        self.assertEqual(
            lines,
            ["192.0.2.1 failed to log in as ann"] * 8
            + ["192.0.2.1 is refused for 600 s: 8 logins failed"],
        )
        failure, ban = self.events[7:]
        self.assertEqual(
            [failure[key] for key in ("client", "user", "failures", "log_level")],
            ["192.0.2.1", "ann", 8, LogLevel.info],
        )
        self.assertEqual(
            [ban[key] for key in ("source", "seconds", "failures", "log_level")],
            ["192.0.2.1", 600, 8, LogLevel.warn],
        )

    def test_addresses(self) -> None:
        """
        A failure has the client's address, a ban what was banned.
        """
        self.fails(8, at("2001:db8::7"), b"")
        self.fails(1, at("::ffff:192.0.2.9"))
        self.fails(1, UNIXAddress(b"/run/socks"))
        lines = [formatEvent(event) for event in self.events]
        self.assertEqual(
            lines[7:],
            [
                "2001:db8::7 failed to log in as -",
                "2001:db8::/64 is refused for 600 s: 8 logins failed",
                "192.0.2.9 failed to log in as -",
                "unix failed to log in as -",
            ],
        )

    def test_escaped(self) -> None:
        """
        A name cannot forge a line, nor a part of one.
        """
        self.fails(1, HOME, b"x\n198.51.100.1 failed to log in as \x1b\xff\"'\\")
        [event] = self.events
        self.assertEqual(
            formatEvent(event),
            "192.0.2.1 failed to log in as x\\x0a198.51.100.1\\x20failed\\x20to\\x20log"
            "\\x20in\\x20as\\x20\\x1b\\udcff\\x22\\x27\\x5c",
        )

    def test_long(self) -> None:
        """
        A name is not longer in the log than SOCKS5 could say it.
        """
        self.fails(1, HOME, b"x" * 100_000)
        self.assertEqual(self.events[0]["user"], "x" * 255)
