"""
The messages of SOCKS version 5 (RFC 1928), of its username/password
sub-negotiation (RFC 1929), and its datagrams.
"""

from __future__ import annotations

from typing import NamedTuple

from socksproxy.wire.address import Address
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import SOCKS5_VERSION, AddressType, ReplyCode
from socksproxy.wire.errors import RemoteProtocolError

__all__ = [
    "LOGIN_VERSIONS",
    "Datagram",
    "Greeting",
    "Login",
    "LoginAnswer",
    "Reply",
    "Request",
    "Selection",
]

LOGIN_VERSIONS = (1, 5)
"""
The versions of the username/password sub-negotiation: 01 is RFC 1929's, 05 is
what some clients took it for.  Each is answered in kind.
"""


_IPV4 = AddressType.IPV4
_IPV6 = AddressType.IPV6
_NAME = AddressType.NAME


def _head(buffer: ReceiveBuffer) -> bytes | None:
    """
    The first two bytes of a message, left in place; or L{None}: they are not all
    there yet.

    @raise RemoteProtocolError: the version is not 5, which the first one tells.
    """
    head = buffer.peek(2)
    version = head or buffer.peek(1)
    if version and version[0] != SOCKS5_VERSION:
        raise RemoteProtocolError(f"version {version[0]:#04x} where SOCKS5's was due")
    return head


class Greeting(NamedTuple):
    """
    The client's first message: C{VER NMETHODS METHODS} (RFC 1928 section 3).

    @ivar methods: the methods that it offers, an octet each, at most 255.
    """

    methods: bytes

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Greeting | None:
        """
        @raise RemoteProtocolError: the version is not 5.
        """
        head = _head(buffer)
        if head is None:
            return None
        message = buffer.take(2 + head[1])
        return None if message is None else cls(message[2:])

    def encode(self) -> bytes:
        return bytes((SOCKS5_VERSION, len(self.methods))) + self.methods


class Selection(NamedTuple):
    """
    The server's choice: C{VER METHOD} (RFC 1928 section 3).

    @ivar method: 0 to 255; FF says that none was acceptable.
    """

    method: int

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Selection | None:
        """
        @raise RemoteProtocolError: the version is not 5.
        """
        head = _head(buffer)
        if head is None:
            return None
        buffer.take(len(head))
        return cls(head[1])

    def encode(self) -> bytes:
        return bytes((SOCKS5_VERSION, self.method))


class Login(NamedTuple):
    """
    C{VER ULEN UNAME PLEN PASSWD} (RFC 1929).  Either may be empty: real
    clients send that, and it is for the checker to judge.

    @ivar version: 1 or 5, see L{LOGIN_VERSIONS}.
    @ivar password: not part of the C{repr}.
    """

    version: int
    username: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Login(version={self.version!r}, username={self.username!r})"

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Login | None:
        """
        @raise RemoteProtocolError: the version is neither 1 nor 5.
        """
        head = buffer.peek(2)
        version = head or buffer.peek(1)
        if version and version[0] not in LOGIN_VERSIONS:
            raise RemoteProtocolError(f"version {version[0]:#04x} in a login")
        if head is None:
            return None
        nameEnd = 2 + head[1]
        head = buffer.peek(nameEnd + 1)
        if head is None:
            return None
        message = buffer.take(nameEnd + 1 + head[nameEnd])
        if message is None:
            return None
        return cls(message[0], message[2:nameEnd], message[nameEnd + 1 :])

    def encode(self) -> bytes:
        return b"".join(
            (
                bytes((self.version, len(self.username))),
                self.username,
                bytes((len(self.password),)),
                self.password,
            )
        )


