"""
Where something is: an IPv4 address, an IPv6 address or a name, with a port.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from socket import inet_ntoa
from typing import ClassVar, NamedTuple

from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType, ReplyCode
from socksproxy.wire.errors import RemoteProtocolError

__all__ = ["Address", "printable"]

_IPV4 = AddressType.IPV4
_IPV6 = AddressType.IPV6
_NAME = AddressType.NAME

MAX_NAME = 255
"""
Bytes in a name: its length is one octet (RFC 1928 section 5).
"""

MAX_LABEL = 63
"""
Bytes between two dots of a name (RFC 1035 section 2.3.4).
"""


_FORGING = frozenset(" \"'\\")


def printable(text: str) -> str:
    """
    C{text} with everything escaped that could forge or disturb a log line:
    control characters, white space, quotes, backslashes, and whatever does
    not print.
    """
    if text.isascii() and text.isprintable() and _FORGING.isdisjoint(text):
        return text
    return "".join(
        c if c.isprintable() and c not in _FORGING else _escaped(ord(c)) for c in text
    )


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# The body of a named tuple has room for fields only, and not for a constant.
class _Address(NamedTuple):
    type: AddressType
    host: str
    port: int


class Address(_Address):
    """
    An address of RFC 1928 section 5.

    Make one with L{Address.ip}, L{Address.name} or L{Address.parse}, which
    bring it into the one form that it has here; then equal places are equal
    values.

    @ivar type: what C{host} is.
    @ivar host: an IPv4 address as a dotted quad, an IPv6 address in its
        shortest form, or a name as it was sent, decoded as UTF-8 with
        C{surrogateescape}.  An IPv4-mapped IPv6 address is the IPv4 address.
    @ivar port: 0 to 65535.
    """

    __slots__ = ()

    UNSPECIFIED: ClassVar[Address]
    """
    C{0.0.0.0:0}: what stands in a reply when there is nothing to say.
    """

    @classmethod
    def ip(cls, host: str, port: int) -> Address:
        """
        An address from the text of an IPv4 or IPv6 address, a zone
        (C{%eth0}) left out.

        @raise ValueError: C{host} is neither.
        """
        try:
            return cls(_IPV4, str(IPv4Address(host)), port)
        except AddressValueError:
            return cls._ipv6(IPv6Address(host.partition("%")[0]), port)

    @classmethod
    def _ipv6(cls, address: IPv6Address, port: int) -> Address:
        mapped = address.ipv4_mapped
        if mapped is not None:
            return cls(_IPV4, str(mapped), port)
        return cls(_IPV6, str(address), port)

    @classmethod
    def name(cls, name: str | bytes, port: int) -> Address:
        """
        An address from a name.  When the name is the text of an IPv4 address,
        or of an IPv6 address with or without brackets, as some clients send
        it, the result is that address.

        @raise RemoteProtocolError: it is empty, longer than 255 bytes, holds a
            NUL or a label of more than 63 bytes: no such name can exist.  The
            reply is 04.
        """
        if isinstance(name, str):
            name = name.encode("utf-8", "surrogateescape")
        if not 0 < len(name) <= MAX_NAME or b"\0" in name:
            raise RemoteProtocolError(
                "a name that is empty, too long or holds a NUL",
                ReplyCode.HOST_UNREACHABLE,
            )
        host = name.decode("utf-8", "surrogateescape")
        literal = host[1:-1] if host[0] == "[" and host[-1] == "]" else host
        if literal[-1:].isdigit() or ":" in literal:
            try:
                if "%" not in literal:
                    return cls.ip(literal, port)
            except ValueError:
                pass
        if len(name) > MAX_LABEL and max(map(len, name.split(b"."))) > MAX_LABEL:
            raise RemoteProtocolError(
                "a name with a label of more than 63 bytes", ReplyCode.HOST_UNREACHABLE
            )
        return cls(_NAME, host, port)

    @classmethod
    def parse(cls, buffer: ReceiveBuffer, skip: int = 0) -> Address | None:
        """
        Take C{skip} bytes, an ATYP, an address and a port from C{buffer}; or
        take nothing and return L{None} when it does not hold all of them yet.

        @raise RemoteProtocolError: an ATYP that is not known (reply 08), or a
            name that cannot be one (reply 04).
        """
        # ATYP and the first octet of the address, which a name's length is.
        head = buffer.peek(skip + 2)
        if head is None:
            head = buffer.peek(skip + 1)
            if head is not None and head[skip] not in (_IPV4, _IPV6, _NAME):
                raise _unknownAddressType(head[skip])
            return None
        addressType = head[skip]
        start = skip + 1
        if addressType == _IPV4:
            message = buffer.take(start + 6)
            if message is None:
                return None
            port = message[-2] << 8 | message[-1]
            return cls(_IPV4, inet_ntoa(message[start:-2]), port)
        if addressType == _IPV6:
            message = buffer.take(start + 18)
            if message is None:
                return None
            return cls._ipv6(
                IPv6Address(message[start:-2]), message[-2] << 8 | message[-1]
            )
        if addressType != _NAME:
            raise _unknownAddressType(addressType)
        message = buffer.take(start + 1 + head[start] + 2)
        if message is None:
            return None
        return cls.name(message[start + 1 : -2], message[-2] << 8 | message[-1])

    def encode(self) -> bytes:
        """
        ATYP, address and port as RFC 1928 section 5 has them.
        """
        port = self.port.to_bytes(2, "big")
        if self.type == _IPV4:
            return _encodedIPv4(self.host) + port
        if self.type == _IPV6:
            return b"\x04" + IPv6Address(self.host).packed + port
        name = self.host.encode("utf-8", "surrogateescape")
        return bytes((3, len(name))) + name + port

    def __str__(self) -> str:
        """
        C{host:port}, an IPv6 address in brackets; safe to log.
        """
        if self.type == _IPV4:
            return f"{self.host}:{self.port}"
        if self.type == _IPV6:
            return f"[{self.host}]:{self.port}"
        return f"{printable(self.host)}:{self.port}"


@lru_cache(maxsize=64)
def _encodedIPv4(host: str) -> bytes:
    """
    ATYP and address.  It is our own, most often, and there are few of these.
    """
    return b"\x01" + bytes(map(int, host.split(".")))


Address.UNSPECIFIED = Address(_IPV4, "0.0.0.0", 0)


def _unknownAddressType(number: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"address type {number:#04x} is unknown", ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED
    )
