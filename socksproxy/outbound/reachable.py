"""
Addresses at which others can reach us, and the ports that a firewall lets them.
"""

from __future__ import annotations

import errno
import random
import socket
from dataclasses import dataclass

from socksproxy.errors import GeneralFailure
from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType

__all__ = ["ANY_PORT", "NOWHERE_ELSE", "Advertised", "PortRange"]


@dataclass(frozen=True, slots=True)
class Advertised:
    """
    Our addresses as they are seen from beyond a NAT.

    @ivar ipv4: what is told instead of an IPv4 address of ours; L{None}: that
        address.
    @ivar ipv6: the same for IPv6.
    """

    ipv4: str | None = None
    ipv6: str | None = None

    def insteadOf(self, address: Address) -> Address:
        """
        What to tell somebody who would be told C{address}, which is an IP
        address: it has the same family, and the same port.
        """
        host = self.ipv6 if address.type == AddressType.IPV6 else self.ipv4
        return address if host is None else Address.ip(host, address.port)


NOWHERE_ELSE = Advertised()
"""
There is no NAT.
"""


@dataclass(frozen=True, slots=True)
class PortRange:
    """
    The ports to bind to.

    @ivar first: 0 for both: the system chooses.
    @ivar last: the last one, itself in the range.
    """

    first: int = 0
    last: int = 0

    def bind(self, sock: socket.socket, host: str, scope: int = 0) -> None:
        """
        Bind a socket to one of the ports that nobody else has, at C{host}.

        @param scope: of a link-local IPv6 address, the number of its interface.
        @raise GeneralFailure: all are taken, or the system does not let us have
            them: neither is the client's fault, nor says it anything of a target.
        """
        ports = range(self.first, self.last + 1)
        # Not the first free one: that would be the one that was just let go.
        start = random.randrange(len(ports))
        for port in (*ports[start:], *ports[:start]):
            try:
                sock.bind((host, port, 0, scope) if scope else (host, port))
            except OSError as wrong:
                if wrong.errno != errno.EADDRINUSE:
                    raise GeneralFailure(
                        f"no port at {host or 'any address'}: {wrong.strerror}"
                    ) from wrong
            else:
                return
        raise GeneralFailure(f"all ports from {self.first} to {self.last} are in use")


ANY_PORT = PortRange()
"""
The system chooses.
"""
