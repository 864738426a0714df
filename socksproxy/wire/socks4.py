"""
The messages of SOCKS version 4, and of 4a, where a client may send a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from socksproxy.wire.address import MAX_NAME, Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import AddressType
from socksproxy.wire.errors import RemoteProtocolError

__all__ = ["MAX_USER_ID", "SOCKS4_VERSION", "Reply", "ReplyCode", "Request"]

SOCKS4_VERSION = 4

MAX_USER_ID = 255
"""
Bytes in a user id.  The protocol knows no end of it: somebody has to.
"""

_HEAD = 8
"""
Bytes before the user id, and all those of a reply.
"""


class ReplyCode(IntEnum):
    """
    CD of a reply.
    """

    GRANTED = 90
    REJECTED = 91
    NO_IDENTD = 92
    OTHER_USER = 93


def _isMark(host: bytes) -> bool:
    """
    Whether an address is C{0.0.0.x}, x not 0, which is none: a name follows.
    """
    return host[:3] == b"\0\0\0" and host[3] != 0


def _until0(message: bytes, start: int, limit: int, what: str) -> int:
    """
    @return: where the NUL is that ends what begins at C{start}; -1: it has not
        come yet.
    @raise RemoteProtocolError: there are more than C{limit} bytes before it.
    """
    end = message.find(b"\0", start)
    if (len(message) if end < 0 else end) - start > limit:
        raise RemoteProtocolError(f"{what} of more than {limit} bytes")
    return end


@dataclass(frozen=True, slots=True)
class Request:
    """
    C{VN CD DSTPORT DSTIP USERID NULL}; in 4a DSTIP is C{0.0.0.x}, and a name
    and another NUL follow.

    An IPv6 address, and one that looks like the mark of a name, travel as names.

    @ivar command: 0 to 255; 1 is CONNECT, 2 is BIND.
    @ivar userId: without a NUL.
    """

    command: int
    address: Address
    userId: bytes = b""

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Request | None:
        """
        @raise RemoteProtocolError: the version is not 4, the user id or the name
            does not come to an end, or the name cannot be one.
        """
        first = buffer.peek(1)
        if first is None:
            return None
        if first[0] != SOCKS4_VERSION:
            raise RemoteProtocolError(f"version {first[0]:#04x} where SOCKS4's was due")
        message = buffer.peek(len(buffer))
        assert message is not None
        if len(message) <= _HEAD:
            return None
        idEnd = _until0(message, _HEAD, MAX_USER_ID, "a user id")
        if idEnd < 0:
            return None
        port = message[2] << 8 | message[3]
        if _isMark(message[4:_HEAD]):
            end = _until0(message, idEnd + 1, MAX_NAME, "a name")
            if end < 0:
                return None
            address = Address.name(message[idEnd + 1 : end], port)
        else:
            end = idEnd
            address = _ipv4(message[4:_HEAD], port)
        buffer.take(end + 1)
        return cls(message[1], address, message[_HEAD:idEnd])

    def encode(self) -> bytes:
        name = b""
        host = b"\0\0\0\1"
        if self.address.type == AddressType.IPV4:
            host = bytes(map(int, self.address.host.split(".")))
        if _isMark(host):
            host = b"\0\0\0\1"
            name = self.address.host.encode("utf-8", "surrogateescape") + b"\0"
        head = bytes((SOCKS4_VERSION, self.command)) + self.address.port.to_bytes(
            2, "big"
        )
        return b"".join((head, host, self.userId, b"\0", name))


@dataclass(frozen=True, slots=True)
class Reply:
    """
    C{VN CD DSTPORT DSTIP}, where VN is 0.

    @ivar address: of IPv4.
    """

    code: ReplyCode
    address: Address = Address.UNSPECIFIED

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Reply | None:
        """
        @raise RemoteProtocolError: the version is not 0, or the code is not one
            of a reply.
        """
        head = buffer.peek(2)
        if head is None:
            head = buffer.peek(1)
            if head is not None:
                _checkReplyVersion(head[0])
            return None
        _checkReplyVersion(head[0])
        if not min(ReplyCode) <= head[1] <= max(ReplyCode):
            raise RemoteProtocolError(f"reply code {head[1]:#04x} is not SOCKS4's")
        message = buffer.take(_HEAD)
        if message is None:
            return None
        address = _ipv4(message[4:], message[2] << 8 | message[3])
        return cls(ReplyCode(head[1]), address)

    def encode(self) -> bytes:
        port = self.address.port.to_bytes(2, "big")
        host = bytes(map(int, self.address.host.split(".")))
        return bytes((0, self.code)) + port + host


def _checkReplyVersion(octet: int) -> None:
    if octet:
        raise RemoteProtocolError(f"version {octet:#04x} in a SOCKS4 reply")


def _ipv4(host: bytes, port: int) -> Address:
    return Address(AddressType.IPV4, ".".join(map(str, host)), port)