class LoginAnswer(NamedTuple):
    """
    C{VER STATUS} (RFC 1929), the version being the one that the client sent.

    @ivar status: 0 grants, all else refuses.
    """

    version: int
    status: int

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> LoginAnswer | None:
        """
        @raise RemoteProtocolError: the version is neither 1 nor 5.
        """
        head = buffer.peek(1)
        if head is None:
            return None
        if head[0] not in LOGIN_VERSIONS:
            raise RemoteProtocolError(f"version {head[0]:#04x} in a login's answer")
        message = buffer.take(2)
        return None if message is None else cls(message[0], message[1])

    def encode(self) -> bytes:
        return bytes((self.version, self.status))


class Request(NamedTuple):
    """
    C{VER CMD RSV ATYP DST.ADDR DST.PORT} (RFC 1928 section 4).  What a client
    puts into RSV is ignored.

    @ivar command: 0 to 255, see L{Command <socksproxy.wire.constants.Command>}.
    """

    command: int
    destination: Address

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Request | None:
        """
        @raise RemoteProtocolError: the version is not 5, or the address is
            wrong; the error's reply says how to answer.
        """
        head = _head(buffer)
        if head is None:
            return None
        destination = Address.parse(buffer, skip=3)
        return None if destination is None else cls(head[1], destination)

    def encode(self) -> bytes:
        return bytes((SOCKS5_VERSION, self.command, 0)) + self.destination.encode()


class Reply(NamedTuple):
    """
    C{VER REP RSV ATYP BND.ADDR BND.PORT} (RFC 1928 section 6).
    """

    code: ReplyCode
    bound: Address = Address.UNSPECIFIED

    @classmethod
    def parse(cls, buffer: ReceiveBuffer) -> Reply | None:
        """
        @raise RemoteProtocolError: the version is not 5, the code is not
            assigned, or the address is wrong.
        """
        head = _head(buffer)
        if head is None:
            return None
        if head[1] > max(ReplyCode):
            raise RemoteProtocolError(f"reply code {head[1]:#04x} is not assigned")
        bound = Address.parse(buffer, skip=3)
        return None if bound is None else cls(ReplyCode(head[1]), bound)

    def encode(self) -> bytes:
        return bytes((SOCKS5_VERSION, self.code, 0)) + self.bound.encode()


LAST_FRAGMENT = 0x80
"""
The bit of FRAG that marks the end of a sequence (RFC 1928 section 7).
"""

MAX_HEADER = 262
"""
The bytes before the data: RSV, FRAG, ATYP, a name of 255 bytes with its length,
and a port.
"""


class Datagram(NamedTuple):
    """
    C{RSV FRAG ATYP DST.ADDR DST.PORT DATA} (RFC 1928 section 7), one whole UDP
    payload.  What a client puts into RSV is ignored.

    @ivar address: where it shall go, or, on its way to the client, where it came
        from.
    @ivar data: may be empty.
    @ivar fragment: FRAG; 0: it stands alone.  Otherwise the position in a
        sequence, 1 to 127, with L{LAST_FRAGMENT} set in the last.
    """

    address: Address
    data: bytes
    fragment: int = 0

    @staticmethod
    def headerSize(packet: bytes) -> int:
        """
        How many bytes there are, or should be, before the data; 0: there is no
        telling.
        """
        if len(packet) < 5:
            return 0
        addressType = packet[3]
        if addressType == _IPV4:
            return 10
        if addressType == _IPV6:
            return 22
        return 7 + packet[4] if addressType == _NAME else 0

    @classmethod
    def parse(cls, packet: bytes) -> Datagram:
        """
        @raise RemoteProtocolError: it is too short, its address is wrong, or its
            FRAG says that it is the last of nothing.
        """
        header = ReceiveBuffer(packet[:MAX_HEADER])
        length = len(header)
        address = Address.parse(header, skip=3)
        if address is None:
            raise RemoteProtocolError("a datagram that is shorter than its header")
        fragment = packet[2]
        if fragment == LAST_FRAGMENT:
            raise RemoteProtocolError("a fragment without a position")
        return cls(address, packet[length - len(header) :], fragment)

    def encode(self) -> bytes:
        return bytes((0, 0, self.fragment)) + self.address.encode() + self.data
