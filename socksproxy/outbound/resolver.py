"""
Names to addresses, off the reactor thread, with a deadline.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from socksproxy.errors import HostUnreachable, TimedOut
from socksproxy.wire.address import Address

__all__ = ["IResolver", "SystemResolver"]


class IResolver(Interface):
    """
    Finds the addresses of a name.
    """

    def resolve(name: Address) -> Deferred[list[Address]]:
        """
        The addresses of C{name.host}, the best one first, each with
        C{name.port}; never an empty list.

        Fails with L{HostUnreachable}: there are none, or nobody answered in
        time.  It can be cancelled.
        """


@implementer(IResolver)
class SystemResolver:
    """
    The system's resolver, C{getaddrinfo}, on the threads of the reactor.
    """

    def __init__(
        self,
        reactor: Any,
        timeout: float = 10.0,
        getaddrinfo: Callable[..., list[Any]] = socket.getaddrinfo,
    ) -> None:
        """
        @param reactor: provides L{IReactorThreads
            <twisted.internet.interfaces.IReactorThreads>} and L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>}.
        @param timeout: seconds until a look-up has failed.  Its thread ends
            when the system gives up, which can be later.
        """
        self._reactor = reactor
        self._timeout = timeout
        self._getaddrinfo = getaddrinfo

    def resolve(self, name: Address) -> Deferred[list[Address]]:
        lookup = deferToThreadPool(
            self._reactor,
            self._reactor.getThreadPool(),
            self._lookUp,
            name.host,
            name.port,
        )
        # A thread cannot be cancelled: what it brings too late is dropped, as a
        # Deferred does that was cancelled.
        result: Deferred[list[Address]] = Deferred()
        lookup.chainDeferred(result)
        return result.addTimeout(self._timeout, self._reactor, _timedOut)

    def _lookUp(self, host: str, port: int) -> list[Address]:
        try:
            found = self._getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as wrong:
            # ValueError: there is no way to say this name in DNS.
            raise HostUnreachable(f"the name does not resolve: {wrong}") from None
        addresses = [
            Address.ip(sockaddr[0], port)
            for family, _, _, _, sockaddr in found
            if family in (socket.AF_INET, socket.AF_INET6)
        ]
        if not addresses:
            raise HostUnreachable("the name has no address")
        return list(dict.fromkeys(addresses))


def _timedOut(cancelled: object, timeout: float) -> Failure:
    return Failure(TimedOut(f"the name did not resolve within {timeout:g} s"))
