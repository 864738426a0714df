"""
Who need not log in where others do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from zope.interface import implementer

from socksproxy.auth.none import NoAuthentication
from socksproxy.auth.source import IP, ipOf
from socksproxy.interfaces import IAuthenticator, INegotiation, ISession
from socksproxy.wire.constants import Method

__all__ = ["Exempt", "Network", "ReachedAt", "areEverybody"]

Network = IPv4Network | IPv6Network

_WIDEST = {4: 8, 6: 16}
"""
Bits that a network's addresses have to share, by the version.
"""

_OWN = IPv6Network("fc00::/7"), IPv6Network("fe80::/10")
"""
What nobody is reached at from elsewhere, however wide it is.
"""


@dataclass(frozen=True, slots=True)
class ReachedAt:
    """
    Where a client has reached this server.

    @ivar ip: C{0.0.0.0} or C{::} is any address.
    @ivar port: L{None} is any port.
    """

    ip: IP
    port: int | None = None

    def fits(self, session: ISession) -> bool:
        """
        Whether it is here that the session's client has come in.
        """
        ip = ipOf(session.host)
        return (
            ip is not None
            and (self.ip.is_unspecified or self.ip == ip)
            and self.port in (None, getattr(session.host, "port", None))
        )


@implementer(IAuthenticator)
class Exempt:
    """
    NO AUTHENTICATION REQUIRED for some.  Put before the server's other
    authenticators: these are not asked, also where they could log in.
    """

    method = int(Method.NO_AUTHENTICATION)

    def __init__(
        self,
        networks: Iterable[Network] = (),
        reachedAt: Iterable[ReachedAt] = (),
        unix: bool = False,
    ) -> None:
        """
        @param networks: those who come from one of these.
        @param reachedAt: those who have come in at one of these.
        @param unix: those who come by a UNIX socket.
        """
        self._networks = tuple(networks)
        self._reachedAt = tuple(reachedAt)
        self._unix = unix
        self._negotiation = NoAuthentication()

    def beginNegotiation(self, session: ISession) -> INegotiation | None:
        ip = ipOf(session.peer)
        if ip is None:
            isExempt = self._unix and hasattr(session.peer, "name")
        else:
            isExempt = any(ip in network for network in self._networks) or any(
                place.fits(session) for place in self._reachedAt
            )
        return self._negotiation if isExempt else None


def areEverybody(networks: Iterable[Network]) -> bool:
    """
    Whether there are networks among them, alone or together, that are so wide
    that nobody can know who is in them.
    """
    networks = list(networks)
    together: list[Network] = [
        *collapse_addresses(n for n in networks if isinstance(n, IPv4Network)),
        *collapse_addresses(n for n in networks if isinstance(n, IPv6Network)),
    ]
    return any(
        network.prefixlen < _WIDEST[network.version]
        and not (isinstance(network, IPv6Network) and any(map(network.subnet_of, _OWN)))
        for network in together
    )
