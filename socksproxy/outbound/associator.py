"""
Datagrams straight to their targets: the default L{IAssociator
<socksproxy.interfaces.IAssociator>}.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from enum import Enum
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from socksproxy.errors import replyCodeOf
from socksproxy.interfaces import (
    IAssociation,
    IAssociator,
    IDatagramReceiver,
    ISession,
    Request,
)
from socksproxy.outbound.localend import ANY_LOCAL_END, LocalEnd
from socksproxy.outbound.resolver import IResolver
from socksproxy.udpsocket import SocketAddress, UDPSocket
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["Associator", "Filter"]

log = Logger()

QUEUED = 64
QUEUED_BYTES = 1 << 18
"""
Datagrams of one association, and their bytes, that wait for their names to
resolve.  When there are more the oldest are dropped: a name that nobody answers
for shall not be in the way of others.
"""

REMEMBERED = 256
"""
Sources, and names, of which an association remembers what they are.
"""

CONTACTED = 1024
"""
Targets that an association remembers to have sent to, where that matters.
"""

_IPV6 = AddressType.IPV6
_NAME = AddressType.NAME


class Filter(Enum):
    """
    Whose datagrams reach the client (RFC 4787 section 5).
    """

    NONE = "none"
    """
    Everybody's.
    """

    ADDRESS = "address"
    """
    Those of hosts that it has sent to.
    """

    PORT = "port"
    """
    Those of ports of hosts that it has sent to.
    """


@implementer(IAssociator)
class Associator:
    """
    Resolves, asks the policy about each datagram, and sends.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: IResolver,
        hub: Any = None,
        localEnd: LocalEnd = ANY_LOCAL_END,
        filter: Filter = Filter.NONE,
    ) -> None:
        """
        @param reactor: provides L{IReactorFDSet
            <twisted.internet.interfaces.IReactorFDSet>}, where there is no hub.
        @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}.
        """
        self.reactor = reactor
        self.resolver = resolver
        self.hub = hub
        self.localEnd = localEnd
        self.filter = filter

    def associate(
        self, request: Request, session: ISession, receiver: IDatagramReceiver
    ) -> Deferred[IAssociation]:
        association: IAssociation = Association(self, request, session, receiver)
        return succeed(association)


@implementer(IAssociation)
class Association:
    """
    One socket for each family, opened when it is needed, and the datagrams whose
    names are being looked up.
    """

    def __init__(
        self,
        associator: Associator,
        request: Request,
        session: ISession,
        receiver: IDatagramReceiver,
    ) -> None:
        self._associator = associator
        self._request = request
        self._session = session
        self._permits = session.policy.permitsAddress
        self._receiver = receiver
        self._ipv4: UDPSocket | None = None
        self._ipv6: UDPSocket | None = None
        self._sources: dict[SocketAddress, Address] = {}
        # The oldest first; the values mean nothing.
        self._contacted: dict[object, None] | None = (
            None if associator.filter is Filter.NONE else {}
        )
        # The name that has waited longest first.
        self._waiting: dict[Address, deque[bytes]] = {}
        self._queued = self._queuedBytes = 0
        self._lookUps: dict[Address, Deferred[Any]] = {}
        # Names whose addresses take turns shall not.
        self._chosen: dict[Address, Address] = {}
        self._isClosed = False

    def send(self, data: bytes, destination: Address) -> None:
        if destination.type == _NAME:
            self._sendToName(data, destination)
        elif not self._sendTo(data, destination):
            self._receiver.datagramDropped(data)

    def close(self) -> None:
        self._isClosed = True
        for opened in (self._ipv4, self._ipv6):
            if opened is not None:
                opened.close()
        self._ipv4 = self._ipv6 = None
        lookUps, self._lookUps = self._lookUps, {}
        for lookUp in lookUps.values():
            lookUp.cancel()

    def _sendTo(self, data: bytes, address: Address) -> bool:
        """
        @return: whether that was possible, and allowed.
        """
        try:
            if not self._permits(address, self._request, self._session):
                return False
            if address.type == _IPV6:
                opened = self._ipv6 or self._opened(socket.AF_INET6)
            else:
                opened = self._ipv4 or self._opened(socket.AF_INET)
            opened.socket.sendto(data, (address.host, address.port))
        except OSError:
            return False
        except Exception:
            log.failure("A datagram to {address} failed.", address=address)
            return False
        if self._contacted is not None:
            self._remember(self._contacted, self._known(address), None, CONTACTED)
        return True

    def _opened(self, family: int) -> UDPSocket:
        """
        @raise OSError: there cannot be such a socket.
        """
        if self._isClosed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        associator = self._associator
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            associator.localEnd.bind(made)
            if not made.getsockname()[1]:
                # The system would do it at the first datagram.  But then there
                # are systems that cannot receive before.
                made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        except OSError:
            made.close()
            raise
        opened = UDPSocket(associator.reactor, associator.hub, made, self._came)
        if family == socket.AF_INET6:
            self._ipv6 = opened
        else:
            self._ipv4 = opened
        opened.start()
        return opened

    # Names.

    def _sendToName(self, data: bytes, name: Address) -> None:
        self._queued += 1
        self._queuedBytes += len(data)
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = deque((data,))
            lookUp = self._lookUps[name] = maybeDeferred(
                self._associator.resolver.resolve, name
            )
            lookUp.addBoth(self._resolved, name)
        else:
            waiting.append(data)
        while self._queued > QUEUED or self._queuedBytes > QUEUED_BYTES:
            self._dropOldest()

    def _dropOldest(self) -> None:
        name, waiting = next(iter(self._waiting.items()))
        data = waiting.popleft()
        self._queued -= 1
        self._queuedBytes -= len(data)
        self._receiver.datagramDropped(data)
        if not waiting:
            self._lookUps[name].cancel()

    def _resolved(self, outcome: list[Address] | Failure, name: Address) -> None:
        self._lookUps.pop(name, None)
        waiting = self._waiting.pop(name)
        addresses: list[Address] = []
        if not isinstance(outcome, Failure):
            addresses = outcome
        elif replyCodeOf(cast(BaseException, outcome.value)) is None:
            log.failure("The look-up of {name} failed.", outcome, name=name)
        chosen = self._chosen.get(name)
        if chosen in addresses:
            addresses = [chosen, *addresses]
        for data in waiting:
            self._queued -= 1
            self._queuedBytes -= len(data)
            for address in addresses:
                if self._sendTo(data, address):
                    self._remember(self._chosen, name, address)
                    break
            else:
                self._receiver.datagramDropped(data)

    # What comes back.

    def _came(self, data: bytes, source: SocketAddress) -> None:
        address = self._sources.get(source)
        if address is None:
            address = Address.ip(source[0], source[1])
            self._remember(self._sources, source, address)
        if self._contacted is None or self._known(address) in self._contacted:
            self._receiver.datagramReceived(data, address)
        else:
            self._receiver.datagramRejected(data)

    def _known(self, address: Address) -> object:
        """
        What a filter looks at.
        """
        byHost = self._associator.filter is Filter.ADDRESS
        return address.host if byHost else address

    def _remember(
        self, known: dict[Any, Any], key: object, value: object, limit: int = REMEMBERED
    ) -> None:
        """
        As the last one; the one that was remembered first makes room for it.
        """
        known.pop(key, None)
        if len(known) >= limit:
            del known[next(iter(known))]
        known[key] = value
