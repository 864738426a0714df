"""
Who a client is, for dialects that know nothing of METHODs: what the server's
authenticators say, asked in one place.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from socksproxy.interfaces import (
    Granted,
    IAuthenticator,
    Identity,
    ILogins,
    ISession,
    NegotiationStep,
)
from socksproxy.wire.buffer import ReceiveBuffer
from socksproxy.wire.constants import Method

__all__ = ["identityUnasked", "loginsOf"]


def identityUnasked(
    authenticators: Sequence[IAuthenticator], session: ISession
) -> Identity | Deferred[Identity | None] | None:
    """
    Who a client is that nobody asks: an authenticator of method 0, NO
    AUTHENTICATION REQUIRED, grants it without a byte of the client's.

    @return: L{None}: it has to log in.
    """
    for authenticator in authenticators:
        if authenticator.method == Method.NO_AUTHENTICATION:
            negotiation = authenticator.beginNegotiation(session)
            if negotiation is not None:
                step = negotiation.advance(ReceiveBuffer())
                if isinstance(step, Deferred):
                    return step.addCallback(_granted)
                if step is None:
                    negotiation.abandon()
                return _granted(step)
    return None


def _granted(step: NegotiationStep | None) -> Identity | None:
    return step.identity if isinstance(step, Granted) else None


def loginsOf(authenticators: Sequence[IAuthenticator]) -> ILogins | None:
    """
    Who judges a name and a password; L{None}: nobody does.
    """
    for authenticator in authenticators:
        if ILogins.providedBy(authenticator):
            return authenticator
    return None
