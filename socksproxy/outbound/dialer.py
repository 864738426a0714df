"""
Addresses to one connected socket, by Happy Eyeballs (RFC 8305).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import TTLExpired, mostTelling
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["Attempt", "Dialer", "interleaved"]

_T = TypeVar("_T")

STAGGER = 0.25
"""
Seconds between two attempts (RFC 8305 section 5).
"""


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """
    C{addresses} with the families taking turns, that of the first one first
    (RFC 8305 section 4); within a family the order stays.
    """
    if len(addresses) < 3:
        return list(addresses)
    first = [a for a in addresses if a.type == addresses[0].type]
    others = [a for a in addresses if a.type != addresses[0].type]
    turns = zip_longest(first, others)
    return [address for turn in turns for address in turn if address is not None]


class Dialer:
    """
    Connects to the first of several addresses that answers.
    """

    def __init__(
        self,
        reactor: Any,
        stagger: float = STAGGER,
        attempt: Callable[..., Attempt] | None = None,
        hub: Any = None,
        localEnd: LocalEnd = ANY_LOCAL_END,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>} and L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>}.
        @param attempt: what is used instead of L{Attempt}.
        @param hub: watches the attempts at less cost than the reactor: a
            L{Hub <socksproxy.relay.hub.Hub>}.
        @param localEnd: that of what is dialled.
        """
        self._reactor = reactor
        self._stagger = stagger
        self._localEnd = localEnd
        self._watcher = reactor if hub is None else hub
        self._attempt: Callable[..., Attempt] = attempt or (
            Attempt if hub is None else HubAttempt
        )

    def dial(
        self, addresses: Sequence[Address], adopt: Callable[[Attempt], _T]
    ) -> Deferred[_T]:
        """
        Connect to one of C{addresses}, which are IPv4 and IPv6 addresses and
        at least one.

        @param adopt: is given the L{Attempt} that was first; its socket is
            C{adopt}'s from then on, also if it raises an exception.  A hub is to be
            told who watches it next (L{Hub.handOver
            <socksproxy.relay.hub.Hub.handOver>}), or to forget it.
        @return: fires with what C{adopt} makes of it; when all failed it fails
            with the most telling of their errors.
            Cancelling it closes what is open and fails with the most telling
            error so far, or L{CancelledError
            <twisted.internet.defer.CancelledError>} where there is none.
        """
        if len(addresses) > 1:
            return self._race(addresses).addCallback(adopt)
        # There is no race with one runner.

        def abandon(result: Deferred[_T]) -> None:
            attempt.abandon()

        def succeeded(attempt: Attempt) -> None:
            try:
                adopted = adopt(attempt)
            except Exception:
                result.errback(Failure())
            else:
                result.callback(adopted)

        def failed(attempt: Attempt, failure: Exception) -> None:
            result.errback(failure)

        result: Deferred[_T] = Deferred(abandon)
        attempt = self._attempt(
            self._watcher, addresses[0], succeeded, failed, self._localEnd
        )
        failure = attempt.start()
        if failure is not None:
            result.errback(failure)
        return result

    def _race(self, addresses: Sequence[Address]) -> Deferred[Attempt]:
        def make(*args: Any) -> Attempt:
            return self._attempt(self._watcher, *args, self._localEnd)

        race = _Race(self._reactor, self._stagger, make, interleaved(addresses))
        race.startNext()
        return race.result


class _Race:
    """
    The attempts to connect to one target.
    """

    def __init__(
        self,
        reactor: Any,
        stagger: float,
        attempt: Callable[..., Attempt],
        addresses: list[Address],
    ) -> None:
        self._reactor = reactor
        self._stagger = stagger
        self._attempt = attempt
        self._untried = addresses
        self._running: list[Attempt] = []
        self._failures: list[Exception] = []
        self._nextStart: IDelayedCall | None = None
        self.result: Deferred[Attempt] = Deferred(self._cancelled)

    def startNext(self) -> None:
        self._nextStart = None
        while self._untried:
            attempt = self._attempt(self._untried.pop(0), self._succeeded, self._failed)
            failure = attempt.start()
            if failure is None:
                self._running.append(attempt)
                if self._untried:
                    self._nextStart = self._reactor.callLater(
                        self._stagger, self.startNext
                    )
                return
            self._failures.append(failure)
        self._failWhenAllHave()

    def _succeeded(self, attempt: Attempt) -> None:
        self._running.remove(attempt)
        self._stop()
        self.result.callback(attempt)

    def _failed(self, attempt: Attempt, failure: Exception) -> None:
        self._running.remove(attempt)
        self._failures.append(failure)
        if self._nextStart is not None:
            # No sense in waiting for this one any longer.
            self._nextStart.cancel()
            self.startNext()
        else:
            self._failWhenAllHave()

    def _failWhenAllHave(self) -> None:
        if not self._running:
            self.result.errback(Failure(mostTelling(self._failures)))

    def _cancelled(self, result: Deferred[Attempt]) -> None:
        self._stop()
        if self._failures:
            result.errback(Failure(mostTelling(self._failures)))

    def _stop(self) -> None:
        if self._nextStart is not None:
            self._nextStart.cancel()
            self._nextStart = None
        for attempt in self._running:
            attempt.abandon()
        self._running.clear()


_KIND = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
"""
A stream socket, non-blocking from the start where the system can do that.
"""

# An enumeration's attributes are dear to look up.
_IPV6 = AddressType.IPV6

