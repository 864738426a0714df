"""
The system's resolver, C{getaddrinfo}, on threads.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.daemonpool import startedPool
from socksproxy.errors import HostUnreachable, RemoteProtocolError
from socksproxy.outbound.resolver import Answer, IAddressSource
from socksproxy.wire.address import Address

__all__ = ["THREADS", "ReverseSystemSource", "SystemSource"]

THREADS = 64
"""
Look-ups at a time.  A thread is started when there is none to spare, and waits
nearly all of its time.
"""

_NO_ADDRESS = {
    getattr(socket, name)
    for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")
    if hasattr(socket, name)
}
"""
What the system says when it knows that there is none.
"""


@implementer(IAddressSource)
class SystemSource:
    """
    Asks C{getaddrinfo}, so all of hosts file, DNS and what else the system has.

    A thread cannot be cancelled.  A look-up that everybody has left goes on;
    whoever asks for the same name meanwhile gets what it finds.  One that has
    not begun yet is dropped.
    """

    def __init__(
        self,
        reactor: Any,
        threads: int = THREADS,
        getaddrinfo: Callable[..., list[Any]] = socket.getaddrinfo,
        pool: Any = None,
    ) -> None:
        """
        @param reactor: provides L{IReactorFromThreads
            <twisted.internet.interfaces.IReactorFromThreads>} and
            L{IReactorCore <twisted.internet.interfaces.IReactorCore>}.
        @param threads: how many look-ups there are at a time; more have to
            wait.
        @param pool: a L{ThreadPool} that runs; one of its own unless given,
            which is started when it is needed.
        """
        self._reactor = reactor
        self._threads = threads
        self._getaddrinfo = getaddrinfo
        self._pool = pool
        self._wanted: dict[str, Deferred[Answer]] = {}
        self._running: set[str] = set()
        # In the order in which they came; the values mean nothing.
        self._queue: dict[str, None] = {}

    def lookUp(self, host: str) -> Deferred[Answer]:
        def cancelled(wanted: Deferred[Answer]) -> None:
            del self._wanted[host]
            self._queue.pop(host, None)

        wanted = self._wanted[host] = Deferred(cancelled)
        if host not in self._running:
            self._queue[host] = None
            self._startNext()
        return wanted

    def _startNext(self) -> None:
        if not self._queue or len(self._running) >= self._threads:
            return
        if self._pool is None:
            self._pool = startedPool(self._reactor, self._threads, "resolver")
        host = next(iter(self._queue))
        del self._queue[host]
        self._running.add(host)
        asked = deferToThreadPool(self._reactor, self._pool, self._ask, host)
        asked.addBoth(self._asked, host)

    def _asked(self, answer: Answer | Failure, host: str) -> None:
        self._running.remove(host)
        self._startNext()
        wanted = self._wanted.pop(host, None)
        if wanted is not None:
            wanted.callback(answer)

    def _ask(self, host: str) -> Answer:
        """
        Called on a thread.
        """
        try:
            found = self._getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as wrong:
            reason = f"the name does not resolve: {wrong}"
            # ValueError: there is no way to say this name in DNS.
            if isinstance(wrong, ValueError) or wrong.errno in _NO_ADDRESS:
                return Answer((), reason=reason)
            raise HostUnreachable(reason) from None
        addresses = [
            Address.ip(sockaddr[0], 0)
            for family, _, _, _, sockaddr in found
            if family in (socket.AF_INET, socket.AF_INET6)
        ]
        return Answer(tuple(dict.fromkeys(addresses)))


class ReverseSystemSource(SystemSource):
    """
    Asks C{getnameinfo}: the other way round, hosts are the texts of IP addresses
    and what is found is a name.
    """

    def _ask(self, host: str) -> Answer:
        try:
            name, _ = socket.getnameinfo((host, 0), socket.NI_NAMEREQD)
            return Answer((Address.name(name, 0),))
        except RemoteProtocolError:
            return Answer((), reason="the address has a name that cannot be one")
        except OSError as wrong:
            reason = f"the address has no name: {wrong}"
            if wrong.errno in _NO_ADDRESS:
                return Answer((), reason=reason)
            raise HostUnreachable(reason) from None
