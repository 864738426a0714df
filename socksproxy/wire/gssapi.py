"""
The frames of GSSAPI (RFC 1961): C{VER MTYP LEN TOKEN}.  What is in a token is
known to the two ends of a security context only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.errors import RemoteProtocolError

__all__ = ["ABORT", "GSSAPI_VERSION", "MAX_TOKEN", "Frame", "MessageType", "Protection"]

GSSAPI_VERSION = 1

MAX_TOKEN = 0xFFFF
"""
Bytes of a token at the most: LEN has two octets.
"""


class MessageType(IntEnum):
    """
    MTYP (RFC 1961 sections 3 to 5).
    """

    AUTHENTICATION = 0x01
    PROTECTION_LEVEL = 0x02
    ENCAPSULATION = 0x03
    ABORT = 0xFF


class Protection(IntEnum):
    """
    Levels of protection (RFC 1961 section 4.3).
    """

    NONE = 0
    """
    Not in the RFC: just a login.  It is all that curl can do.
    """

    INTEGRITY = 1
    CONFIDENTIALITY = 2
    SELECTIVE = 3
    """
    Either, as whoever sends a message likes.
    """


_TYPES = frozenset(int(each) for each in MessageType)
_ABORT = int(MessageType.ABORT)


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One message, either way.

    @ivar type: a L{MessageType}.
    @ivar token: 1 to L{MAX_TOKEN} bytes; none where one side gives up, which is
        told by C{VER MTYP} alone.
    """

    type: int
    token: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Frame | None:
        """
        @raise RemoteProtocolError: the version or the type is not known, or the
            token is empty.
        """
        head = buffer.peek(4) or buffer.peek(2) or buffer.peek(1)
        if head is None:
            return None
        if head[0] != GSSAPI_VERSION:
            raise RemoteProtocolError(f"version {head[0]:#04x} where GSSAPI's was due")
        if len(head) == 1:
            return None
        if head[1] not in _TYPES:
            raise RemoteProtocolError(f"GSSAPI message of unknown type {head[1]:#04x}")
        if head[1] == _ABORT:
            buffer.take(2)
            return cls(_ABORT)
        if len(head) == 2:
            return None
        size = int.from_bytes(head[2:], "big")
        if not size:
            raise RemoteProtocolError("GSSAPI message without a token")
        message = buffer.take(4 + size)
        return None if message is None else cls(message[1], message[4:])

    def encode(self) -> bytes:
        """
        @raise ValueError: the token is too long, or there is none.
        """
        if self.type == _ABORT:
            return bytes((GSSAPI_VERSION, _ABORT))
        size = len(self.token)
        if not 0 < size <= MAX_TOKEN:
            raise ValueError(f"a token cannot have {size} bytes")
        return bytes((GSSAPI_VERSION, self.type, size >> 8, size & 0xFF)) + self.token


ABORT = Frame(_ABORT).encode()
"""
What a client is told that is refused (RFC 1961 section 3.8).
"""
