"""
The other role: endpoints for those who connect through a proxy.

The rules of this room:

 - a conversation turns bytes into values and back, and knows no transport, no
   clock and no reactor;
 - L{Handshake <socksproxy.client.handshake.Handshake>} alone knows the
   transport, and is gone from it once the proxy has answered: the user's
   protocol has the connection as it is;
 - names go to the proxy as they are, unless somebody says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socksproxy.client.association import ClientAssociation
from socksproxy.client.binding import ClientBinding
from socksproxy.client.endpoints import (
    HTTPConnectClientEndpoint,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
)
from socksproxy.client.errors import (
    LoginRefused,
    NoAcceptableMethod,
    NoTicket,
    ProxyFailed,
    ProxyProtocolError,
    ProxyTimedOut,
    ProxyUnreachable,
    TooLittleProtection,
)
from socksproxy.client.interfaces import (
    Accepted,
    IClientAuthenticator,
    IClientNegotiation,
)
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.wire.gssapi import Protection

if TYPE_CHECKING:
    from socksproxy.client.gssapi import GSSAPILogin as GSSAPILogin

__all__ = [
    "Accepted",
    "ClientAssociation",
    "ClientBinding",
    "HTTPConnectClientEndpoint",
    "IClientAuthenticator",
    "IClientNegotiation",
    "LoginRefused",
    "NoAcceptableMethod",
    "NoLogin",
    "NoTicket",
    "PasswordLogin",
    "Protection",
    "ProxyFailed",
    "ProxyProtocolError",
    "ProxyTimedOut",
    "ProxyUnreachable",
    "SOCKS4ClientEndpoint",
    "SOCKS5ClientEndpoint",
    "TooLittleProtection",
]


def __getattr__(name: str) -> object:
    """
    L{GSSAPILogin} is there for those who have what it takes.
    """
    if name != "GSSAPILogin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from socksproxy.client.gssapi import GSSAPILogin
    except ImportError as wrong:
        raise ImportError(
            f"GSSAPILogin wants pip install 'socksproxy[gssapi]' ({wrong})"
        ) from None
    return GSSAPILogin
