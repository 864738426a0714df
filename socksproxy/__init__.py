"""
A SOCKS5 proxy server on Twisted.

What stands here is what programs import; where it lives may change.
"""

from socksproxy.access import PermitAll
from socksproxy.auth.exempt import Exempt
from socksproxy.auth.logins import IProxyUser
from socksproxy.auth.none import NoAuthentication
from socksproxy.auth.password import PasswordAuthenticator
from socksproxy.auth.remembered import IChanging, Remembering
from socksproxy.auth.threads import IBlocking, InThreads
from socksproxy.auth.throttle import GuessLimits, Throttle
from socksproxy.interfaces import (
    IAccessPolicy,
    IAuthenticator,
    IBinder,
    IConnector,
    Identity,
    INegotiation,
    ISession,
    Request,
)
from socksproxy.outbound.direct import DirectConnector
from socksproxy.outbound.endpoint import EndpointConnector
from socksproxy.outbound.localend import LocalEnd
from socksproxy.outbound.reachable import Advertised, PortRange
from socksproxy.outbound.resolver import IResolver, Resolver
from socksproxy.outbound.system import SystemSource
from socksproxy.relay.relay import ProtocolRelay
from socksproxy.server.factory import Limits, SOCKS5Factory
from socksproxy.service import SOCKS5Service
from socksproxy.wire.address import Address

__all__ = [
    "Address",
    "Advertised",
    "DirectConnector",
    "EndpointConnector",
    "Exempt",
    "GuessLimits",
    "IAccessPolicy",
    "IAuthenticator",
    "IBinder",
    "IBlocking",
    "IChanging",
    "IConnector",
    "INegotiation",
    "IProxyUser",
    "IResolver",
    "ISession",
    "Identity",
    "InThreads",
    "Limits",
    "LocalEnd",
    "NoAuthentication",
    "PasswordAuthenticator",
    "PermitAll",
    "PortRange",
    "ProtocolRelay",
    "Remembering",
    "Request",
    "Resolver",
    "SOCKS5Factory",
    "SOCKS5Service",
    "SystemSource",
    "Throttle",
    "__version__",
]

__version__ = "0.1.0"
