"""
NO AUTHENTICATION REQUIRED (RFC 1928 section 3).
"""

from __future__ import annotations

from zope.interface import implementer

from socksproxy.interfaces import (
    ANONYMOUS,
    Granted,
    IAuthenticator,
    INegotiation,
    ISession,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Method

__all__ = ["NoAuthentication"]

_GRANTED = Granted(ANONYMOUS)


@implementer(IAuthenticator, INegotiation)
class NoAuthentication:
    """
    Everybody is welcome.  There is nothing to negotiate and so nothing to
    remember: one object is every connection's negotiation.
    """

    method = int(Method.NO_AUTHENTICATION)

    def beginNegotiation(self, session: ISession) -> INegotiation:
        return self

    def advance(self, received: ReceiveBuffer) -> Granted:
        return _GRANTED

    def abandon(self) -> None:
        pass
