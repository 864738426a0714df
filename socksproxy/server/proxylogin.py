"""
Logins of HTTP: Proxy-Authorization (RFC 9110 section 11.7) by Basic (RFC 7617).
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.cred.error import LoginFailed
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from socksproxy.interfaces import IAuthenticator, Identity, ISession
from socksproxy.server.logins import identityUnasked, loginsOf
from socksproxy.server.pages import CANNOT_LOG_IN, LOGIN_NEEDED, Page

if TYPE_CHECKING:
    import h11

__all__ = ["ProxyLogin"]

log = Logger()

TRIES = 3
"""
Challenges in a row over one connection; the last one ends it.
"""

_KEY = os.urandom(16)


class ProxyLogin:
    """
    Who the client of one connection is.  Every request says so anew; the server's
    logins are asked when it says something new.

    @ivar identity: who it is, once that is known.
    """

    identity: Identity | None = None

    def __init__(
        self, session: ISession, authenticators: Sequence[IAuthenticator]
    ) -> None:
        self._session = session
        self._authenticators = authenticators
        self._isAsked = False
        self._challenges = 0
        # The password itself is not kept.
        self._known = b""

    def identify(
        self, request: h11.Request
    ) -> Identity | Page | Deferred[Identity | Page]:
        """
        @return: the client; or what to answer, it being nobody yet.
        """
        offered = [v for name, v in request.headers if name == b"proxy-authorization"]
        credentials = offered[0] if len(offered) == 1 else b""
        if self.identity is not None and not self._isAsked:
            return self.identity
        if self._isAsked:
            return self._check(credentials)
        unasked = identityUnasked(self._authenticators, self._session)
        if isinstance(unasked, Deferred):
            return unasked.addCallback(self._decide, credentials)
        return self._decide(unasked, credentials)

    def abandon(self) -> None:
        """
        The client is gone.
        """
        identity, self.identity = self.identity, None
        if identity is None:
            return
        try:
            identity.logout()
        except Exception:
            log.failure("The logout of {client} failed.", client=self._session.peer)

    def _decide(
        self, unasked: Identity | None, credentials: bytes
    ) -> Identity | Page | Deferred[Identity | Page]:
        if unasked is not None:
            self.identity = unasked
            return unasked
        self._isAsked = True
        return self._check(credentials)

    def _check(self, credentials: bytes) -> Identity | Page | Deferred[Identity | Page]:
        if self.identity is not None and _digest(credentials) == self._known:
            self._challenges = 0
            return self.identity
        logins = loginsOf(self._authenticators)
        if logins is None:
            return CANNOT_LOG_IN
        login = _parsed(credentials)
        if login is None:
            return self._challenge()
        checking = logins.login(*login, self._session)
        return checking.addCallbacks(
            self._loggedIn, self._failed, callbackArgs=(_digest(credentials),)
        )

    def _loggedIn(self, identity: Identity, known: bytes) -> Identity:
        self.abandon()
        self.identity = identity
        self._known = known
        self._challenges = 0
        return identity

    def _failed(self, failure: Failure) -> Page:
        failure.trap(LoginFailed)
        return self._challenge()

    def _challenge(self) -> Page:
        self._challenges += 1
        return LOGIN_NEEDED if self._challenges < TRIES else LOGIN_NEEDED.last()


def _digest(credentials: bytes) -> bytes:
    return hashlib.blake2b(credentials, key=_KEY).digest()


def _parsed(credentials: bytes) -> tuple[bytes, bytes] | None:
    """
    C{Basic}, and a name and a password.
    """
    scheme, _, encoded = credentials.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return None
    username, colon, password = decoded.partition(b":")
    return (username, password) if colon else None
