"""
Where our own connections come from.
"""

from __future__ import annotations

import errno
import socket
import sys
from dataclasses import dataclass

__all__ = ["ANY_LOCAL_END", "LocalEnd"]

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; in the socket module from Python 3.12 on


@dataclass(frozen=True, slots=True)
class LocalEnd:
    """
    The local end of what goes out.  When there is an address of one family only,
    nothing goes out by the other: it would show an address that was not meant to
    be seen.

    @ivar ipv4: the source address of IPv4; L{None}: see above, or the system's
        choice.
    @ivar ipv6: that of IPv6.
    @ivar interface: the network interface that all goes out by, whatever the
        routes say: Linux's SO_BINDTODEVICE.
    @ivar mark: what the routes and packet filters of this machine know it by:
        Linux's SO_MARK, for which one has to be root, or as good as that.
    """

    ipv4: str | None = None
    ipv6: str | None = None
    interface: str | None = None
    mark: int | None = None

    def __str__(self) -> str:
        mark = None if self.mark is None else f"mark {self.mark:#x}"
        return ", ".join(filter(None, (self.ipv4, self.ipv6, self.interface, mark)))

    def check(self) -> None:
        """
        See whether this machine has all of it.

        @raise OSError: it has not.
        """
        families = [
            family
            for family, host in (
                (socket.AF_INET, self.ipv4),
                (socket.AF_INET6, self.ipv6),
            )
            if host is not None
        ]
        for family in families or [socket.AF_INET]:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                self.bind(sock)

    def bind(self, sock: socket.socket) -> None:
        """
        Give an unconnected socket of IPv4 or IPv6 its local end.  The port is
        chosen by C{connect}, so that one may serve several targets at a time.

        @raise OSError: this machine has no such address or interface, or none of
            the socket's family may be used.
        """
        host = self.prepare(sock)
        if host is None:
            return
        if sock.type == socket.SOCK_STREAM and sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((host, 0))

    def prepare(self, sock: socket.socket) -> str | None:
        """
        Give a socket of IPv4 or IPv6 the interface and the mark, for whoever binds
        it to a port by himself.

        @return: the address to bind it to; L{None}: any.
        @raise OSError: as from L{bind}.
        """
        if self.interface is not None:
            if not hasattr(socket, "SO_BINDTODEVICE"):
                raise OSError(
                    errno.ENOPROTOOPT, "this system cannot bind to an interface"
                )
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode()
            )
        if self.mark is not None:
            if not hasattr(socket, "SO_MARK"):
                raise OSError(errno.ENOPROTOOPT, "this system has no marks")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
        if self.ipv4 is None and self.ipv6 is None:
            return None
        host = self.ipv6 if sock.family == socket.AF_INET6 else self.ipv4
        if host is None:
            raise OSError(
                errno.EADDRNOTAVAIL, "there is no source address of the target's family"
            )
        return host


ANY_LOCAL_END = LocalEnd()
"""
The system chooses.
"""
