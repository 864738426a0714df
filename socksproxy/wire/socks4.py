"""
The messages of SOCKS version 4, and of 4a, which sends names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType
from socksproxy.wire.errors import RemoteProtocolError

__all__ = ["SOCKS4_VERSION", "Code", "Reply", "Request"]

SOCKS4_VERSION = 4

MAX_STRING = 255
"""
Bytes in a user id or a name.  No length is sent: a NUL ends them.
"""

_HEAD = 8
"""
Bytes before the user id, and in a reply.
"""


class Code(IntEnum):
    """
    CD of a reply.
    """

    GRANTED = 90
    REFUSED = 91
    NO_IDENTD = 92
    IDENTD_DISAGREES = 93


@dataclass(frozen=True, slots=True)
class Request:
    """
    C{VN CD DSTPORT DSTIP USERID NUL}, and where DSTIP is C{0.0.0.x}, x not being
    0, a name and another NUL (4a).

    @ivar command: 0 to 255; 1 is CONNECT, 2 is BIND.
    @ivar userId: at most 255 bytes, none of them NUL.  It proves nothing.
    """

    command: int
    destination: Address
    userId: bytes = b""

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Request | None:
        """
        @raise RemoteProtocolError: the version is not 4, the user id or the name
            does not end, or the name cannot be one.
        """
        head = buffer.peek(1)
        if head is None:
            return None
        if head[0] != SOCKS4_VERSION:
            raise RemoteProtocolError(f"version {head[0]:#04x} where SOCKS4's was due")
        head = buffer.peek(_HEAD)
        if head is None:
            return None
        userEnd = _endOfString(buffer, _HEAD)
        if userEnd is None:
            return None
        port = int.from_bytes(head[2:4], "big")
        isNamed = head[4:7] == b"\0\0\0" and head[7] != 0
        end = _endOfString(buffer, userEnd + 1) if isNamed else userEnd
        if end is None:
            return None
        message = buffer.take(end + 1)
        assert message is not None
        if isNamed:
            destination = Address.name(message[userEnd + 1 : end], port)
        else:
            destination = Address.ip(str(IPv4Address(head[4:8])), port)
        return cls(head[1], destination, message[_HEAD:userEnd])

    def encode(self) -> bytes:
        """
        What is not an IPv4 address that version 4 can say goes as a name.
        """
        destination, name = self.destination, b""
        packed = b"\0\0\0\1"
        if destination.type == AddressType.IPV4:
            packed = IPv4Address(destination.host).packed
        if packed[:3] == b"\0\0\0" and packed[3]:
            name = destination.host.encode("utf-8", "surrogateescape") + b"\0"
        head = bytes((SOCKS4_VERSION, self.command))
        port = destination.port.to_bytes(2, "big")
        return b"".join((head, port, packed, self.userId, b"\0", name))


def _endOfString(buffer: ReceiveBuffer, start: int) -> int | None:
    """
    Where the NUL is that ends the string at C{start}; L{None}: it has not come.
    """
    looked = buffer.peek(min(len(buffer), start + MAX_STRING + 1)) or b""
    end = looked.find(b"\0", start)
    if end >= 0:
        return end
    if len(looked) > start + MAX_STRING:
        raise RemoteProtocolError("a user id or a name that does not end")
    return None


@dataclass(frozen=True, slots=True)
class Reply:
    """
    C{VN CD DSTPORT DSTIP}, the version being 0.

    @ivar bound: an IPv4 address; C{0.0.0.0} says that it is the proxy's own.
    """

    code: Code
    bound: Address = Address.UNSPECIFIED

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Reply | None:
        """
        @raise RemoteProtocolError: the version is not 0, or the code is unknown.
        """
        head = buffer.peek(1)
        if head is None:
            return None
        if head[0] != 0:
            raise RemoteProtocolError(f"version {head[0]:#04x} in a SOCKS4 reply")
        message = buffer.take(_HEAD)
        if message is None:
            return None
        if not Code.GRANTED <= message[1] <= Code.IDENTD_DISAGREES:
            raise RemoteProtocolError(f"code {message[1]} in a SOCKS4 reply")
        port = int.from_bytes(message[2:4], "big")
        bound = Address.ip(str(IPv4Address(message[4:])), port)
        return cls(Code(message[1]), bound)

    def encode(self) -> bytes:
        """
        An address that is not IPv4 becomes C{0.0.0.0}, with its port.
        """
        port = self.bound.port.to_bytes(2, "big")
        isIPv4 = self.bound.type == AddressType.IPV4
        packed = IPv4Address(self.bound.host).packed if isIPv4 else b"\0\0\0\0"
        return bytes((0, self.code)) + port + packed
