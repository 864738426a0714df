"""
Other people's proxies, and how they are told in a URL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from socksproxy.client.httpconnect import HTTPConnectConversation
from socksproxy.client.interfaces import IClientAuthenticator, IConversation
from socksproxy.client.login import NoLogin, PasswordLogin
from socksproxy.client.socks4 import SOCKS4Conversation
from socksproxy.client.socks5 import ANYBODY, SOCKS5Conversation
from socksproxy.daemonpool import startedPool
from socksproxy.errors import CommandNotSupported, HostUnreachable, RemoteProtocolError
from socksproxy.wire.address import Address
from socksproxy.wire.constants import Command

__all__ = ["SCHEMES", "Hop"]

TICKET_THREADS = 8
"""
Logins at one proxy that may wait for the KDC at a time.  Most do not have to: a
ticket is good for hours.
"""

SCHEMES = {
    "socks5": 1080,
    "socks5h": 1080,
    "socks5+tls": 1080,
    "socks5+gssapi": 1080,
    "socks4": 1080,
    "socks4a": 1080,
    "http": 8080,
    "https": 443,
}
"""
What a URL can begin with, and its port unless it has one.
"""


@dataclass(frozen=True, slots=True)
class Hop:
    """
    One proxy on the way to the target.

    @ivar scheme: one of L{SCHEMES}.
    @ivar address: where it is.
    @ivar login: who we are there.
    @ivar authenticators: what a SOCKS5 proxy is offered instead.
    """

    scheme: str
    address: Address
    login: PasswordLogin | None = None
    authenticators: Sequence[IClientAuthenticator] = ()

    @classmethod
    def parse(cls, url: str) -> Hop:
        """
        @param url: C{SCHEME://[USER[:PASSWORD]@]HOST[:PORT]}, with C{%XX} for
            what would be read as something else.
        @raise ValueError: it is not such a URL; the text has nothing of a
            password in it.
        """
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise ValueError(f"a proxy's URL begins with one of {known}")
        userInfo, _, authority = rest.rpartition("@")
        address = cls._address(scheme, authority)
        if address is None or not address.port:
            # Where something is missing or not quoted, this may be a password.
            raise ValueError(
                f"{scheme}://: the host or the port cannot be one; "
                "a comma in a password is %2C"
            )
        try:
            return cls(scheme, address, cls._login(scheme, userInfo))
        except ValueError as wrong:
            raise ValueError(f"{scheme}://: {wrong}") from None

    @classmethod
    def _address(cls, scheme: str, authority: str) -> Address | None:
        if not re.fullmatch(r"[^\s/?#@%]+/?", authority):
            return None
        try:
            parts = urlsplit(f"//{authority}")
            port = SCHEMES[scheme] if parts.port is None else parts.port
            return Address.name(parts.hostname or "", port)
        except (ValueError, RemoteProtocolError):
            return None

    @classmethod
    def _login(cls, scheme: str, userInfo: str) -> PasswordLogin | None:
        if not userInfo:
            return None
        name, _, password = userInfo.partition(":")
        if scheme == "socks5+gssapi":
            raise ValueError("the ticket says who we are")
        login = PasswordLogin(unquote_to_bytes(name), unquote_to_bytes(password))
        if scheme.startswith("socks4"):
            if password:
                raise ValueError("SOCKS4 has user ids, but no passwords")
            if b"\0" in login.username:
                raise ValueError("a user id has no NUL")
        elif scheme.startswith("http") and b":" in login.username:
            raise ValueError("HTTP has no user names with a colon")
        return login

    @property
    def isTLS(self) -> bool:
        """
        Whether the way to it is TLS.
        """
        return self.scheme in ("https", "socks5+tls")

    @property
    def wantsTicket(self) -> bool:
        """
        Whether it still has to be told how to log in there by GSSAPI.
        """
        return self.scheme == "socks5+gssapi" and not self.authenticators

    def withTicket(self, reactor: Any) -> Hop:
        """
        The same, for which that has been done: with the system's ticket, and
        encryption or nothing.

        @param reactor: as L{GSSAPILogin <socksproxy.client.gssapi.GSSAPILogin>}
            and L{startedPool} take it.
        """
        # It is for those who have it.
        from socksproxy.client.gssapi import GSSAPILogin

        # A KDC that says nothing keeps neither look-ups nor the end waiting.
        pool = startedPool(reactor, TICKET_THREADS, "tickets")
        login = GSSAPILogin(reactor, self.address.host, pool=pool)
        return replace(self, authenticators=(login,))

    @property
    def resolvesNames(self) -> bool:
        """
        Whether names can be sent to it.
        """
        return self.scheme != "socks4"

    @property
    def relaysDatagrams(self) -> bool:
        """
        Whether it can be asked for UDP ASSOCIATE.
        """
        return self.scheme.startswith("socks5")

    def conversation(self, command: Command, destination: Address) -> IConversation:
        """
        @raise RequestFailed: there is no way to ask it for that.
        """
        if self.scheme.startswith("socks5"):
            methods = self.authenticators
            if not methods and not self.wantsTicket:
                methods = ANYBODY if self.login is None else (NoLogin(), self.login)
            return SOCKS5Conversation(command, destination, methods)
        if self.scheme.startswith("socks4"):
            if command == Command.UDP_ASSOCIATE:
                raise CommandNotSupported(f"{self} does not relay datagrams")
            userId = b"" if self.login is None else self.login.username
            return SOCKS4Conversation(command, destination, userId)
        if command != Command.CONNECT:
            raise CommandNotSupported(f"{self} can only connect")
        try:
            return HTTPConnectConversation(destination, self.login)
        except ValueError as wrong:
            raise HostUnreachable(f"{self}: {wrong}") from None

    def tlsOptions(self) -> Any:
        """
        How its certificate is checked: against the system's authorities, for its
        name or address.

        @raise ValueError: it cannot be, for such a name.
        """
        from twisted.internet.ssl import optionsForClientTLS

        try:
            return optionsForClientTLS(self.address.host)
        except ValueError:
            raise ValueError(
                f"{self}: there is no certificate for such a name"
            ) from None

    def __str__(self) -> str:
        """
        The URL without who we are.
        """
        return f"{self.scheme}://{self.address}"
