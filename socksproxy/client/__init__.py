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
    ProxyFailed,
    ProxyProtocolError,
    ProxyTimedOut,
    ProxyUnreachable,
)
from socksproxy.client.interfaces import (
    Accepted,
    IClientAuthenticator,
    IClientNegotiation,
)
from socksproxy.client.login import NoLogin, PasswordLogin

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
    "PasswordLogin",
    "ProxyFailed",
    "ProxyProtocolError",
    "ProxyTimedOut",
    "ProxyUnreachable",
    "SOCKS4ClientEndpoint",
    "SOCKS5ClientEndpoint",
]
