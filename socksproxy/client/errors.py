"""
How a proxy can fail those who connect through it.

What the proxy says about the target is one of the classes of
L{socksproxy.errors}, by its reply code: they are not repeated here.
"""

from __future__ import annotations

from socksproxy.errors import (
    AddressTypeNotSupported,
    CommandNotSupported,
    ConnectionRefused,
    GeneralFailure,
    HostUnreachable,
    NetworkUnreachable,
    NotAllowed,
    RequestFailed,
    TTLExpired,
)
from socksproxy.wire.constants import ReplyCode

__all__ = [
    "LoginRefused",
    "NoAcceptableMethod",
    "NoTicket",
    "ProxyFailed",
    "ProxyProtocolError",
    "ProxyTimedOut",
    "ProxyUnreachable",
    "TooLittleProtection",
    "failureOf",
]


class ProxyFailed(RequestFailed):
    """
    The proxy could not be used.  This says nothing about the target.
    """


class ProxyUnreachable(ProxyFailed):
    """
    There was no connection to the proxy; the cause says why.
    """


class ProxyTimedOut(ProxyFailed):
    """
    The proxy did not get as far as the request in time.
    """


class ProxyProtocolError(ProxyFailed):
    """
    What came is not what a proxy says, or it closed the connection without
    saying it.
    """


class NoAcceptableMethod(ProxyFailed):
    """
    The proxy wants a login of a kind that was not offered.
    """


class LoginRefused(ProxyFailed):
    """
    The proxy does not let this user in.
    """


class NoTicket(ProxyFailed):
    """
    We have no ticket to log in with, and nobody gives us one for this proxy.
    """


class TooLittleProtection(ProxyFailed):
    """
    The proxy lets us in, but does not protect what follows as we demand.
    """


_BY_REPLY: dict[ReplyCode, tuple[type[RequestFailed], str]] = {
    ReplyCode.GENERAL_FAILURE: (GeneralFailure, "general failure"),
    ReplyCode.NOT_ALLOWED: (NotAllowed, "not allowed by its rules"),
    ReplyCode.NETWORK_UNREACHABLE: (NetworkUnreachable, "network unreachable"),
    ReplyCode.HOST_UNREACHABLE: (HostUnreachable, "host unreachable"),
    ReplyCode.CONNECTION_REFUSED: (ConnectionRefused, "connection refused"),
    ReplyCode.TTL_EXPIRED: (TTLExpired, "time to live expired"),
    ReplyCode.COMMAND_NOT_SUPPORTED: (CommandNotSupported, "command not supported"),
    ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: (
        AddressTypeNotSupported,
        "address type not supported",
    ),
}


def failureOf(code: ReplyCode) -> RequestFailed:
    """
    What a proxy's reply that is not success becomes, so that whoever is asked
    in turn gives the same reply.
    """
    kind, words = _BY_REPLY[code]
    return kind(f"the proxy answered: {words}")
