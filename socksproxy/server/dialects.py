"""
The protocols that a server can speak.  The first octet on a connection picks one.

What only some clients speak is loaded with the first of them.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from zope.interface import implementer

from socksproxy.interfaces import IAuthenticator, IDialect, IDialectFactory, ISession
from socksproxy.server.socks5 import SOCKS5Dialect
from socksproxy.wire.constants import SOCKS5_VERSION

__all__ = ["ALL_DIALECTS", "HTTP", "SOCKS4", "SOCKS5"]


@implementer(IDialectFactory)
class SOCKS5:
    """
    SOCKS5 (RFC 1928).
    """

    firstBytes = bytes((SOCKS5_VERSION,))

    def buildDialect(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> IDialect:
        return SOCKS5Dialect(session, authenticators)


@implementer(IDialectFactory)
class SOCKS4:
    """
    SOCKS4 and 4a.
    """

    # A greeting of SOCKS5 comes here only where that is not spoken.
    firstBytes = bytes((4, SOCKS5_VERSION))

    def buildDialect(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> IDialect:
        from socksproxy.server.socks4 import SOCKS4Dialect

        return SOCKS4Dialect(session, authenticators)


@implementer(IDialectFactory)
class HTTP:
    """
    HTTP/1.1 as it is spoken with proxies (RFC 9110, RFC 9112): CONNECT, and
    requests for C{http://} to be passed on.
    """

    # A method's, which all are upper case.
    firstBytes = string.ascii_uppercase.encode()

    def buildDialect(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> IDialect:
        from socksproxy.server.http import HTTPDialect

        return HTTPDialect(session, authenticators)


ALL_DIALECTS: Sequence[IDialectFactory] = (SOCKS5(), SOCKS4(), HTTP())
