"""
UDP ASSOCIATE, from a request that is permitted to a relay.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from socksproxy.errors import CommandNotSupported, NotAllowed
from socksproxy.interfaces import IAssociation, IAssociator, ISession, Request
from socksproxy.outbound.reachable import Advertised, PortRange
from socksproxy.relay.datagrams import DatagramRelay
from socksproxy.relay.idle import IdleWatch
from socksproxy.server.admission import Admission
from socksproxy.wire.address import Address

__all__ = ["Associations"]

DESCRIPTORS = 2
"""
What an association may need beyond what every session has: it has one socket for
its client, and one for the targets of each family.
"""


class Associations:
    """
    The associations of a server: makes them, and counts them.
    """

    def __init__(
        self,
        clock: IReactorTime,
        hub: Any,
        associator: IAssociator,
        watch: IdleWatch,
        admission: Admission,
        ports: PortRange,
        advertised: Advertised,
        perClient: int,
    ) -> None:
        """
        @param clock: a reactor, where there is no hub.
        @param hub: a L{Hub <socksproxy.relay.hub.Hub>}, or L{None}.
        @param ports: those that clients send their datagrams to.
        @param perClient: how many one client, by its IP address, may have at a
            time; 0 is no limit.
        """
        self._clock = clock
        self._hub = hub
        self._associator = associator
        self._watch = watch
        self._admission = admission
        self._ports = ports
        self._advertised = advertised
        self._perClient = perClient
        self._counts: dict[str, int] = {}

    def associate(self, request: Request, session: ISession) -> Deferred[DatagramRelay]:
        """
        What the request names is a hint at most, and makes no difference: many
        clients do not know their address, or know one that nobody else does.

        @return: fires with a relay that has not started; is cancelled, and fails,
            as in L{IAssociator.associate}.
        @raise RequestFailed: the client cannot have one.
        """
        host, client = session.host, session.peer
        if not isinstance(host, _IP) or not isinstance(client, _IP):
            # Anybody on this machine could be the first to send a datagram.
            raise CommandNotSupported("a client without an IP address wants datagrams")
        clientHost = Address.ip(client.host, 0).host
        count = self._counts.get(clientHost, 0)
        if 0 < self._perClient <= count:
            raise NotAllowed("the client has as many associations as it may have")
        sock = self._bound(host)
        relay = DatagramRelay(
            self._clock,
            self._hub,
            sock,
            self._advertised.insteadOf(_addressOf(sock)),
            clientHost,
            self._watch,
            partial(self._closed, clientHost),
        )
        self._counts[clientHost] = count + 1
        self._admission.took(DESCRIPTORS)

        def failed(failure: Failure) -> Failure:
            relay.close()
            return failure

        def associated(association: IAssociation) -> DatagramRelay:
            relay.join(association)
            return relay

        associating = maybeDeferred(self._associator.associate, request, session, relay)
        return associating.addCallbacks(associated, failed)

    def _bound(self, host: IPv4Address | IPv6Address) -> socket.socket:
        """
        A socket for a client that has reached us at C{host}.
        """
        address = Address.ip(host.host, 0)
        isIPv6 = ":" in address.host
        sock = socket.socket(
            socket.AF_INET6 if isIPv6 else socket.AF_INET, socket.SOCK_DGRAM
        )
        try:
            self._ports.bind(sock, address.host, getattr(host, "scopeID", 0))
        except BaseException:
            sock.close()
            raise
        return sock

    def _closed(self, clientHost: str) -> None:
        self._admission.took(-DESCRIPTORS)
        self._counts[clientHost] -= 1
        if not self._counts[clientHost]:
            del self._counts[clientHost]


_IP = (IPv4Address, IPv6Address)


def _addressOf(sock: socket.socket) -> Address:
    host, port, *_ = sock.getsockname()
    return Address.ip(host, port)
