"""
Waiting for the target: the default L{IBinder <socksproxy.interfaces.IBinder>}.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import TimedOut, mostTelling
from socksproxy.interfaces import IBinder, IBinding, ISession, Request
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.outgoing import adopt
from socksproxy.outbound.reachable import (
    ANY_PORT,
    NOWHERE_ELSE,
    Advertised,
    PortRange,
)
from socksproxy.outbound.resolver import IResolver
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["Binder"]

BACKLOG = 4
"""
Connections that may wait for us to look at them: one is wanted.
"""

TRIES = 8
"""
Until a socket listens, another process can bind one to the same port; whoever
listens first has it, and the other one looks for another.
"""

_ANYBODY = ("0.0.0.0", "::", "0")
"""
What clients name when they do not know whom.  A name that only resolves to one of
them is nobody's: who answers for names shall not let anybody in.
"""

_ANYWHERE = tuple(
    Address.ip(host, 9) for host in ("192.0.2.1", "2001:db8::1", "127.0.0.1", "::1")
)
"""
Where those may be of whom nothing is known: where everything goes that has no
route of its own, as nobody has the first two (RFC 5737, RFC 3849), or here.
"""

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""
We cannot take a connection, and could not take the next one.  What else
C{accept} says is about one that is gone already.
"""

_RESET = struct.pack("ii", 1, 0)


@implementer(IBinder)
class Binder:
    """
    Listens, for each request on a port of its own, until whom C{DST.ADDR} names
    has connected: anybody where it is C{0.0.0.0} or C{::}.  A name stands for all
    its addresses.  Others are turned away, and so is whom the policy refuses.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: IResolver,
        localEnd: LocalEnd = ANY_LOCAL_END,
        ports: PortRange = ANY_PORT,
        advertised: Advertised = NOWHERE_ELSE,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}.
        @param localEnd: where it listens.
        @param advertised: where others reach that.
        """
        self._reactor = reactor
        self._resolver = resolver
        self._localEnd = localEnd
        self._ports = ports
        self._advertised = advertised

    def bind(
        self, request: Request, session: ISession, protocolFactory: IProtocolFactory
    ) -> Deferred[IBinding]:
        destination = request.destination
        if destination.host in _ANYBODY:
            resolved: Deferred[list[Address]] = succeed([])
        elif destination.type == AddressType.NAME:
            resolved = self._resolver.resolve(destination)
        else:
            resolved = succeed([destination])
        return resolved.addCallback(self._bind, request, session, protocolFactory)

    def _bind(
        self,
        targets: list[Address],
        request: Request,
        session: ISession,
        protocolFactory: IProtocolFactory,
    ) -> IBinding:
        """
        @param targets: none: anybody.
        """
        hosts = frozenset(target.host for target in targets)
        permits = session.policy.permitsAddress

        def isWanted(peer: Address) -> bool:
            return (not hosts or peer.host in hosts) and permits(peer, request, session)

        own = self._onTheWayTo(targets) if targets else self._facing(session)
        listening = self._listen(own.type)
        port = listening.getsockname()[1]
        return _Binding(
            self._reactor,
            listening,
            self._advertised.insteadOf(Address.ip(own.host, port)),
            isWanted,
            protocolFactory,
        )

    def _facing(self, session: ISession) -> Address:
        """
        Our address for targets of which nothing is known: where the client came
        in, unless the operator wants another, or it came through no network.
        """
        own, client = (
            getattr(address, "host", None) for address in (session.host, session.peer)
        )
        if own is None or client is None:
            return self._onTheWayTo(_ANYWHERE)
        if self._localEnd is ANY_LOCAL_END:
            return Address.ip(own, 0)
        return self._onTheWayTo((Address.ip(client, 9), *_ANYWHERE))

    def _onTheWayTo(self, targets: Sequence[Address]) -> Address:
        """
        Our address as the first of C{targets} sees it that can be reached.

        @raise OSError: none can be.
        """
        failures = []
        for target in targets:
            try:
                with socket.socket(_familyOf(target.type), socket.SOCK_DGRAM) as sock:
                    self._localEnd.bind(sock)
                    # Nothing is sent: this only looks at the routes.
                    sock.connect((target.host, target.port or 9))
                    return Address.ip(sock.getsockname()[0], 0)
            except OSError as failure:
                failures.append(failure)
        raise mostTelling(failures)

    def _listen(self, addressType: AddressType) -> socket.socket:
        """
        @raise GeneralFailure: there is no port for it.
        @raise OSError: we have run out of something.
        """
        for tries in reversed(range(TRIES)):
            listening = self._bound(addressType)
            try:
                listening.listen(BACKLOG)
                break
            except OSError as wrong:
                listening.close()
                if wrong.errno != errno.EADDRINUSE or not tries:
                    raise
        return listening

    def _bound(self, addressType: AddressType) -> socket.socket:
        made = socket.socket(_familyOf(addressType), socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            if os.name == "posix":
                # What was accepted holds no port, over or not.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if addressType == AddressType.IPV6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._ports.bind(made, self._localEnd.prepare(made) or "")
        except BaseException:
            made.close()
            raise
        return made


@implementer(IBinding, IReadDescriptor)
class _Binding:
    """
    A socket that listens for one connection.
    """

    def __init__(
        self,
        reactor: Any,
        listening: socket.socket,
        address: Address,
        isWanted: Callable[[Address], bool],
        protocolFactory: IProtocolFactory,
    ) -> None:
        """
        @param isWanted: asked about whoever connects.
        """
        self._reactor = reactor
        self._socket = listening
        self._isWanted = isWanted
        self._protocolFactory = protocolFactory
        self._turnedAway = 0
        self.address = address
        self.accepted: Deferred[IProtocol] = Deferred(self._cancelled)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "socksproxy binder"

    def doRead(self) -> None:
        try:
            connected, (host, port, *_) = self._socket.accept()
        except OSError as wrong:
            if wrong.errno in _SHORT:
                self._fail(Failure(wrong))
            return
        peer = Address.ip(host, port)
        try:
            if not self._isWanted(peer):
                self._turnedAway += 1
                # No port is held for one who was not wanted.
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connected.close()
                return
            self._close()
            connected.setblocking(False)
            protocol = adopt(connected, peer, self._protocolFactory, self._reactor)
        except Exception:
            connected.close()
            self._fail(Failure())
        else:
            self.accepted.callback(protocol)

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor is stopping.
        """
        if self._socket.fileno() != -1:
            self._fail(Failure(OSError(errno.ECONNABORTED, "the proxy stopped")))

    def _cancelled(self, accepted: Deferred[IProtocol]) -> None:
        others = self._turnedAway
        self._fail(
            Failure(
                TimedOut(
                    "nobody connected in time"
                    + (f", but for {others} turned away" if others else "")
                )
            )
        )

    def _fail(self, failure: Failure) -> None:
        self._close()
        self.accepted.errback(failure)

    def _close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()


def _familyOf(addressType: AddressType) -> socket.AddressFamily:
    return socket.AF_INET6 if addressType == AddressType.IPV6 else socket.AF_INET
