"""
What a request of HTTP names as its target (RFC 9112 section 3.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from socksproxy.wire.address import Address
from socksproxy.wire.constants import AddressType
from socksproxy.wire.errors import RemoteProtocolError

__all__ = ["AbsoluteTarget", "parseAuthority"]

_AUTHORITY = re.compile(
    rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=-]+)"
    rb"(?P<port>:0*(?P<digits>[0-9]*))?"
)
"""
Without C{user@}, which has no place here (RFC 9110 section 4.2.4), and without
C{%}, which has none in DNS.
"""

_ABSOLUTE = re.compile(rb"(?i:http)://(?P<authority>[^/?#]*)(?P<path>[^#]*)(?:#.*)?")


def parseAuthority(text: bytes, defaultPort: int | None = None) -> Address:
    """
    C{host:port}, an IPv6 address in brackets.

    @param defaultPort: L{None}: there has to be one.
    @raise RemoteProtocolError: it is nothing of the kind.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise RemoteProtocolError("the target is not a host with its port")
    host = found["host"]
    port = defaultPort
    if found["port"] not in (None, b":"):
        port = int(found["digits"][:6] or 0)
    if port is None or port > 65535:
        raise RemoteProtocolError("the target has no port, or one that cannot be")
    address = Address.name(host, port)
    if host.startswith(b"[") and (b":" not in host or address.type == AddressType.NAME):
        raise RemoteProtocolError("what is in brackets is no IPv6 address")
    return address


@dataclass(frozen=True, slots=True)
class AbsoluteTarget:
    """
    C{http://host[:port]/path?query}, what clients send to a proxy.

    @ivar destination: where that is.
    @ivar authority: the same as it was sent, which is what Host has to say.
    @ivar path: with the query; what the host itself is sent.  Empty: there was
        none.
    """

    destination: Address
    authority: bytes
    path: bytes

    @classmethod
    def parse(cls, target: bytes) -> AbsoluteTarget | None:
        """
        @return: L{None}: it is of another form, or of another scheme.
        @raise RemoteProtocolError: its host or its port cannot be one.
        """
        found = _ABSOLUTE.fullmatch(target)
        if found is None:
            return None
        path = found["path"]
        if path.startswith(b"?"):
            path = b"/" + path
        destination = parseAuthority(found["authority"], 80)
        return cls(destination, found["authority"], path)