_STILL_UNDER_WAY = (errno.EALREADY, errno.EINPROGRESS, errno.EWOULDBLOCK)
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


@implementer(IWriteDescriptor)
class Attempt:
    """
    One non-blocking connect.

    @ivar address: where to.
    @ivar socket: non-blocking; there is one from L{start} on.
    @ivar told: what the hub, which goes on watching the socket for whoever is to
        have it, has told of it; L{None}: nothing yet, or there is no hub.
    """

    socket: socket.socket
    told: int | None = None

    def __init__(
        self,
        watcher: Any,
        address: Address,
        succeeded: Callable[[Attempt], object],
        failed: Callable[[Attempt, Exception], object],
        localEnd: LocalEnd = ANY_LOCAL_END,
    ) -> None:
        """
        @param watcher: tells when the socket is connected: a reactor.
        """
        self._watcher = watcher
        self._localEnd = localEnd
        self.address = address
        self._succeeded = succeeded
        self._failed = failed

    def start(self) -> Exception | None:
        """
        @return: why it failed at once; L{None}: it is under way, and one of
            the two callables will be called, unless it is abandoned.
        """
        address = self.address
        isIPv6 = address.type == _IPV6
        try:
            connecting = socket.socket(
                socket.AF_INET6 if isIPv6 else socket.AF_INET, _KIND
            )
        except OSError as failure:
            return failure
        self.socket = connecting
        try:
            if _KIND == socket.SOCK_STREAM:
                connecting.setblocking(False)
            if self._localEnd is not ANY_LOCAL_END:
                self._localEnd.bind(connecting)
            if isIPv6:
                _reportICMPv6(connecting, True)
            code = connecting.connect_ex((address.host, address.port))
        except OSError as failure:
            connecting.close()
            return failure
        if code not in _UNDER_WAY:
            connecting.close()
            return OSError(code, os.strerror(code))
        self._watch()
        return None

    def abandon(self) -> None:
        """
        Nobody waits for this one any more.
        """
        self._unwatch()
        self.socket.close()

    def _watch(self) -> None:
        self._watcher.addWriter(self)

    def _unwatch(self) -> None:
        self._watcher.removeWriter(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "socksproxy dialer"

    def doWrite(self) -> None:
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            # The event may have been meant for an earlier owner of the
            # descriptor's number: ask what holds.
            code = self.socket.connect_ex((self.address.host, self.address.port))
            if code in _STILL_UNDER_WAY:
                return
        self._decide(0 if code == errno.EISCONN else code)

    def _decide(self, code: int) -> None:
        """
        @param code: an errno; 0 for success.
        """
        if code or self.told is None:
            self._unwatch()
        if code:
            self._fail(code)
            return
        if self.address.type == _IPV6:
            _reportICMPv6(self.socket, False)
        succeeded = self._succeeded
        # Nothing is left that refers to itself: no work for the collector.
        del self._succeeded, self._failed
        succeeded(self)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw an error, or is stopping.
        """
        if self.socket.fileno() == -1:
            return  # It was abandoned while the reactor was stopping.
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._fail(code or errno.ECONNABORTED)

    def _fail(self, code: int) -> None:
        failure: Exception = OSError(code, os.strerror(code))
        if code == errno.EHOSTUNREACH and _timeExceeded(self.socket):
            failure = TTLExpired("a router reported that the time to live ran out")
        self.socket.close()
        self._failed(self, failure)


class HubAttempt(Attempt):
    """
    One whose watcher is a hub.
    """

    def _watch(self) -> None:
        self._watcher.watch(self.socket.fileno(), self)

    def _unwatch(self) -> None:
        self._watcher.forget(self.socket.fileno())

    def ready(self, events: int) -> None:
        # A hub's events are for nobody else.
        code = 0
        if events & select.EPOLLERR:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code and not events & select.EPOLLOUT:
                # An ICMP message that is not the end of it.
                return
        self.told = events & ~select.EPOLLERR
        self._decide(code)

    def hubLost(self) -> None:
        # Once it is connected the socket is somebody else's.
        if self.told is None:
            self._fail(errno.ECONNABORTED)


IPV6_RECVERR = 25  # linux/in6.h; the socket module does not have it


def _reportICMPv6(connecting: socket.socket, wanted: bool) -> None:
    """
    Have the kernel queue ICMPv6 errors, as it does by itself for IPv4 while a
    connection is being made.  It has to be off again for a connection that is
    established, which would end at the first such error otherwise.
    """
    if _HAS_ERROR_QUEUE:
        connecting.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, wanted)


_HAS_ERROR_QUEUE = hasattr(socket, "MSG_ERRQUEUE")

_SOCK_EXTENDED_ERR = struct.Struct("=IBBBBII")  # linux/errqueue.h

_TIME_EXCEEDED = ((2, 11), (3, 3))
"""
C{(ee_origin, ee_type)}: ICMP type 11 (RFC 792), ICMPv6 type 3 (RFC 4443).
"""


def _timeExceeded(failed: socket.socket) -> bool:
    """
    Whether an ICMP time exceeded ended this attempt to connect.
    """
    if not _HAS_ERROR_QUEUE:
        return False
    try:
        _, ancillary, _, _ = failed.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return False
    for _, _, data in ancillary:
        if len(data) >= _SOCK_EXTENDED_ERR.size:
            _, origin, kind, *_ = _SOCK_EXTENDED_ERR.unpack_from(data)
            if (origin, kind) in _TIME_EXCEEDED:
                return True
    return False
