"""
The numbers of RFC 1928 and RFC 1929.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["SOCKS5_VERSION", "AddressType", "Command", "Method", "ReplyCode"]

SOCKS5_VERSION = 5


class Method(IntEnum):
    """
    METHOD octets that have a name (RFC 1928 section 3).  03 to 7F are
    assigned by IANA, 80 to FE are for private use: plain numbers here.
    """

    NO_AUTHENTICATION = 0x00
    GSSAPI = 0x01
    USERNAME_PASSWORD = 0x02
    NO_ACCEPTABLE_METHODS = 0xFF


class Command(IntEnum):
    """
    CMD (RFC 1928 section 4), and what Tor has added to it.
    """

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3
    RESOLVE = 0xF0
    RESOLVE_PTR = 0xF1


class AddressType(IntEnum):
    """
    ATYP (RFC 1928 section 5).
    """

    IPV4 = 1
    NAME = 3
    IPV6 = 4


class ReplyCode(IntEnum):
    """
    REP (RFC 1928 section 6).  Nothing above 08 is assigned, and nothing above
    08 is ever sent.
    """

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8
